/** How an error leaves an activity: as a typed failure with a code and a public sentence, never with data. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { ActivityInboundCallsInterceptor } from '@temporalio/worker';
import type { Logger } from 'pino';
import { isAppError } from '../domain/errors.ts';
import { isConnectionFailure, sqlState } from '../store/db/sql-errors.ts';

/** Attempt at which an error is reported, once, so that a person looks at it; the retry policy continues. */
const REPORT_ATTEMPT = 5;

/** The failure that Temporal stores for an error: its type is the error's code. */
export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || error instanceof CancelledFailure) return error;
  if (isAppError(error)) {
    return ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !error.spec.retryable,
      ...(error.retryAfterMs === undefined ? {} : { nextRetryDelay: error.retryAfterMs }),
    });
  }
  if (isConnectionFailure(error))
    return ApplicationFailure.create({ type: 'DATABASE_UNAVAILABLE', message: 'PostgreSQL cannot be reached' });
  const state = sqlState(error);
  if (state !== undefined)
    return ApplicationFailure.create({
      type: 'DATABASE_ERROR',
      message: `PostgreSQL refused a statement (SQLSTATE ${state})`,
    });
  return ApplicationFailure.create({ type: 'INTERNAL_ERROR', message: 'An internal error; the worker log has it' });
}

/** Makes the interceptor that converts, logs and reports what activities throw. */
export function createFailureInterceptor(deps: {
  log: Logger;
  report: (error: unknown, context: Record<string, string | number | undefined>) => void;
}): (context: Context) => { inbound: ActivityInboundCallsInterceptor } {
  return (context) => ({
    inbound: {
      async execute(input, next) {
        const { activityType, attempt, workflowExecution } = context.info;
        try {
          return await next(input);
        } catch (error) {
          if (context.cancellationSignal.aborted) {
            // A cancel or a shutdown is the cause, whatever the interrupted call threw.
            throw error instanceof CancelledFailure
              ? error
              : (context.cancellationSignal.reason ?? new CancelledFailure('cancelled'));
          }
          const failure = toFailure(error);
          const about = {
            activity: activityType,
            attempt,
            workflowId: workflowExecution?.workflowId,
            runId: workflowExecution?.runId,
          };
          const meta = isAppError(error) ? error.meta : undefined;
          deps.log.warn({ ...about, ...(meta === undefined ? {} : { meta }), err: error }, 'activity failed');
          if (
            attempt === REPORT_ATTEMPT ||
            (failure instanceof ApplicationFailure &&
              failure.nonRetryable === true &&
              isAppError(error) &&
              error.spec.report)
          ) {
            deps.report(error, about);
          }
          throw failure;
        }
      },
    },
  });
}

/**
 * Sends a heartbeat each second while `work` runs, also during a single long statement or request.
 * @param note given to the next attempt, should this one be lost with its process; it is sent at once.
 */
export async function withHeartbeat<T>(work: (signal: AbortSignal) => Promise<T>, note?: object): Promise<T> {
  const context = Context.current();
  if (note !== undefined) context.heartbeat(note);
  const timer = setInterval(() => context.heartbeat(note), 1_000);
  try {
    return await work(context.cancellationSignal);
  } finally {
    clearInterval(timer);
  }
}
