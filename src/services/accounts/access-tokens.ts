/** Access tokens: JSON web tokens signed with HS256, and the opaque refresh token beside them. */
import { randomBytes } from 'node:crypto';
import { errors, jwtVerify, SignJWT } from 'jose';
import type { AuthUser } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';

/** Seconds of clock difference that `exp` and `nbf` allow. */
const LEEWAY_SECONDS = 60;
/** Life of a refresh token: 90 days. */
export const REFRESH_TTL_SECONDS = 90 * 86_400;

/** Why a token is refused, in the order of the checks. */
export type TokenProblem = 'segments' | 'encoding' | 'claims' | 'noUser' | 'signature';

export interface VerifiedToken {
  userId: string;
  issuedAt: number | undefined;
}

export interface Tokens {
  /** Signs with JWT_SECRET, or NEXTAUTH_SECRET when that is empty; `issuedAt` in unix seconds. */
  sign(user: AuthUser, issuedAt: number): Promise<string>;
  /** The user id of a token that was signed here and is valid now, and its `iat` in unix seconds. */
  verify(token: string): Promise<VerifiedToken | { problem: TokenProblem }>;
  readonly accessTtlSeconds: number;
}

/** Makes the signer and verifier. Tokens signed with either secret verify. */
export function createTokens(options: {
  jwtSecret: Secret | undefined;
  nextAuthSecret: Secret | undefined;
  accessTtlSeconds: number;
}): Tokens {
  const keys = [options.jwtSecret, options.nextAuthSecret]
    .filter((secret) => secret !== undefined)
    .map((secret) => new TextEncoder().encode(secret.reveal()));
  return {
    accessTtlSeconds: options.accessTtlSeconds,
    async sign(user, issuedAt) {
      const [key] = keys;
      if (key === undefined) throw new AppError('TOKEN_GENERATION_FAILED', { meta: { reason: 'no secret' } });
      return new SignJWT({
        id: user.id,
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
        .setIssuedAt(issuedAt)
        .setNotBefore(issuedAt)
        .setExpirationTime(issuedAt + options.accessTtlSeconds)
        .sign(key);
    },
    async verify(token) {
      const shape = readUnverified(token);
      if ('problem' in shape) return shape;
      for (const key of keys) {
        try {
          const { payload } = await jwtVerify(token, key, {
            algorithms: ['HS256'],
            clockTolerance: LEEWAY_SECONDS,
            requiredClaims: ['exp'],
          });
          return { ...shape, issuedAt: payload.iat };
        } catch (error) {
          if (!(error instanceof errors.JOSEError)) throw error;
        }
      }
      return { problem: 'signature' };
    },
  };
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
