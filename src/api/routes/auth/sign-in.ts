/** What the sign-in routes share: reading addresses and passwords, checking credentials, handing out tokens. */
import { z } from 'zod';
import {
  type AuthUser,
  isEmail,
  normalizeEmail,
  PASSWORD_MAX_BYTES,
  passwordProblem,
  toWireUser,
  type WireUser,
  WireUserSchema,
} from '../../../domain/accounts/account.ts';
import { AppError, type ErrorCode } from '../../../domain/errors.ts';
import { newRefreshToken, REFRESH_TTL_SECONDS } from '../../../services/accounts/access-tokens.ts';
import { hashPassword, isWeakHash, verifyPassword } from '../../../store/accounts/password-hash.ts';
import { insertSession } from '../../../store/accounts/session-store.ts';
import {
  findAuthUser,
  findByEmail,
  lockPassword,
  touchLogin,
  updatePasswordHash,
} from '../../../store/accounts/user-store.ts';
import { inTransaction, type Transaction } from '../../../store/db/db.ts';
import { takeTokens } from '../../../store/rate-limit-store.ts';
import type { Services } from '../../context.ts';
import { byAddress, byEmail, byEmailAndAddress, type LimitRule } from '../../http/limits.ts';

/** What the routes of the sign-in area have in common. */
export const SIGN_IN = {
  tags: ['Sign-in'],
  invalid: { code: 'INVALID_REQUEST' },
  failureText: 'server_error',
} as const;

const TokenPairSchema = z
  .object({
    accessToken: z.string(),
    refreshToken: z.string().meta({ description: '64 hex digits' }),
    expiresIn: z.int().meta({ description: 'Seconds the access token lives' }),
    tokenType: z.literal('Bearer'),
  })
  .meta({ id: 'TokenPair' });

/** The tokens, and the same three values at the top. */
export const PairSchema = z.object({
  success: z.literal(true),
  message: z.string(),
  tokens: TokenPairSchema,
  accessToken: z.string(),
  refreshToken: z.string(),
  expiresIn: z.int(),
});
export const SignedInSchema = PairSchema.extend({ user: WireUserSchema });
export const MessageSchema = z.object({ success: z.literal(true), message: z.string() });

/** Answers that hold tokens or a profile are nobody's to keep. */
export const NO_STORE = { 'Cache-Control': 'no-store' };

const MINUTES = 60;
/** Checking a password: few tries an account from one place, more from all places together, and a lid on one place. */
export const PASSWORD_LIMITS: readonly LimitRule[] = [
  { name: 'login', max: 10, windowSeconds: 15 * MINUTES, by: byEmailAndAddress },
  { name: 'login-account', max: 100, windowSeconds: 15 * MINUTES, by: byEmail },
  { name: 'login-address', max: 100, windowSeconds: 15 * MINUTES, by: byAddress },
];

/** An address from a body, trimmed and in lower case. @throws {AppError} `missing`, INVALID_EMAIL. */
export function readEmail(text: string, missing: ErrorCode): string {
  if (text.trim() === '') throw new AppError(missing);
  // Judged as it was sent: the lower case of a look-alike can be a plain letter (the Kelvin sign's is k).
  if (!isEmail(text.trim())) throw new AppError('INVALID_EMAIL');
  return normalizeEmail(text);
}

/** What {@link requireGoodPassword} may refuse with. */
export const PASSWORD_ERRORS = [
  'PASSWORD_TOO_SHORT',
  'PASSWORD_TOO_LONG',
  'PASSWORD_NEEDS_UPPERCASE',
  'PASSWORD_NEEDS_LOWERCASE',
  'PASSWORD_NEEDS_DIGIT',
] as const satisfies readonly ErrorCode[];

/** @throws {AppError} the first rule of the password policy that is broken. */
export function requireGoodPassword(password: string): void {
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new AppError(problem.code.toUpperCase() as ErrorCode);
}

/**
 * The user of these credentials. `confirm` comes first in the transaction that acts on them: it refuses what was changed
 * since, notes the sign-in, and writes a stronger hash where the present one is weak.
 */
