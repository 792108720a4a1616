/** Rate limits of routes: by whom a rule counts, and what the answer says about it (ADR 10). */
import { isIP } from 'node:net';
import type { Context } from 'koa';
import { normalizeEmail } from '../../domain/accounts/account.ts';
import { AppError } from '../../domain/errors.ts';
import { readUuid } from '../../domain/uuid.ts';
import { takeOrByNetwork } from '../../services/accounts/account-limits.ts';
import { recordLockout } from '../../services/accounts/lockouts.ts';
import { networkAround, type RequestOrigin } from '../../services/accounts/networks.ts';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';
import type { BucketState } from '../../store/rate-limit-store.ts';
import type { Caller, Services } from '../context.ts';

/** What a rule may tell callers apart by. */
export interface LimitSubject {
  origin: RequestOrigin;
  /** The body as it was sent, unchecked; empty for a rule that applies before it is read. */
  body: Readonly<Record<string, unknown>>;
  caller: Caller;
}

/** What a rule counts by in a request. */
export interface Counted {
  identity: string;
  /** The rule's limit times this; default 1. */
  factor?: number;
  /** The email address whose account is counted, from all places. */
  account?: string;
}

/** By whom or what a rule counts. */
export interface LimitKey {
  /** Whether the token is taken before the body is read, so that a refused request costs neither reading nor parsing. */
  beforeBody: boolean;
  /** One token of each is taken. Empty: the rule does not apply to this request. */
  counts(subject: LimitSubject): readonly Counted[];
}

export interface LimitRule {
  /** Routes with one name share their buckets. */
  name: string;
  max: number;
  windowSeconds: number;
  by: LimitKey;
  /** Protects the database and nothing else: while it is away, the request goes on without a token. */
  databaseOnly?: boolean;
  /** Guards the password of an account: its refusals are recorded. */
  guardsPassword?: boolean;
}

const emailIn = (body: LimitSubject['body'], field: string): string | undefined => {
  const email = body[field];
  return typeof email === 'string' ? normalizeEmail(email) : undefined;
};

/**
 * What an address counts as. An IPv4 address counts by itself. A home has a /56 of IPv6 or more, that is 256 times a /64
 * and more, so the limit holds for the /64, four times it for the /56 and sixteen times it for the /48.
 */
function networksOf({ address }: RequestOrigin): Counted[] {
  if (isIP(address) !== 6) return [{ identity: address }];
  return [
    { identity: networkAround(address, 64) },
    { identity: networkAround(address, 56), factor: 4 },
    { identity: networkAround(address, 48), factor: 16 },
  ];
}

/** By the client's address, which is known before the body. */
export const byAddress: LimitKey = { beforeBody: true, counts: ({ origin }) => networksOf(origin) };
/** By the address of a caller who shows no key and no token, where a route is open to everybody. */
export const byStrangersAddress: LimitKey = {
  beforeBody: true,
  counts: ({ caller, origin }) => (caller.kind === 'public' ? networksOf(origin) : []),
};
/** By the email address in this field of the body, in the form in which accounts are looked up. */
export const byEmailIn = (field: string): LimitKey => ({
  beforeBody: false,
  counts({ body }) {
    const email = emailIn(body, field);
    return email === undefined ? [] : [{ identity: email }];
  },
});
/** By the account of `email` in the body, from all places; a network that signed in to it before has a bucket of its own. */
export const byAccount: LimitKey = {
  beforeBody: false,
  counts({ body }) {
    const email = emailIn(body, 'email');
    return email === undefined ? [] : [{ identity: email, account: email }];
  },
};
/** By the Hytale account that the body names by its UUID, in any case; a request that names none counts by the client's address. */
export const byHytaleAccount: LimitKey = {
  beforeBody: false,
  counts({ body, origin }) {
    const id = readUuid(body['account_id']);
    return id === undefined ? networksOf(origin) : [{ identity: `account:${id}` }];
  },
};
export const byEmailAndAddress: LimitKey = {
  beforeBody: false,
  counts({ body, origin }) {
    const email = emailIn(body, 'email');
    if (email === undefined) return [];
    return networksOf(origin).map((counted) => ({ ...counted, identity: `${email} ${counted.identity}` }));
  },
};
/** By the signed-in user. Taken together with the rules that need the body, in one statement. */
export const byUser: LimitKey = {
  beforeBody: false,
  counts: ({ caller }) => (caller.kind === 'user' ? [{ identity: caller.user.id }] : []),
};

/**
 * What anybody may ask the database without signing in. Wide: a server of the site may ask for all its visitors.
 */
export const PUBLIC_READS: LimitRule = {
  name: 'public',
  max: 600,
  windowSeconds: 60,
  by: byAddress,
  databaseOnly: true,
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
  deps: Pick<Services, 'db' | 'log'>,
  rules: readonly LimitRule[],
  subject: LimitSubject,
  earlier: readonly BucketState[] = [],
): Promise<readonly BucketState[]> {
  const buckets = rules.flatMap(({ name, max, windowSeconds, by }) =>
    by
      .counts(subject)
      .map(({ identity, factor = 1, account }) => ({ name, identity, capacity: max * factor, windowSeconds, account })),
  );
  if (buckets.length === 0) return earlier;
  const taken = await takeOrByNetwork(deps.db, buckets, subject.origin).catch((error: unknown) => {
    if (!isConnectionFailure(error)) throw error;
    if (rules.every((rule) => rule.databaseOnly === true)) return [];
    throw new AppError('SERVICE_UNAVAILABLE', { cause: error, retryAfterMs: 5000 });
  });
  if (taken.length === 0) return earlier;
  const states = [...earlier, ...taken];
  const tightest = states.reduce((a, b) => (tighter(b, a) ? b : a));
  const waitSeconds = Math.ceil(tightest.waitSeconds);
  ctx.set('X-RateLimit-Limit', String(tightest.capacity));
  ctx.set('X-RateLimit-Remaining', String(tightest.remaining));
  ctx.set('X-RateLimit-Reset', String(Math.ceil(Date.now() / 1000) + waitSeconds));
  if (tightest.allowed) return states;
  await recordGuards(deps, rules, refusedNames(buckets, taken), subject);
  const sentence = `Rate limit exceeded. Maximum ${tightest.capacity} requests per ${duration(tightest.windowSeconds)}. Retry after ${waitSeconds} seconds.`;
  throw new AppError('RATE_LIMITED', {
    retryAfterMs: waitSeconds * 1000,
    publicMessage: sentence,
  });
}

const refusedNames = (buckets: readonly { name: string }[], taken: readonly BucketState[]): ReadonlySet<string> =>
  new Set(buckets.filter((_, i) => taken[i]?.allowed === false).map(({ name }) => name));

/** Records the refusals of limits that guard a password. */
async function recordGuards(
  deps: Pick<Services, 'db' | 'log'>,
  rules: readonly LimitRule[],
  refused: ReadonlySet<string>,
  { body, caller, origin }: LimitSubject,
): Promise<void> {
  const email = emailIn(body, 'email');
  const account = caller.kind === 'user' ? { userId: caller.user.id } : email === undefined ? undefined : { email };
  if (account === undefined) return;
  for (const rule of rules) {
    if (rule.guardsPassword === true && refused.has(rule.name)) await recordLockout(deps, rule, account, origin);
  }
}

/** Whether `a` limits more: a refusal before an admission, then the longer wait or the fewer tokens. */
const tighter = (a: BucketState, b: BucketState): boolean => {
  if (a.allowed !== b.allowed) return !a.allowed;
  return a.allowed ? a.remaining < b.remaining : a.waitSeconds > b.waitSeconds;
};
