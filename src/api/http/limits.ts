/** Rate limits of routes: who is counted, and what the answer says about it. */
import type { Context } from 'koa';
import { normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';
import { type BucketState, takeTokens } from '../../store/rate-limit-store.ts';
import type { Caller, Services } from '../context.ts';

/** What a rule may tell callers apart by. */
export interface LimitSubject {
  /** Client address; an IPv6 address counts by its /64, which is one household. */
  address: string;
  /** The body as it was sent, unchecked. */
  body: Readonly<Record<string, unknown>>;
  caller: Caller;
}

export interface LimitRule {
  /** Routes with one name share their buckets. */
  name: string;
  max: number;
  windowSeconds: number;
  /** Undefined: the rule does not apply to this request. */
  by: (subject: LimitSubject) => string | undefined;
}

/** The address of a body, as it is looked up. */
const emailOf = ({ body }: LimitSubject): string | undefined =>
  typeof body['email'] === 'string' ? normalizeEmail(body['email']) : undefined;

export const byAddress = ({ address }: LimitSubject): string => address;
export const byEmail = emailOf;
export const byEmailAndAddress = (subject: LimitSubject): string | undefined => {
  const email = emailOf(subject);
  return email === undefined ? undefined : `${email} ${subject.address}`;
};
export const byUser = ({ caller }: LimitSubject): string | undefined =>
  caller.kind === 'user' ? caller.user.id : undefined;

/** `15m0s`, `1h0m0s`: how the wire spells a window. */
function duration(seconds: number): string {
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60];
  return `${h > 0 ? `${h}h` : ''}${h > 0 || m > 0 ? `${m}m` : ''}${s}s`;
}

/**
 * Takes a token of each rule that applies, of none when one refuses, and writes the headers of the tightest.
 * @throws {AppError} RATE_LIMITED; SERVICE_UNAVAILABLE when the buckets cannot be asked: closed, not open.
 */
export async function enforceLimits(
  ctx: Context,
  deps: Pick<Services, 'db'>,
  rules: readonly LimitRule[],
  subject: LimitSubject,
): Promise<void> {
  const buckets = rules.flatMap((rule) => {
    const identity = rule.by(subject);
    return identity === undefined
      ? []
      : [{ name: rule.name, identity, capacity: rule.max, windowSeconds: rule.windowSeconds }];
  });
  if (buckets.length === 0) return;
  const states = await askBuckets(deps, buckets);
  const tightest = states.reduce((a, b) => (tighter(b, a) ? b : a));
  const waitSeconds = Math.ceil(tightest.waitSeconds);
  ctx.set('X-RateLimit-Limit', String(tightest.capacity));
  ctx.set('X-RateLimit-Remaining', String(tightest.remaining));
  ctx.set('X-RateLimit-Reset', String(Math.ceil(Date.now() / 1000) + waitSeconds));
  if (tightest.allowed) return;
  const sentence = `Rate limit exceeded. Maximum ${tightest.capacity} requests per ${duration(tightest.windowSeconds)}. Retry after ${waitSeconds} seconds.`;
  throw new AppError('RATE_LIMITED', {
    retryAfterMs: waitSeconds * 1000,
    detail: sentence,
  });
}

/** Refused before admitted; among the refused the longest wait, among the admitted the fewest tokens. */
const tighter = (a: BucketState, b: BucketState): boolean => {
  if (a.allowed !== b.allowed) return !a.allowed;
  return a.allowed ? a.remaining < b.remaining : a.waitSeconds > b.waitSeconds;
};

async function askBuckets(
  deps: Pick<Services, 'db'>,
  buckets: Parameters<typeof takeTokens>[1],
): Promise<BucketState[]> {
  try {
    return await takeTokens(deps.db, buckets);
  } catch (error) {
    if (!isConnectionFailure(error)) throw error;
    throw new AppError('SERVICE_UNAVAILABLE', { cause: error, retryAfterMs: 5000 });
  }
}
