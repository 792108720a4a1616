/** The keys of the session service and of the OAuth host, and what they sign. */
import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

export interface SessionKeys {
  /** The published set (RFC 7517). */
  published(): JWK[];
  /** @param withKid whether the header names the key. */
  sign(claims: JWTPayload, withKid: boolean): Promise<string>;
  rotate(keepOld: boolean): Promise<void>;
}

interface Key {
  kid: string;
  privateKey: CryptoKey;
  jwk: JWK;
}

async function newKey(kid: string): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
  const { x = '' } = await exportJWK(publicKey);
  return { kid, privateKey, jwk: { kty: 'OKP', alg: 'EdDSA', use: 'sig', kid, crv: 'Ed25519', x } };
}

/** @param newKid gives the id of a new key. */
export async function createSessionKeys(newKid: () => string): Promise<SessionKeys> {
  let current = await newKey(newKid());
  let published = [current.jwk];
  return {
    published: () => published,
    sign(claims, withKid) {
      const header = { alg: 'EdDSA', typ: 'JWT', ...(withKid ? { kid: current.kid } : {}) };
      return new SignJWT(claims).setProtectedHeader(header).sign(current.privateKey);
    },
    async rotate(keepOld) {
      current = await newKey(newKid());
      published = keepOld ? [current.jwk, ...published] : [current.jwk];
    },
  };
}

let oauthKey: Promise<CryptoKey> | undefined;

/** An access token: RS256 with a key that the session service does not publish. */
export async function signAccessToken(claims: JWTPayload): Promise<string> {
  // One key for the whole process, because making one takes long.
  oauthKey ??= generateKeyPair('RS256').then(({ privateKey }) => privateKey);
  return new SignJWT(claims).setProtectedHeader({ alg: 'RS256', typ: 'JWT' }).sign(await oauthKey);
}

/** The token without a signature, `alg: none` (RFC 7519, 6.1). */
export function unsigned(claims: JWTPayload): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none', typ: 'JWT' })}.${part(claims)}.`;
}

/** The same token with another signature of the same length. */
export function tampered(token: string): string {
  const [header = '', claims = '', signature = ''] = token.split('.');
  const bytes = Buffer.from(signature, 'base64url');
  bytes[0] = (bytes[0] ?? 0) ^ 0xff;
  return `${header}.${claims}.${bytes.toString('base64url')}`;
}
