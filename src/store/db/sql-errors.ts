/** What a driver error says: its SQLSTATE, and whether the connection was lost. */

/** SQLSTATE of a driver error, if it is one. */
export function sqlState(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  const { code } = error as { code?: unknown };
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

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
