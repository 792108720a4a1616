import { createCipheriv, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseEncryptionKey } from '../../../src/domain/encryption-key.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';

const bytes = randomBytes(32);
const key = new Secret(bytes.toString('base64'));
const other = new Secret(randomBytes(32).toString('base64'));
const codec = createEncryption({ key });

/** The stored form, implemented independently: base64(nonce ‖ ciphertext ‖ tag). */
function encryptByHand(text: string): string {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', bytes, nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
}

test('a key is accepted in base64 and hex, and in no other form', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      const text = Buffer.from(key);
      expect(parseEncryptionKey(text.toString('base64'))).toEqual(key);
      expect(parseEncryptionKey(text.toString('hex').toUpperCase())).toEqual(key);
      for (const wrong of [
        text.toString('base64url'),
        text.subarray(1).toString('base64'),
        `${text.toString('hex')}00`,
      ])
        expect(parseEncryptionKey(wrong)).toBeUndefined();
    }),
  );
  // This text decodes to 32 zero bytes, but it is not their canonical base64 form.
  expect(parseEncryptionKey(`${'A'.repeat(42)}B=`)).toBeUndefined();
});

describe('encryption at rest', () => {
  test('decrypts any encrypted text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const clear = text.toWellFormed();
        expect(codec.decrypt(codec.encrypt('config.value', clear))).toEqual({ value: clear });
      }),
    );
  });

  test('reads and writes the format of existing data', () => {
    expect(codec.decrypt(encryptByHand('ptla_abc'))).toEqual({ value: 'ptla_abc' });
    const stored = codec.encrypt('config.value', 'ptla_abc');
    expect(Buffer.from(stored, 'base64')).toHaveLength(12 + 8 + 16);
    expect(Buffer.from(stored, 'base64').toString('base64')).toBe(stored);
    expect(codec.encrypt('config.value', 'ptla_abc')).not.toBe(stored);
  });

  test('reads values that another program made, byte for byte', () => {
    // Made with AESGCM of Python's package cryptography: the key of bytes 1 to 32, the nonce of bytes 100 to 111.
    const vector = 'ZGVmZ2hpamtsbW5vECsfLc7k1QGdM/n9e1iXTsWS6pttkqpCsN9POg50PCTy';
    const key = new Secret('AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=');
    expect(createEncryption({ key }).decrypt(vector)).toEqual({ value: 'ptla_fixedVector1' });
    expect(createEncryption({ key: other, previousKey: key }).inspect(vector)).toEqual({
      state: 'previous',
      value: 'ptla_fixedVector1',
    });
  });

  test('a key in hex is the same key', () => {
    const hex = createEncryption({ key: new Secret(bytes.toString('hex')) });
    expect(hex.decrypt(codec.encrypt('config.value', 'x'))).toEqual({ value: 'x' });
  });

  test('an empty text is stored as an empty text', () => {
    expect(codec.encrypt('config.value', '')).toBe('');
    expect(codec.decrypt('')).toEqual({ value: '' });
  });

  test('the previous key decrypts, and the new key encrypts', () => {
    const rotated = createEncryption({ key: other, previousKey: key });
    expect(rotated.decrypt(codec.encrypt('config.value', 'x'))).toEqual({ value: 'x' });
    expect(codec.decrypt(rotated.encrypt('config.value', 'x'))).toEqual({ unreadable: true });
  });

  test('a text that was encrypted with an unknown key or was changed is unreadable', () => {
    expect(createEncryption({ key: other }).decrypt(codec.encrypt('config.value', 'x'))).toEqual({ unreadable: true });
    const stored = Buffer.from(codec.encrypt('config.value', 'some text'), 'base64');
    stored[stored.length - 1] = (stored.at(-1) ?? 0) ^ 1;
    expect(codec.decrypt(stored.toString('base64'))).toEqual({ unreadable: true });
  });

  test.each([
    ['not base64', 'ptla_k3y-with.signs'],
    ['short', 'c2hvcnQ='],
    ['shorter than nonce and tag', Buffer.alloc(27, 1).toString('base64')],
    ['a JSON web token', 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg'],
    ['an opaque token', 'ory_rt_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789.AbCdEfGhIjKlMnOpQrSt'],
    ['a token of hex digits', 'ab'.repeat(32)],
    ['a known prefix', `re${'A'.repeat(62)}`.replace(/^re/, 're_')],
  ])('a clear text of old rows is returned unchanged: %s', (_name, text) => {
    expect(codec.decrypt(text)).toEqual({ value: text });
  });

  test('without a key texts are not encrypted', () => {
    const none = createEncryption({});
    expect(none.enabled).toBe(false);
    expect(none.decrypt(none.encrypt('config.value', 'x'))).toEqual({ value: 'x' });
  });
});
