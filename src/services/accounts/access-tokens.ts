/** Access tokens: JSON web tokens signed with HS256, and the opaque refresh tokens beside them. */
import { createHmac, randomBytes } from 'node:crypto';
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import type { AuthUser } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';

/** Seconds of clock difference that `exp` and `nbf` allow. */
const LEEWAY_SECONDS = 60;
/** `iss` and `aud` of the tokens that are signed here. */
const ISSUER = 'nodebyte-backend';
const AUDIENCE = 'nodebyte-api';
/** The longest life of a token that was not signed here or by a release that named no issuer: 30 days. */
const FOREIGN_TTL_SECONDS = 30 * 86_400;

/** Why a token is refused, in the order of the checks. */
export type TokenProblem = 'segments' | 'encoding' | 'claims' | 'noUser' | 'signature';

/** What a token with a good signature says. Whether its session and its user still exist, the database knows. */
export interface VerifiedToken {
  userId: string;
  /** The family of sessions that the token ends with. Undefined for a token of the site or of an earlier release. */
  sessionId: string | undefined;
  /** Unix seconds. */
  issuedAt: number;
  /** Unix seconds. */
  expiresAt: number;
}

export interface Tokens {
  /**
   * Signs with JWT_SECRET, or NEXTAUTH_SECRET when that is empty.
   * @param session `id` of its family; `issuedAt` in unix seconds.
   */
  sign(user: AuthUser, session: { id: string; issuedAt: number }): Promise<string>;
  /**
   * Checks form, signature and times. A token that names `iss` or `aud` must be one of ours. One that names neither is
   * the site's own, or of an earlier release. Callers go through `findCaller` of callers.ts, which asks the database.
   */
  verify(token: string): Promise<VerifiedToken | { problem: TokenProblem }>;
  /**
   * The one refresh token that follows a used one (ADR 12): only this server can tell it, and tells it again to the
   * slower of two tabs. @throws {AppError} TOKEN_GENERATION_FAILED.
   */
  successorOf(refreshToken: string): string;
  readonly accessTtlSeconds: number;
}

/** Makes the signer and verifier. Tokens signed with either secret verify. */
export function createTokens(options: {
  jwtSecret: Secret | undefined;
  nextAuthSecret: Secret | undefined;
  accessTtlSeconds: number;
}): Tokens {
  const secrets = [options.jwtSecret, options.nextAuthSecret]
    .filter((secret) => secret !== undefined)
    .map((secret) => new TextEncoder().encode(secret.reveal()));
  // Imported once: jose would import the bytes again for each token, which takes as long as the verification.
  const keys = secrets.map((secret) =>
    crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']),
  );
  const signedWith = <T>(all: readonly T[]): T => {
    const [first] = all;
    if (first === undefined) throw new AppError('TOKEN_GENERATION_FAILED', { meta: { reason: 'no secret' } });
    return first;
  };
  return {
    accessTtlSeconds: options.accessTtlSeconds,
    // The text before the token has a blank, so it can never be what is signed in an access token with the same key.
    successorOf: (refreshToken) =>
      createHmac('sha256', signedWith(secrets)).update(`refresh token after ${refreshToken}`).digest('hex'),
    async sign(user, { id: sessionId, issuedAt }) {
      return new SignJWT({
        id: user.id,
        sid: sessionId,
        email: user.email,
        username: user.username ?? '',
        ...(user.firstName ? { firstName: user.firstName } : {}),
        ...(user.lastName ? { lastName: user.lastName } : {}),
        roles: user.roles,
        isPterodactylAdmin: user.isPterodactylAdmin,
        isVirtfusionAdmin: user.isVirtfusionAdmin,
        isSystemAdmin: user.isSystemAdmin,
        ...(user.pterodactylId ? { pterodactylId: user.pterodactylId } : {}),
        ...(user.emailVerified === null ? {} : { emailVerified: user.emailVerified.toISOString() }),
      })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setIssuedAt(issuedAt)
        .setNotBefore(issuedAt)
        .setExpirationTime(issuedAt + options.accessTtlSeconds)
        .sign(await signedWith(keys));
    },
    async verify(token) {
      const shape = readUnverified(token);
      if ('problem' in shape) return shape;
      for (const key of keys) {
        try {
          const { payload } = await jwtVerify(token, await key, {
            algorithms: ['HS256'],
            clockTolerance: LEEWAY_SECONDS,
            requiredClaims: ['exp'],
            // Demands `iat`, and that it is not in the future.
            maxTokenAge: Math.max(options.accessTtlSeconds, FOREIGN_TTL_SECONDS),
          });
          return accept(shape.userId, payload, options.accessTtlSeconds) ?? { problem: 'signature' };
        } catch (error) {
          if (!(error instanceof errors.JOSEError)) throw error;
        }
      }
      return { problem: 'signature' };
    },
  };
}

/** The token, unless it names another issuer or reader than ours, or has a longer life than its kind may have. */
function accept(userId: string, claims: JWTPayload, accessTtlSeconds: number): VerifiedToken | undefined {
  const { iss, aud, sid, iat: issuedAt = 0, exp: expiresAt = 0 } = claims;
  const lifetimeSeconds = expiresAt - issuedAt;
  if (iss === undefined && aud === undefined) {
    // A release before this one signed with JWT_ACCESS_TTL as well.
    if (lifetimeSeconds > Math.max(FOREIGN_TTL_SECONDS, accessTtlSeconds)) return undefined;
    return { userId, sessionId: undefined, issuedAt, expiresAt };
  }
  if (iss !== ISSUER || aud !== AUDIENCE || typeof sid !== 'string' || sid === '') return undefined;
  return lifetimeSeconds > accessTtlSeconds ? undefined : { userId, sessionId: sid, issuedAt, expiresAt };
}

/** 32 random bytes as 64 lower-case hex digits. */
export const newRefreshToken = (): string => randomBytes(32).toString('hex');

/** Checks the form before the signature, so that the error can name the fault. It proves nothing about the token. */
function readUnverified(token: string): { userId: string } | { problem: TokenProblem } {
  const [, payload, , ...more] = token.split('.');
  if (payload === undefined || more.length > 0 || token.split('.').length !== 3) return { problem: 'segments' };
  if (payload === '' || !/^[A-Za-z0-9_-]+$/.test(payload) || payload.length % 4 === 1) return { problem: 'encoding' };
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  } catch {
    return { problem: 'claims' };
  }
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return { problem: 'claims' };
  if (!('id' in claims) || typeof claims.id !== 'string' || claims.id === '' || claims.id.includes('\0')) {
    return { problem: 'noUser' };
  }
  return { userId: claims.id };
}
