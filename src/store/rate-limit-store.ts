/** Token buckets in PostgreSQL: the same for every copy of the api. */
import { createHash } from 'node:crypto';
import type { Db } from './db/db.ts';
import { query } from './db/query.ts';

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
 * Takes one token of each bucket, or none when one of them is empty: who is refused by one bucket must not go on to
 * empty another, which may be his victim's. Buckets refill continuously. One statement; the migration has the function.
 * @returns states in the order of the buckets; `allowed` is each bucket's own word.
 */
export async function takeTokens(db: Db, buckets: readonly Bucket[]): Promise<BucketState[]> {
  if (buckets.length === 0) return [];
  const wanted = buckets.map((b) => ({ key: keyOf(b), capacity: b.capacity, refill: b.capacity / b.windowSeconds }));
  const taken = await query<{ key: string; tokens: number; allowed: boolean }>(
    db,
    'select t.bucket as key, t.left_over as tokens, t.had_one as allowed from take_rate_limit_tokens(?::json) as t',
    [JSON.stringify(wanted)],
  );
  const byKey = new Map(taken.map((row) => [row.key, row]));
  return buckets.map((bucket) => {
    const row = byKey.get(keyOf(bucket));
    const tokens = row?.tokens ?? 0;
    return {
      allowed: row?.allowed === true,
      capacity: bucket.capacity,
      windowSeconds: bucket.windowSeconds,
      remaining: Math.floor(tokens),
      waitSeconds: tokens >= 1 ? 0 : ((1 - tokens) * bucket.windowSeconds) / bucket.capacity,
    };
  });
}

/** Deletes buckets that are full again: a missing row is a full bucket. @returns how many. */
export async function purgeBuckets(db: Db, batch: number): Promise<number> {
  const deleted = await query<{ key: string }>(
    db,
    `delete from rate_limits where key in (
       select r.key from rate_limits r
       where r.updated_at + make_interval(secs => (r.capacity - r.tokens) / r.refill_per_second) < now() limit ?
       for update skip locked) returning key`,
    [batch],
  );
  return deleted.length;
}
