/** Secrets at rest, in the format the existing database holds: base64( nonce[12] ‖ AES-256-GCM ciphertext ‖ tag[16] ). */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { parseEncryptionKey } from '../../domain/encryption-key.ts';
import type { Secret } from '../../domain/secret.ts';
import type { EncryptedColumn } from './encrypted-columns.ts';

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_DIGITS = 12;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Prefixes of tokens that were stored before a key was configured. */
const CLEAR_PREFIXES = ['ptla_', 'ptlc_', 're_', 'ghp_', 'github_pat_'];
/** Digits and a-f only: base64 of random bytes of this length never looks so (chance below 10^-17), a hex token always. */
const HEX = /^[0-9a-fA-F]+$/;

export type Decrypted = { value: string } | { unreadable: true };

/** A stored value, and how it is stored: with which of the two keys, or in clear. */
type Inspected =
  | { state: 'empty' | 'current' | 'previous' | 'clear'; value: string }
  | { state: 'unreadable'; value?: undefined };
export type StoredState = Inspected['state'];

export interface EncryptionKeys {
  key?: Secret | undefined;
  /** The key before a rotation: it only reads. */
  previousKey?: Secret | undefined;
}

export interface Encryption {
  /** False when no key is configured: then `encrypt` stores clear text. */
  readonly enabled: boolean;
  /** Text to store in this column; "" stays "". Without a key the text itself. */
  encrypt(column: EncryptedColumn, text: string): string;
  /** Clear text of a stored value, of either key or never encrypted; `unreadable` when it was made with an unknown key. */
  decrypt(stored: string): Decrypted;
  /** As `decrypt`, and how the value is stored. */
  inspect(stored: string): Inspected;
}

/** Tells one key from another without holding it; the same for both spellings of a key. */
export function keyId(key: Secret): string {
  const hash = createHash('sha256').update('nodebyte encryption key\n');
  return hash
    .update(readKey(key) ?? '')
    .digest('hex')
    .slice(0, KEY_ID_DIGITS);
}

/** Makes the codec. Keys are base64 of 32 bytes or 64 hex digits (`loadConfig` checked them). */
export function createEncryption(keys: EncryptionKeys): Encryption {
  const current = readKey(keys.key);
  const previous = readKey(keys.previousKey);
  const inspect = (stored: string): Inspected => inspectValue(stored, current, previous);
  return {
    enabled: current !== undefined,
    encrypt(_column, text) {
      if (text === '' || current === undefined) return text;
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', current, nonce);
      return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString(
        'base64',
      );
    },
    decrypt(stored) {
      const { state, value } = inspect(stored);
      return state === 'unreadable' ? { unreadable: true } : { value };
    },
    inspect,
  };
}

/** Whether a text has the form of an encrypted value and is no token of a known form: only its key can tell. */
export const looksEncrypted = (stored: string): boolean =>
  BASE64.test(stored) &&
  Buffer.from(stored, 'base64').length >= NONCE_BYTES + TAG_BYTES &&
  !HEX.test(stored) &&
  !CLEAR_PREFIXES.some((prefix) => stored.startsWith(prefix));

function inspectValue(stored: string, current: Uint8Array | undefined, previous: Uint8Array | undefined): Inspected {
  const clear: Inspected = { state: 'clear', value: stored };
  if (stored === '') return { state: 'empty', value: '' };
  if ((current === undefined && previous === undefined) || !BASE64.test(stored)) return clear;
  const bytes = Buffer.from(stored, 'base64');
  if (bytes.length < NONCE_BYTES + TAG_BYTES) return clear;
  const ofCurrent = open(current, bytes);
  if (ofCurrent !== undefined) return { state: 'current', value: ofCurrent };
  const ofPrevious = open(previous, bytes);
  if (ofPrevious !== undefined) return { state: 'previous', value: ofPrevious };
  return looksEncrypted(stored) ? { state: 'unreadable' } : clear;
}

function readKey(secret: Secret | undefined): Uint8Array | undefined {
  return secret === undefined ? undefined : parseEncryptionKey(secret.reveal());
}

function open(key: Uint8Array | undefined, bytes: Buffer): string | undefined {
  if (key === undefined) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAuthTag(bytes.subarray(bytes.length - TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8');
  } catch {
    // Node reports a wrong tag only by throwing: another key, or clear text that happens to be base64.
    return undefined;
  }
}
