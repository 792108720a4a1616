/** Statistics for a short time: the home page asks for them at each visit. */
import type { Db } from '../../store/db/db.ts';
import { type InventoryCounts, inventoryCounts } from '../../store/inventory/statistics.ts';
import type { Settings } from '../settings/settings.ts';

export interface StatsCache {
  /** Counts at most `cache_timeout` seconds old; concurrent callers share one query. */
  counts(): Promise<InventoryCounts>;
}

/** Makes the cache of one process. It answers nothing that a second copy would contradict for longer than its timeout. */
export function createStatsCache(deps: { db: Db; settings: Settings }): StatsCache {
  let kept: { at: number; value: InventoryCounts } | undefined;
  let running: Promise<InventoryCounts> | undefined;
  return {
    async counts() {
      const { cacheTimeoutSeconds } = await deps.settings.runtime();
      if (kept !== undefined && performance.now() - kept.at < cacheTimeoutSeconds * 1000) return kept.value;
      running ??= inventoryCounts(deps.db)
        .then((value) => {
          kept = { at: performance.now(), value };
          return value;
        })
        .finally(() => {
          running = undefined;
        });
      return running;
    },
  };
}