export async function checkCredentials(
  deps: Services,
  body: { email: string; password: string },
): Promise<{ user: AuthUser; confirm: (trx: Transaction) => Promise<void> }> {
  const { password } = body;
  if (body.email.trim() === '' || password === '') throw new AppError('MISSING_FIELDS');
  readEmail(body.email, 'MISSING_FIELDS');
  const user = await findByEmail(deps.db, body.email);
  const right = await verifyPassword(password, user?.password);
  if (user === undefined || !right) throw new AppError('INVALID_CREDENTIALS');
  if (!user.isActive) throw new AppError('ACCOUNT_DISABLED');
  if (user.emailVerified === null) {
    await sendVerification(deps, user);
    throw new AppError('EMAIL_NOT_VERIFIED');
  }
  const stored = user.password;
  // bcrypt reads 72 bytes: an older, longer password still signs in but cannot be hashed anew as a whole.
  const weak = stored !== null && isWeakHash(stored) && Buffer.byteLength(password) <= PASSWORD_MAX_BYTES;
  const hash = weak ? await hashPassword(password) : undefined;
  return {
    user,
    async confirm(trx) {
      // The strongest lock at once: two sign-ins that both held the row and both wrote it would wait for each other.
      const present = await lockPassword(trx, user.id);
      // Another hash may be of the same password: another sign-in just wrote the stronger one.
      if (present !== stored && !(await verifyPassword(password, present))) throw new AppError('INVALID_CREDENTIALS');
      const now = await findAuthUser(trx, user.id);
      if (now?.isActive !== true) throw new AppError('ACCOUNT_DISABLED');
      // The address was changed while the password was being checked.
      if (now.email !== user.email || now.emailVerified === null) throw new AppError('INVALID_CREDENTIALS');
      await touchLogin(trx, user.id);
      if (hash !== undefined && stored !== null) await updatePasswordHash(trx, user.id, hash, stored);
    },
  };
}

/** Mails of this kind that an account gets in an hour. */
export const VERIFICATION_LIMIT = { name: 'verification-mail', max: 3, windowSeconds: 3600 };

/** Queues a verification mail, within the account's limit; beyond it nothing happens. */
async function sendVerification(deps: Services, user: AuthUser): Promise<void> {
  const { name, max, windowSeconds } = VERIFICATION_LIMIT;
  const [bucket] = await takeTokens(deps.db, [{ name, identity: user.id, capacity: max, windowSeconds }]);
  if (bucket?.allowed !== true) return;
  await queueVerification(deps, user);
}

/** Queues a verification mail. */
export const queueVerification = (deps: Services, user: AuthUser): Promise<string> =>
  inTransaction(deps.db, (trx) =>
    deps.emails.queue(trx, { template: 'email-verification', to: user.email, userId: user.id }),
  );

export interface IssuedPair {
  accessToken: string;
  refreshToken: string;
  /** Unix seconds. */
  issuedAt: number;
}

/** Makes a pair of tokens; the caller stores the session. @throws {AppError} TOKEN_GENERATION_FAILED. */
export async function issuePair(deps: Services, user: AuthUser): Promise<IssuedPair> {
  const issuedAt = Math.floor(Date.now() / 1000);
  return { accessToken: await deps.tokens.sign(user, issuedAt), refreshToken: newRefreshToken(), issuedAt };
}

/** The session of a pair, as a family of its own. */
export const openSession = (trx: Transaction, user: AuthUser, pair: IssuedPair): Promise<void> =>
  insertSession(trx, { ...sessionOf(pair), userId: user.id });

/** What a session row says of a pair. */
export const sessionOf = ({ refreshToken, issuedAt }: IssuedPair) => ({
  refreshToken,
  issuedAt,
  lifetimeSeconds: REFRESH_TTL_SECONDS,
});

/** Body of an answer that hands out tokens. */
export function pairBody(deps: Services, pair: IssuedPair, message: string): z.input<typeof PairSchema> {
  const { accessToken, refreshToken } = pair;
  const expiresIn = deps.tokens.accessTtlSeconds;
  return {
    success: true,
    message,
    tokens: { accessToken, refreshToken, expiresIn, tokenType: 'Bearer' },
    accessToken,
    refreshToken,
    expiresIn,
  };
}

/** Body of an answer to a sign-in. */
export const signedInBody = (deps: Services, user: AuthUser, pair: IssuedPair, message: string) => ({
  ...pairBody(deps, pair, message),
  user: toWireUser(user) satisfies WireUser,
});
