/** Encrypted values for tests, made without the product's codec: base64( nonce ‖ AES-256-GCM ciphertext ‖ tag ). */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Secret } from '../../src/domain/secret.ts';

export const randomKey = (): Secret => new Secret(randomBytes(32).toString('base64'));

const bytesOf = (key: Secret): Buffer => Buffer.from(key.reveal(), 'base64');

/** Encrypts as the existing service does. */
export function encryptByHand(key: Secret, text: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', bytesOf(key), nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

/** @returns undefined for a text that was not encrypted with this key. */
export function decryptByHand(key: Secret, stored: string): string | undefined {
  const bytes = Buffer.from(stored, 'base64');
  if (bytes.length < 28) return undefined;
  const decipher = createDecipheriv('aes-256-gcm', bytesOf(key), bytes.subarray(0, 12), { authTagLength: 16 });
  decipher.setAuthTag(bytes.subarray(-16));
  try {
    return Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]).toString('utf8');
  } catch {
    return undefined;
  }
}
