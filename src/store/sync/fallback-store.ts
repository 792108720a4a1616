/** Ways to read a listing that worked after the usual one had failed (`sync_fallbacks`). */
import type { Listing } from '../../domain/sync/targets.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface Fallback {
  listing: Listing;
  way: string;
  /** Records of the listing at that time. */
  total: number;
}

/** Days after which the usual way is tried again. */
const HOLDS_DAYS = 7;

/** @param panel fingerprint of the panel's address and keys. */
export const recentFallbacks = (db: Db, panel: string): Promise<Fallback[]> =>
  query(
    db,
    `select f.listing, f.way, f.total from sync_fallbacks f
     where f.panel = ? and f.noted_at > current_timestamp - make_interval(days => ?) order by f.listing`,
    [panel, HOLDS_DAYS],
  );

/** Stores ways that were found now. Of panels that nothing reads any more, what is older than the limit is deleted. */
export async function storeFallbacks(db: Db, panel: string, fallbacks: readonly Fallback[]): Promise<void> {
  await execute(db, 'delete from sync_fallbacks where noted_at <= current_timestamp - make_interval(days => ?)', [
    HOLDS_DAYS,
  ]);
  await execute(
    db,
    `insert into sync_fallbacks (panel, listing, way, total, noted_at)
     select ?, x.listing, x.way, x.total, current_timestamp from json_to_recordset(?::json) as x (listing text, way text, total int)
     on conflict (panel, listing) do update set way = excluded.way, total = excluded.total, noted_at = excluded.noted_at`,
    [panel, JSON.stringify(fallbacks)],
  );
}

/** The next run reads these listings in the usual way. */
export const forgetFallbacks = (db: Db, panel: string, listings: readonly Listing[]): Promise<number> =>
  execute(db, 'delete from sync_fallbacks where panel = ? and listing = any(?::text[])', [panel, [...listings]]);
