/** Token buckets in PostgreSQL: the same for every copy of the api. */
import { createHash } from 'node:crypto';
import { type Db, rows } from './db.ts';

export interface Bucket {
  /** Limiter, e.g. `login`. */
  name: string;
  /** Whom it counts: an address, an account. Stored as a digest only. */
  identity: string;
  /** Tokens of a full bucket. */
  capacity: number;
  /** Seconds in which an empty bucket fills. */
  windowSeconds: number;
}

export interface BucketState {
  allowed: boolean;
  capacity: number;
  windowSeconds: number;
  /** Whole tokens that are left. */
  remaining: number;
  /** Seconds until there is a token again; 0 when there is one. */
  waitSeconds: number;
}

const keyOf = (bucket: Bucket): string =>
  `${bucket.name}:${createHash('sha256').update(bucket.identity).digest('base64url').slice(0, 22)}`;

/**
 * Takes one token of each bucket, in one statement. A refused bucket loses nothing. Buckets refill continuously.
 * @returns states in the order of the buckets.
 */
export async function takeTokens(db: Db, buckets: readonly Bucket[]): Promise<BucketState[]> {
  if (buckets.length === 0) return [];
  const wanted = buckets.map((b) => ({ key: keyOf(b), capacity: b.capacity, refill: b.capacity / b.windowSeconds }));
  // Rows are locked in the order of their keys, so that two requests never wait for each other. A request that waited for
  // the row may be older than the row's last change: time never runs backwards.
  const taken = await rows<{ key: string; tokens: number; allowed: boolean }>(
    db,
    `insert into rate_limits as r (key, tokens, capacity, refill_per_second, allowed, updated_at)
     select b.key, b.capacity - 1, b.capacity, b.refill, true, clock_timestamp()
       from json_to_recordset(?::json) as b (key text, capacity float8, refill float8) order by b.key
     on conflict (key) do update set
       allowed = least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at))) >= 1,
       tokens = least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at)))
         - case when least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at))) >= 1
                then 1 else 0 end,
       capacity = excluded.capacity, refill_per_second = excluded.refill_per_second,
       updated_at = greatest(r.updated_at, excluded.updated_at)
     returning r.key, r.tokens, r.allowed`,
    [JSON.stringify(wanted)],
  );
  const byKey = new Map(taken.map((t) => [t.key, t]));
  return buckets.map((bucket, index) => {
    const { key, refill } = wanted[index] ?? { key: '', refill: 1 };
    const state = byKey.get(key);
    const tokens = state?.tokens ?? 0;
    return {
      allowed: state?.allowed === true,
      capacity: bucket.capacity,
      windowSeconds: bucket.windowSeconds,
      remaining: Math.floor(tokens),
      waitSeconds: tokens >= 1 ? 0 : (1 - tokens) / refill,
    };
  });
}

/** Deletes buckets that are full again: a missing row is a full bucket. @returns how many. */
export async function purgeBuckets(db: Db, batch: number): Promise<number> {
  const deleted = await rows<{ key: string }>(
    db,
    `delete from rate_limits where key in (
       select r.key from rate_limits r
       where r.updated_at + make_interval(secs => (r.capacity - r.tokens) / r.refill_per_second) < now() limit ?
       for update skip locked) returning key`,
    [batch],
  );
  return deleted.length;
}
