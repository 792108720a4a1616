/** Activity that merges the staged pages into the mirror, in one transaction. */
import { writingProgress } from '../../domain/sync/progress.ts';
import type { Entity } from '../../domain/sync/targets.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import { requireSamePanel } from '../../services/sync/panel-fingerprint.ts';
import type { Db } from '../../store/db/db.ts';
import { mergeRun } from '../../store/sync/merge/merge.ts';
import type { MergedSource, MergeOutcome } from '../../store/sync/merge/scope.ts';
import { writeProgress, writeProgressRow } from '../../store/sync/progress-store.ts';
import { withHeartbeat } from '../failures.ts';

export interface MergeActivityDeps {
  db: Db;
  /** Settings as they are now. */
  settings: () => Promise<RuntimeSettings>;
}

export interface MergeRunInput {
  logId: string;
  /** The same key again returns the stored outcome. */
  key: string;
  /** Fingerprint of the panel that was read. */
  panel: string;
  entities: Entity[];
  sources: MergedSource[];
  dryRun: boolean;
}

async function merge(deps: MergeActivityDeps, input: MergeRunInput, signal: AbortSignal): Promise<MergeOutcome> {
  const settings = await deps.settings();
  const { allowMassPrune } = settings;
  const { logId, entities } = input;
  await writeProgress(deps.db, { logId, entities, unread: [], force: true });
  const onPlan = (changes: number) => writeProgressRow(deps.db, logId, writingProgress(entities, changes), 0);
  return mergeRun(
    deps.db,
    { ...input, allowMassPrune },
    {
      signal,
      // Not before: a retry after the commit reports what was written, also if the settings were changed since.
      beforePlan: () => requireSamePanel(settings, input.panel),
      onPlan,
    },
  );
}

export function createMergeActivities(deps: MergeActivityDeps) {
  return {
    /** Plans and writes the whole change in one transaction; a preview plans only. */
    mergeRun: (input: MergeRunInput): Promise<MergeOutcome> => withHeartbeat((signal) => merge(deps, input, signal)),
  };
}

export type MergeActivities = ReturnType<typeof createMergeActivities>;
