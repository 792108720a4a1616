/**
 * Every column that holds secrets encrypted at rest. `encrypt` takes its column from this table, and the rotation of the
 * key walks it: a column that is missing here can neither be written encrypted nor be forgotten by a rotation.
 */
import { SENSITIVE_SETTINGS } from '../../domain/settings.ts';

export interface EncryptedTable {
  /** The column that identifies a row, also towards an operator. */
  key: string;
  keyType: 'text' | 'uuid';
  /** Keys of the rows that are encrypted; absent: all rows. */
  only?: readonly string[];
  columns: readonly string[];
}

export const ENCRYPTED_TABLES = {
  emails: { key: 'id', keyType: 'uuid', columns: ['data', 'content'] },
  hytale_logins: { key: 'id', keyType: 'uuid', columns: ['device_code', 'access_token', 'refresh_token'] },
  // The existing service stored these tokens in clear.
  hytale_oauth_tokens: { key: 'id', keyType: 'uuid', columns: ['access_token', 'refresh_token'] },
  hytale_game_sessions: { key: 'id', keyType: 'uuid', columns: ['session_token', 'identity_token'] },
  // The existing service stored URLs in clear.
  discord_webhooks: { key: 'id', keyType: 'text', columns: ['webhookUrl'] },
  // Last, because the rotation keeps this order and holds the lock of the settings from here on.
  config: { key: 'key', keyType: 'text', only: SENSITIVE_SETTINGS, columns: ['value'] },
} as const satisfies Readonly<Record<string, EncryptedTable>>;

type Tables = typeof ENCRYPTED_TABLES;
export type EncryptedTableName = keyof Tables;
/** An encrypted column with its table, such as `config.value`. */
export type EncryptedColumn = { [T in EncryptedTableName]: `${T}.${Tables[T]['columns'][number]}` }[EncryptedTableName];

export const ENCRYPTED_TABLE_NAMES = Object.keys(ENCRYPTED_TABLES) as EncryptedTableName[];
