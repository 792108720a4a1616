/** Turns thrown errors into answers; no other code writes error bodies. */
import type { Context, Next } from 'koa';
import { AppError, bodyCodeOf, type ErrorCode } from '../../../domain/errors.ts';
import { isConnectionFailure, SQLSTATE, sqlState } from '../../../store/db/sql-errors.ts';
import type { AppDeps } from '../../context.ts';
import { discardBody } from './body.ts';

/** SQLSTATEs that are not a defect of ours: the request is wrong, or the database is busy. */
const SQL_STATES: Readonly<Record<string, ErrorCode>> = {
  [SQLSTATE.invalidTextRepresentation]: 'BAD_REQUEST', // not the text of a uuid or a number
  [SQLSTATE.numericValueOutOfRange]: 'BAD_REQUEST',
  [SQLSTATE.characterNotInRepertoire]: 'BAD_REQUEST', // a byte that text cannot hold
  [SQLSTATE.uniqueViolation]: 'CONFLICT',
  [SQLSTATE.foreignKeyViolation]: 'NOT_FOUND',
  [SQLSTATE.deadlockDetected]: 'SERVICE_UNAVAILABLE',
  [SQLSTATE.lockNotAvailable]: 'SERVICE_UNAVAILABLE', // lock timeout
  [SQLSTATE.queryCanceled]: 'SERVICE_UNAVAILABLE', // statement timeout
};

const SIGN_IN_AREA = /^\/api\/v1\/auth\//i;

/** Any thrown value as an error of the table; `failureMessage` is the route's public message for an unexpected one. */
export function toAppError(error: unknown, failureMessage?: string): AppError {
  if (error instanceof AppError) return error;
  const options = failureMessage === undefined ? {} : { publicMessage: failureMessage };
  const code = SQL_STATES[sqlState(error) ?? ''];
  if (code !== undefined && code !== 'SERVICE_UNAVAILABLE') return new AppError(code, { cause: error });
  if (code === 'SERVICE_UNAVAILABLE' || isConnectionFailure(error)) {
    const away = failureMessage === undefined ? 'SERVICE_UNAVAILABLE' : 'DATABASE_UNAVAILABLE';
    return new AppError(away, { cause: error, retryAfterMs: 5000, ...options });
  }
  return new AppError('INTERNAL_ERROR', { cause: error, ...options });
}

/** Writes the body of an error: in the default form, or in the form of RFC 9457 when the caller accepts it. */
export function writeError(ctx: Context, error: AppError): void {
  const { spec } = error;
  const code = bodyCodeOf(error.code);
  const sentence = error.publicMessage ?? spec.title;
  // In the sign-in area `error` is a code, also when the request was refused before its route.
  const coded = SIGN_IN_AREA.test(ctx.path) && !/^[a-z_]+$/.test(sentence);
  const text = coded ? code.toLowerCase() : sentence;
  // Where `error` is a code, `message` is the sentence; otherwise `error` is the sentence and `message` is left out.
  const hint = error.hint ?? (error.publicMessage === undefined ? spec.hint : undefined);
  const message = coded ? sentence : hint;
  const details = {
    ...(message === undefined ? {} : { message }),
    ...(error.details === undefined ? {} : { details: error.details }),
    ...(spec.statusInBody === true ? { status_code: spec.status } : {}),
  };
  ctx.status = spec.status;
  if (error.retryAfterMs !== undefined)
    ctx.set('Retry-After', String(Math.max(1, Math.ceil(error.retryAfterMs / 1000))));
  if (spec.status === 401) ctx.set('WWW-Authenticate', 'Bearer realm="api"');
  if (ctx.accepts('application/json', 'application/problem+json') === 'application/problem+json') {
    ctx.body = JSON.stringify({
      type: `/errors/${code}`,
      title: spec.title,
      status: spec.status,
      detail: text,
      instance: ctx.state['requestId'],
      success: false,
      error: text,
      code,
      ...details,
    });
    ctx.type = 'application/problem+json';
    return;
  }
  ctx.body = { success: false, error: text, code, ...details };
}

/** Catches what the inner layers throw and answers it. Errors that a person should look at are logged and reported. */
export function errorBody({ log, report }: Pick<AppDeps, 'log' | 'report'>) {
  return async (ctx: Context, next: Next): Promise<void> => {
    try {
      await next();
    } catch (thrown) {
      const failureMessage: unknown = ctx.state['failureMessage'];
      const error = toAppError(thrown, typeof failureMessage === 'string' ? failureMessage : undefined);
      const requestId: unknown = ctx.state['requestId'];
      const fields = { requestId, code: error.code, err: error, meta: error.meta };
      if (error.spec.report) {
        log.error(fields, 'request failed');
        report(error.cause ?? error, { requestId: String(requestId), code: error.code });
      } else if (error.spec.status >= 500) {
        log.warn(fields, 'request failed');
      } else {
        log.debug({ requestId, code: error.code }, 'request refused');
      }
      discardBody(ctx);
      writeError(ctx, error);
    }
  };
}
