/** Activity that remembers, per panel, in which way a listing could be read after the usual one had failed. */
import type { Listing } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import { forgetFallbacks, recentFallbacks, storeFallbacks } from '../../store/sync/fallback-store.ts';

/** A way by which a listing was read to its end. */
export interface WorkedWay {
  listing: Listing;
  way: string;
  /** Records of the listing. */
  total: number;
  /** The run had begun with this way. */
  remembered: boolean;
}

/** A listing that has shrunk to less than this share is tried in the usual way again. */
const SHRUNK = 0.5;

/** The ways to begin with, of the last seven days. @param panel its fingerprint. */
export async function rememberedWays(db: Db, panel: string): Promise<Partial<Record<Listing, string>>> {
  const found = await recentFallbacks(db, panel);
  return Object.fromEntries(found.map(({ listing, way }) => [listing, way]));
}

export function createWayActivities({ db }: { db: Db }) {
  return {
    /** Stores the ways that a run has found, and forgets those that it used of listings that are much smaller by now. */
    async rememberWays({ panel, ways }: { panel: string; ways: WorkedWay[] }): Promise<void> {
      const stored = new Map((await recentFallbacks(db, panel)).map((f) => [f.listing, f.total]));
      const shrunk = ways.filter((w) => w.remembered && w.total < (stored.get(w.listing) ?? 0) * SHRUNK);
      await storeFallbacks(
        db,
        panel,
        ways.filter((w) => !w.remembered),
      );
      await forgetFallbacks(
        db,
        panel,
        shrunk.map((w) => w.listing),
      );
    },
  };
}

export type WayActivities = ReturnType<typeof createWayActivities>;
