/** Token buckets in PostgreSQL: the same for every copy of the api. */
import { createHash } from 'node:crypto';
import { type Db, inTransaction, rows } from './db.ts';

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
 * empty another, which may be his victim's. Buckets refill continuously.
 * @returns states in the order of the buckets; `allowed` is each bucket's own word.
 */
export async function takeTokens(db: Db, buckets: readonly Bucket[]): Promise<BucketState[]> {
  if (buckets.length === 0) return [];
  if (buckets.length === 1) return states(buckets, await settle(db, buckets, 1));
  return inTransaction(db, async (trx) => {
    const settled = await settle(trx, buckets, 0);
    if (!settled.every(({ allowed }) => allowed)) return states(buckets, settled);
    const taken = settled.map((row) => ({ ...row, tokens: row.tokens - 1 }));
    await trx.raw('update rate_limits set tokens = tokens - 1 where key = any(?::text[])', [taken.map((t) => t.key)]);
    return states(buckets, taken);
  });
}

interface Settled {
  key: string;
  tokens: number;
  /** There was a token to take. */
  allowed: boolean;
}

/** Brings buckets up to the present and locks them, and takes so many tokens of those that have one. */
async function settle(db: Db, buckets: readonly Bucket[], take: 0 | 1): Promise<Settled[]> {
  const wanted = buckets.map((b) => ({ key: keyOf(b), capacity: b.capacity, refill: b.capacity / b.windowSeconds }));
  // Rows are locked in the order of their keys, so that two requests never wait for each other. A request that waited for
  // the row may be older than the row's last change: time never runs backwards.
  return rows<Settled>(
    db,
    `insert into rate_limits as r (key, tokens, capacity, refill_per_second, allowed, updated_at)
     select b.key, b.capacity - ${take}, b.capacity, b.refill, true, clock_timestamp()
       from json_to_recordset(?::json) as b (key text, capacity float8, refill float8) order by b.key
     on conflict (key) do update set
       allowed = least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at))) >= 1,
       tokens = least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at)))
         - case when least(excluded.capacity, r.tokens + excluded.refill_per_second * greatest(0, extract(epoch from excluded.updated_at - r.updated_at))) >= 1
                then ${take} else 0 end,
       capacity = excluded.capacity, refill_per_second = excluded.refill_per_second,
       updated_at = greatest(r.updated_at, excluded.updated_at)
     returning r.key, r.tokens, r.allowed`,
    [JSON.stringify(wanted)],
  );
}

function states(buckets: readonly Bucket[], settled: readonly Settled[]): BucketState[] {
  const byKey = new Map(settled.map((row) => [row.key, row]));
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
