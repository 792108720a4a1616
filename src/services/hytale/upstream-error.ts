/** The error that a caller gets for what a call of Hytale came to. */
import type { Unavailable } from '../../clients/hytale/answers.ts';
import { AppError, type AppErrorOptions, type ErrorCode } from '../../domain/errors.ts';
import type { HytaleResult, HytaleView } from '../../workflows/contract.ts';

type FailedResult = Exclude<HytaleResult, 'none' | 'done'>;

const CODES: Readonly<Record<FailedResult, ErrorCode>> = {
  unavailable: 'HYTALE_UNAVAILABLE',
  unreached: 'HYTALE_ERROR',
  limited_rate: 'HYTALE_RATE_LIMITED',
  server_error: 'HYTALE_SERVER_ERROR',
  reauth_required: 'REAUTH_REQUIRED',
  misconfigured: 'INTEGRATION_ERROR',
  session_limit: 'SESSION_LIMIT_EXCEEDED',
  forbidden: 'HYTALE_FORBIDDEN',
  no_profile: 'HYTALE_NOT_FOUND',
  refused: 'HYTALE_BAD_REQUEST',
  invalid_tokens: 'INTEGRATION_ERROR',
  gone: 'SESSION_NOT_FOUND',
};

/** In place of the title of the code, which two results share. */
const MISCONFIGURED = 'Hytale does not accept this service as a client';

/**
 * The error for a result; undefined for `none` and `done`. Its sentence is that of the code; `why` explains it.
 * @param view of an account or a session; `why` is a public sentence.
 */
export function resultError(view: Pick<HytaleView, 'result' | 'why' | 'retryAfterMs'>): AppError | undefined {
  const { result, why, retryAfterMs } = view;
  if (result === 'none' || result === 'done') return undefined;
  const options: AppErrorOptions = {
    ...(why === '' ? {} : { hint: why }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(result === 'misconfigured' ? { publicMessage: MISCONFIGURED } : {}),
  };
  return new AppError(CODES[result], options);
}

/** The result of a call that Hytale neither carried out nor refused. */
export function outageResult({ httpStatus }: Pick<Unavailable, 'httpStatus'>): HytaleResult {
  if (httpStatus === 429) return 'limited_rate';
  if (httpStatus === 503) return 'unavailable';
  return httpStatus !== null && httpStatus >= 500 ? 'server_error' : 'unreached';
}
