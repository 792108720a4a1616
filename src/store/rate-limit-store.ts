/** Token buckets in PostgreSQL, shared by all copies of the api (ADR 10). */
import { createHash } from 'node:crypto';
import type { Db } from './db/db.ts';
import { query } from './db/query.ts';

export interface Bucket {
  /** Name of the limit, e.g. `login`. */
  name: string;
  /** The address or account that is limited. Only its SHA-256 is stored. */
  identity: string;
  /** Number of tokens in a full bucket. */
  capacity: number;
  /** Seconds in which an empty bucket fills. */
  windowSeconds: number;
}

export interface BucketState {
  allowed: boolean;
  capacity: number;
  windowSeconds: number;
  /** Number of whole tokens left. */
  remaining: number;
  /** Seconds until the next token; 0 if there is one. */
  waitSeconds: number;
}

const keyOf = (bucket: Bucket): string =>
  `${bucket.name}:${createHash('sha256').update(bucket.identity).digest('base64url').slice(0, 22)}`;

/**
 * Takes one token of each bucket, or none if one of them is empty: a caller who is refused by one bucket must not go on
 * and empty another bucket, which can be that of an attacked account. Buckets refill continuously. One statement, which
 * calls a function of the migration `rate_limits`.
 * @returns states in the order of the buckets; `allowed` is false for the empty ones only.
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

/** Deletes buckets that are full again: a missing row means a full bucket. @returns number of rows. */
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
