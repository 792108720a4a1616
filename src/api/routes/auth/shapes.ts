/** What the routes of the sign-in area share: their declaration, their limits, and the shapes of their answers. */
import { z } from 'zod';
import { type AuthUser, toWireUser, WireUserSchema } from '../../../domain/accounts/account.ts';
import type { TokenPair } from '../../../services/accounts/sessions.ts';
import type { Services } from '../../context.ts';
import { byAccount, byAddress, byEmailAndAddress, type LimitRule } from '../../http/limits.ts';

/** Declaration that all routes of the area share. */
export const SIGN_IN = {
  tags: ['Sign-in'],
  invalid: { code: 'INVALID_REQUEST' },
  failureMessage: 'server_error',
  // The forms of the site send some hundred. Anybody may send these bodies, and many keys are costly to parse.
  bodyLimitBytes: 16 * 1024,
} as const;

const QUARTER_HOUR_SECONDS = 15 * 60;
/**
 * Checking a password: few tries at an account from one address, more from all addresses, and a limit per address. A
 * bucket of 50 that fills in an hour allows 100 tries in any hour (ASVS 2.2.1).
 */
export const PASSWORD_LIMITS: readonly LimitRule[] = [
  { name: 'login', max: 10, windowSeconds: QUARTER_HOUR_SECONDS, by: byEmailAndAddress, guardsPassword: true },
  { name: 'login-account', max: 50, windowSeconds: 3600, by: byAccount, guardsPassword: true },
  { name: 'login-address', max: 100, windowSeconds: QUARTER_HOUR_SECONDS, by: byAddress },
];

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

/** Body of an answer without data. */
export const messageBody = (message: string): z.input<typeof MessageSchema> => ({ success: true, message });

/** Body of an answer that hands out tokens. */
export function pairBody(deps: Services, pair: TokenPair, message: string): z.input<typeof PairSchema> {
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
export const signedInBody = (
  deps: Services,
  { user, pair }: { user: AuthUser; pair: TokenPair },
  message: string,
): z.input<typeof SignedInSchema> => ({ ...pairBody(deps, pair, message), user: toWireUser(user) });
