/**
 * What a driver error says: its SQLSTATE, by named predicates, and whether the connection was lost. The only file that
 * spells SQLSTATEs (PostgreSQL manual, appendix A).
 */

/** SQLSTATEs that the product acts on. */
export const SQLSTATE = {
  numericValueOutOfRange: '22003',
  characterNotInRepertoire: '22021',
  invalidTextRepresentation: '22P02',
  foreignKeyViolation: '23503',
  uniqueViolation: '23505',
  serializationFailure: '40001',
  deadlockDetected: '40P01',
  undefinedColumn: '42703',
  undefinedTable: '42P01',
  programLimitExceeded: '54000',
  lockNotAvailable: '55P03',
  insufficientPrivilege: '42501',
  queryCanceled: '57014',
  raiseException: 'P0001',
} as const;

/** SQLSTATE of a driver error; undefined when the error is none. */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

const hasState = (error: unknown, states: readonly string[]): boolean => states.includes(sqlState(error) ?? '');

/** Another row has the unique value. */
export const isUniqueViolation = (error: unknown): boolean => hasState(error, [SQLSTATE.uniqueViolation]);

/** The row refers to a parent that does not exist. */
export const isForeignKeyViolation = (error: unknown): boolean => hasState(error, [SQLSTATE.foreignKeyViolation]);

/** A concurrent writer was in the way (serialization, deadlock, lock timeout): the same transaction may pass next time. */
export const isConcurrencyFailure = (error: unknown): boolean =>
  hasState(error, [SQLSTATE.serializationFailure, SQLSTATE.deadlockDetected, SQLSTATE.lockNotAvailable]);

/** The role lacks a right. */
export const isPrivilegeMissing = (error: unknown): boolean => hasState(error, [SQLSTATE.insufficientPrivilege]);

/** The statement was cancelled, by its timeout or by request. */
export const isQueryCanceled = (error: unknown): boolean => hasState(error, [SQLSTATE.queryCanceled]);

/**
 * The database refused the row, not the statement: data exceptions (class 22), constraints (class 23), `raise` in a
 * trigger, a value that is too long for an index.
 */
export const isRowRefused = (error: unknown): boolean =>
  /^2[23]/.test(sqlState(error) ?? '') || hasState(error, [SQLSTATE.raiseException, SQLSTATE.programLimitExceeded]);

/**
 * A change of the schema does not fit what is there: data (22), constraints (23), names and types (42), a text too long for
 * an index (54), objects that depend on what would be dropped (2BP01), a view over a column whose type would change (0A000).
 */
export const isSchemaRefused = (error: unknown): boolean => /^(22|23|42|54|2BP01|0A000)/.test(sqlState(error) ?? '');

/** A table or column is missing: migrations are pending. */
export const isSchemaMissing = (error: unknown): boolean =>
  hasState(error, [SQLSTATE.undefinedTable, SQLSTATE.undefinedColumn]);

/**
 * A prepared statement is not there (26000), is there already (42P05), or was prepared before the type of a column changed
 * (0A000).
 */
export const isPreparedLost = (error: unknown): boolean => /^(26000|42P05|0A000)$/.test(sqlState(error) ?? '');

/** The connection to PostgreSQL was lost or refused: the statement may be tried again later. */
export function isConnectionFailure(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const state = sqlState(error);
  if (state !== undefined) return /^(08|57P0)/.test(state);
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'string' && /^E(CONN|PIPE|TIMEDOUT|HOST|AI)/.test(code)) return true;
  return (
    typeof message === 'string' &&
    /Connection terminated|Connection ended|Timeout acquiring a connection|timeout exceeded when trying to connect/.test(
      message,
    )
  );
}
