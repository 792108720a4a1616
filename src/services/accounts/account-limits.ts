/** Limits of a whole account, which strangers can use up, and how its owner passes them all the same. */
import type { Db } from '../../store/db/db.ts';
import { type Bucket, type BucketState, takeTokens } from '../../store/rate-limit-store.ts';
import { isKnownNetwork, type RequestOrigin } from './networks.ts';

/** A bucket to take a token from. */
export interface LimitBucket extends Bucket {
  /** The email address of an account, in lower case, where the bucket counts the requests of everybody for it. */
  account?: string | undefined;
}

/**
 * Takes a token of each bucket, or none. Where only the bucket of an account is empty, and the account was signed in to
 * from the caller's network, that network's own bucket of the same size takes its place. So strangers who use up the
 * limit of an account do not lock out its owner. The further statements are of such requests alone.
 */
export async function takeOrByNetwork(
  db: Db,
  buckets: readonly LimitBucket[],
  origin: RequestOrigin,
): Promise<BucketState[]> {
  const states = await takeTokens(db, buckets);
  const refusing = buckets.filter((_, i) => states[i]?.allowed !== true);
  const [first] = refusing;
  if (first?.account === undefined || refusing.some(({ account }) => account !== first.account)) return states;
  if (!(await isKnownNetwork(db, first.account, origin))) return states;
  const own = (bucket: LimitBucket): Bucket => ({
    ...bucket,
    identity: `${bucket.identity} from ${origin.networkDigest}`,
  });
  return takeTokens(
    db,
    buckets.map((bucket) => (refusing.includes(bucket) ? own(bucket) : bucket)),
  );
}
