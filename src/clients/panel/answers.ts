/** What an answer of the panel means. Only the panel's own JSON can be final; other answers pass, like an outage. */
import { AppError, type AppErrorOptions, type ErrorCode } from '../../domain/errors.ts';
import { brokenRules, ErrorEnvelopeSchema, type Parsed } from '../../domain/panel/envelope.ts';
import { clampWait, type ForeignAnswer, foreignAnswer, foreignText, jsonOf, retryAfterMs } from '../http/answers.ts';
import { failureText, type HttpFailure } from '../http/failures.ts';
import type { HttpAnswer } from '../http/http.ts';

/** X-RateLimit-* of an answer; a field is absent when the panel sent none. */
export interface Throttle {
  limit?: number;
  remaining?: number;
}

const PANEL = 'the panel';
/** The panel's throttle window: the pause after a 429 that names none. */
const WINDOW_MS = 60_000;

const count = (value: string | undefined): number | undefined =>
  value !== undefined && /^\d{1,9}$/.test(value.trim()) ? Number(value) : undefined;

function readThrottle(answer: HttpAnswer): Throttle {
  const limit = count(answer.header('x-ratelimit-limit'));
  const remaining = count(answer.header('x-ratelimit-remaining'));
  return { ...(limit === undefined ? {} : { limit }), ...(remaining === undefined ? {} : { remaining }) };
}

/** `Retry-After`, else `X-RateLimit-Reset` (unix seconds). */
function waitOf(answer: HttpAnswer): number | undefined {
  const reset = answer.header('x-ratelimit-reset')?.trim() ?? '';
  return retryAfterMs(answer) ?? (/^\d{1,12}$/.test(reset) ? clampWait(Number(reset) * 1_000 - Date.now()) : undefined);
}

/** The panel's code of an error; undefined if the body is not an error of the panel. */
function panelCode(body: unknown): string | undefined {
  const parsed = ErrorEnvelopeSchema.safeParse(body);
  return parsed.success ? parsed.data.errors[0]?.code : undefined;
}

const isGood = ({ status }: HttpAnswer): boolean => status >= 200 && status < 300;

/**
 * The object or list of a successful answer.
 * @throws {AppError} PANEL_AUTH, PANEL_NOT_FOUND, PANEL_CONFLICT, PANEL_CONTRACT: the panel itself decided;
 * PANEL_RATE_LIMITED, PANEL_UNAVAILABLE: a later attempt can succeed.
 */
export function readAnswer<T>(
  answer: HttpAnswer,
  path: string,
  parse: (body: unknown) => Parsed<T>,
): { value: T; throttle: Throttle } {
  const throttle = readThrottle(answer);
  const body = jsonOf(answer);
  const foreign = foreignAnswer(answer, () => isGood(answer) || panelCode(body) !== undefined, body);
  if (foreign !== undefined) throw foreignError(answer, foreign, { throttle, path });
  if (!isGood(answer)) throw panelError(answer, body, { throttle, path });
  const parsed = parse(body);
  if (parsed.ok) return { value: parsed.value, throttle };
  throw new AppError('PANEL_CONTRACT', {
    meta: { kind: 'body', status: answer.status, throttle, path, at: parsed.path, problem: parsed.problem },
    details: [{ path: parsed.path, message: parsed.problem }],
  });
}

/** Checks the answer to a request that has nothing to tell. @throws {AppError} as {@link readAnswer}. */
export function readEmpty(answer: HttpAnswer, path: string): void {
  if (answer.status === 204) return;
  readAnswer(answer, path, () => ({ ok: true, value: undefined }));
}

/** The error of an answer that something in between sent. Its 429 asks to wait, too. */
function foreignError(answer: HttpAnswer, foreign: ForeignAnswer, about: Record<string, unknown>): AppError {
  const { status } = answer;
  const code = status === 429 ? 'PANEL_RATE_LIMITED' : 'PANEL_UNAVAILABLE';
  return withWait(answer, code, {
    publicMessage: foreignText(PANEL, foreign),
    meta: { kind: isGood(answer) ? 'body' : 'http', status, sender: foreign.kind, ...about },
  });
}

function panelError(answer: HttpAnswer, body: unknown, about: Record<string, unknown>): AppError {
  const { status } = answer;
  const panel = panelCode(body);
  const code = codeOfStatus(status, panel);
  const details = status === 422 ? brokenRules(body).map(({ field, rule }) => ({ path: field, message: rule })) : [];
  return withWait(answer, code, {
    ...(code === 'PANEL_UNAVAILABLE'
      ? { publicMessage: `The panel answers with an error of its own (status ${status})` }
      : {}),
    ...(details.length === 0 ? {} : { details }),
    meta: { kind: 'http', status, panelCode: panel, ...about },
  });
}

function codeOfStatus(status: number, panel: string | undefined): ErrorCode {
  if (status === 401 || status === 403) return 'PANEL_AUTH';
  if (status === 400 && panel === 'TwoFactorAuthRequiredException') return 'PANEL_AUTH';
  if (status === 404) return 'PANEL_NOT_FOUND';
  if (status === 409) return 'PANEL_CONFLICT';
  if (status === 429) return 'PANEL_RATE_LIMITED';
  return status >= 500 || status === 408 ? 'PANEL_UNAVAILABLE' : 'PANEL_CONTRACT';
}

/** With the pause that the answer asks for, if a later attempt makes sense. */
function withWait(answer: HttpAnswer, code: ErrorCode, options: AppErrorOptions): AppError {
  const wait = waitOf(answer) ?? (code === 'PANEL_RATE_LIMITED' ? WINDOW_MS : undefined);
  const retried = code === 'PANEL_RATE_LIMITED' || code === 'PANEL_UNAVAILABLE';
  return new AppError(code, wait !== undefined && retried ? { ...options, retryAfterMs: wait } : options);
}

/** The error of a request without a complete answer. */
export function unreached(failure: HttpFailure, path: string): AppError {
  const { kind, status, reason } = failure;
  return new AppError('PANEL_UNAVAILABLE', {
    publicMessage: failureText(PANEL, failure),
    meta: {
      kind,
      ...(status === undefined ? {} : { status }),
      ...(reason === undefined ? {} : { reason }),
      path,
    },
  });
}
