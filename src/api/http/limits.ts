/** Rate limits of routes: by whom a rule counts, and what the answer says about it (ADR 10). */
import { isIP } from 'node:net';
import type { Context } from 'koa';
import { normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { networkAround, type RequestOrigin } from '../../services/accounts/networks.ts';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';
import { type BucketState, takeTokens } from '../../store/rate-limit-store.ts';
import type { Caller, Services } from '../context.ts';

/** What a rule may tell callers apart by. */
export interface LimitSubject {
  origin: RequestOrigin;
  /** The body as it was sent, unchecked; empty for a rule that applies before it is read. */
  body: Readonly<Record<string, unknown>>;
  caller: Caller;
}

/** By whom or what a rule counts. */
export interface LimitKey {
  /** Whether the token is taken before the body is read, so that a refused request costs neither reading nor parsing. */
  beforeBody: boolean;
  /** Undefined: the rule does not apply to this request. */
  identityOf(subject: LimitSubject): string | undefined;
}

export interface LimitRule {
  /** Routes with one name share their buckets. */
  name: string;
  max: number;
  windowSeconds: number;
  by: LimitKey;
}

const emailIn = (body: LimitSubject['body'], field: string): string | undefined => {
  const email = body[field];
  return typeof email === 'string' ? normalizeEmail(email) : undefined;
};

/** An IPv4 address, or the /64 of an IPv6 address. */
const countedAs = ({ address }: RequestOrigin): string =>
  isIP(address) === 4 ? address : networkAround(address, { ipv4: 32, ipv6: 64 });

/** By the client's address, which is known before the body. */
export const byAddress: LimitKey = { beforeBody: true, identityOf: ({ origin }) => countedAs(origin) };
/** By the email address in this field of the body, in the form in which accounts are looked up. */
export const byEmailIn = (field: string): LimitKey => ({
  beforeBody: false,
  identityOf: ({ body }) => emailIn(body, field),
});
export const byEmail = byEmailIn('email');
export const byEmailAndAddress: LimitKey = {
  beforeBody: false,
  identityOf({ body, origin }) {
    const email = emailIn(body, 'email');
    return email === undefined ? undefined : `${email} ${countedAs(origin)}`;
  },
};
/** By the signed-in user. Taken together with the rules that need the body, in one statement. */
export const byUser: LimitKey = {
  beforeBody: false,
  identityOf: ({ caller }) => (caller.kind === 'user' ? caller.user.id : undefined),
};

/** `15m0s`, `1h0m0s`: the contract's spelling of a window. */
function duration(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return `${h > 0 ? `${h}h` : ''}${h > 0 || m > 0 ? `${m}m` : ''}${s}s`;
}

/**
 * Takes a token of each rule that applies, or of none of them when one refuses, and writes the headers of the tightest.
 * The rules of a route are taken in two steps, before and after its body is read. A request that the second step refuses
 * has spent its token of the first: that is its own address's, never another person's (ADR 10).
 * @param earlier states of the first step: they count for the headers.
 * @returns all states, those of the first step included.
 * @throws {AppError} RATE_LIMITED; SERVICE_UNAVAILABLE when the database is away, because no limit may be skipped.
 */
export async function enforceLimits(
  ctx: Context,
  deps: Pick<Services, 'db'>,
  rules: readonly LimitRule[],
  subject: LimitSubject,
  earlier: readonly BucketState[] = [],
): Promise<readonly BucketState[]> {
  const buckets = rules.flatMap((rule) => {
    const identity = rule.by.identityOf(subject);
    return identity === undefined
      ? []
      : [{ name: rule.name, identity, capacity: rule.max, windowSeconds: rule.windowSeconds }];
  });
  if (buckets.length === 0) return earlier;
  const states = [...earlier, ...(await takeFrom(deps, buckets))];
  const tightest = states.reduce((a, b) => (tighter(b, a) ? b : a));
  const waitSeconds = Math.ceil(tightest.waitSeconds);
  ctx.set('X-RateLimit-Limit', String(tightest.capacity));
  ctx.set('X-RateLimit-Remaining', String(tightest.remaining));
  ctx.set('X-RateLimit-Reset', String(Math.ceil(Date.now() / 1000) + waitSeconds));
  if (tightest.allowed) return states;
  const sentence = `Rate limit exceeded. Maximum ${tightest.capacity} requests per ${duration(tightest.windowSeconds)}. Retry after ${waitSeconds} seconds.`;
  throw new AppError('RATE_LIMITED', {
    retryAfterMs: waitSeconds * 1000,
    publicMessage: sentence,
  });
}

/** Whether `a` limits more: a refusal before an admission, then the longer wait or the fewer tokens. */
const tighter = (a: BucketState, b: BucketState): boolean => {
  if (a.allowed !== b.allowed) return !a.allowed;
  return a.allowed ? a.remaining < b.remaining : a.waitSeconds > b.waitSeconds;
};

async function takeFrom(deps: Pick<Services, 'db'>, buckets: Parameters<typeof takeTokens>[1]): Promise<BucketState[]> {
  try {
    return await takeTokens(deps.db, buckets);
  } catch (error) {
    if (!isConnectionFailure(error)) throw error;
    throw new AppError('SERVICE_UNAVAILABLE', { cause: error, retryAfterMs: 5000 });
  }
}
