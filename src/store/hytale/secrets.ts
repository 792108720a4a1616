/** Tokens of Hytale between a row and memory. */
import { Secret } from '../../domain/secret.ts';
import type { EncryptedColumn } from '../db/encrypted-columns.ts';
import { type Encryption, looksEncrypted } from '../db/encryption.ts';

/** Text to store; null stays null, which a statement can take for "as before". */
export const sealed = (encryption: Encryption, column: EncryptedColumn, token: Secret | null): string | null =>
  token === null ? null : encryption.encrypt(column, token.reveal());

/** The token of a stored value; undefined: there is none, or it was encrypted with another key. */
export function opened(encryption: Encryption, stored: string | null): Secret | undefined {
  if (stored === null || stored === '') return undefined;
  const clear = encryption.decrypt(stored);
  // Without a key, `decrypt` returns encrypted text as if it were clear text.
  if ('unreadable' in clear || (!encryption.enabled && looksEncrypted(clear.value))) return undefined;
  return new Secret(clear.value);
}
