/** How the command line reports errors. */
import { ConfigError } from '../../config.ts';
import { isAppError } from '../../domain/errors.ts';
import { EXIT, messageOf } from '../../process.ts';
import { isSchemaMissing, sqlState } from '../../store/db/sql-errors.ts';

/** A mistake of the caller: its text is the whole message. */
export class UsageError extends Error {}

/** What a driver, a client or Node said about an error. */
export function reasonOf(error: unknown): string {
  // Failed connections to several addresses come as one error without a message of its own.
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join('; ');
  // knex puts the whole statement, and with it what was to be stored, in front of what the server said.
  if (error instanceof Error && sqlState(error) !== undefined) return error.message.split(' - ').at(-1) ?? '';
  return messageOf(error);
}

/** The message of a failed command: what is wrong and, where it is known, what to do. */
export function describeError(error: unknown): string {
  if (isAppError(error)) return error.publicMessage ?? error.spec.hint ?? error.message;
  if (isSchemaMissing(error)) return 'the database is not set up: run `npm run db:migrate`';
  return reasonOf(error);
}

/** The exit code of a failed command. */
export const exitCodeOf = (error: unknown): number => (error instanceof ConfigError ? EXIT.config : EXIT.failed);
