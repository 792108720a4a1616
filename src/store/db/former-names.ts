/**
 * Other names of columns in databases of the earlier service. A table may have both names, because an upgrade of it was
 * interrupted or its files were executed in another order; only these columns are then merged into one.
 */

/** `userId` → `user_id`. */
export const toSnake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const toCamel = (name: string): string => name.replace(/_([a-z])/g, (_match, letter: string) => letter.toUpperCase());

type Names = Readonly<Record<string, readonly string[]>>;

const camelCased = (...columns: readonly string[]): Names =>
  Object.fromEntries(columns.map((column) => [column, [toCamel(column)]]));

/** Table → column → its former names, as the specification of the shared schema lists them. */
const FORMER_NAMES: Readonly<Record<string, Names>> = {
  egg_variables: camelCased(
    'egg_id',
    'env_variable',
    'default_value',
    'user_viewable',
    'user_editable',
    'created_at',
    'updated_at',
  ),
  sync_logs: {
    type: ['syncType', 'sync_type'],
    itemsTotal: ['recordsTotal', 'records_total'],
    itemsSynced: ['recordsSynced', 'records_synced'],
    itemsFailed: ['recordsFailed', 'records_failed'],
    error: ['errorMessage', 'error_message'],
  },
  hytale_oauth_tokens: camelCased(
    'account_id',
    'access_token',
    'refresh_token',
    'access_token_expiry',
    'profile_uuid',
    'created_at',
    'updated_at',
    'last_refreshed_at',
  ),
  hytale_game_sessions: camelCased(
    'account_id',
    'profile_uuid',
    'server_id',
    'session_token',
    'identity_token',
    'expires_at',
    'created_at',
    'updated_at',
  ),
  hytale_audit_logs: camelCased('account_id', 'profile_id', 'event_type', 'ip_address', 'user_agent', 'created_at'),
  hytale_server_logs: camelCased('server_uuid', 'account_id', 'log_line', 'log_timestamp', 'created_at'),
  hytale_log_sync_state: camelCased(
    'server_uuid',
    'last_sync_time',
    'last_line_id',
    'sync_status',
    'error_message',
    'updated_at',
  ),
};

/** Whether values of the former column belong into the column: only for those that {@link FORMER_NAMES} lists. */
export const isFormerName = (table: string, column: string, name: string): boolean =>
  FORMER_NAMES[table]?.[column]?.includes(name) ?? false;

/** Every name under which a database may have the column: the listed ones first, then the other spelling. */
export function otherNames(table: string, column: string): string[] {
  const names = [...(FORMER_NAMES[table]?.[column] ?? []), toCamel(column), toSnake(column)];
  return [...new Set(names)].filter((name) => name !== column);
}
