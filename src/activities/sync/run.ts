/** Activities of the sync: ids and counts in and out, never rows. Each may run twice with the same result. */

import type { PanelClient } from '../../clients/panel/client.ts';
import { AppError, ERRORS, type ErrorCode } from '../../domain/errors.ts';
import { mayPrune } from '../../domain/sync/prune-guard.ts';
import type { Entity, SyncCounts, SyncWarning } from '../../domain/sync/targets.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import type { Db } from '../../store/db/db.ts';
import type { AppliedSource } from '../../store/sync/merge/match.ts';
import { type ApplyOutcome, applyRun, countGone } from '../../store/sync/merge/merge.ts';
import { closeRun, type OpenResult, openRun, writeProgressRow } from '../../store/sync/run-store.ts';
import { type SourceVerdict, verifySource } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import { createPageActivities } from './read-pages.ts';

export interface SyncActivityDeps {
  db: Db;
  /** Settings as they are now. */
  settings: () => Promise<RuntimeSettings>;
  /** A client for the panel that is configured now. */
  panel: () => Promise<PanelClient>;
  options: {
    concurrency: number;
    requestsPerMinute: number | undefined;
    subusers: boolean;
    subusersBatchSize: number;
  };
}

export interface OpenRunResult {
  result: OpenResult;
  /** Sync subusers at all? */
  subusers: boolean;
  /** May subusers be read by the client API where the application key lacks the right? */
  clientKey: boolean;
  batchSize: number;
  concurrency: number;
  requestsPerMinute: number | null;
}

export function createSyncActivities(deps: SyncActivityDeps) {
  const { db } = deps;

  return {
    ...createPageActivities(deps),

    /** Opens the log row for a workflow run. */
    async openRun(input: { logId: string; runId: string; reopen: boolean }): Promise<OpenRunResult> {
      const result = await openRun(db, input);
      const settings = await deps.settings();
      return {
        result,
        subusers: deps.options.subusers,
        clientKey: settings.panelClientApiKey !== undefined,
        batchSize: deps.options.subusersBatchSize,
        concurrency: deps.options.concurrency,
        requestsPerMinute: deps.options.requestsPerMinute ?? null,
      };
    },

    /** Is a source whole and consistent, and who would be pruned for it? */
    async verifyStage(input: {
      logId: string;
      source: string;
      pass: number;
      /** Entities of it that would be pruned only after asking. */
      ask: ('servers' | 'nodes' | 'locations' | 'nests')[];
    }): Promise<
      SourceVerdict & {
        gone: { entity: 'servers' | 'nodes' | 'locations' | 'nests'; count: number; refused: boolean }[];
      }
    > {
      return withHeartbeat(async () => {
        const verdict = await verifySource(db, input);
        const gone: { entity: 'servers' | 'nodes' | 'locations' | 'nests'; count: number; refused: boolean }[] = [];
        if (!verdict.complete || verdict.pages < 2) return { ...verdict, gone };
        const { allowMassPrune } = await deps.settings();
        // At most two entities, one statement each.
        for (const entity of input.ask) {
          const count = await countGone(db, { ...input, entity });
          if (count.gone === 0) continue;
          const options = { emptyListing: verdict.distinct === 0, allowMass: allowMassPrune };
          gone.push({ entity, count: count.gone, refused: !mayPrune(count.gone, count.present, options) });
        }
        return { ...verdict, gone };
      });
    },

    /** Plans and writes the whole change in one transaction, or plans only. */
    async applyStage(input: {
      logId: string;
      key: string;
      entities: Entity[];
      sources: AppliedSource[];
      dryRun: boolean;
    }): Promise<ApplyOutcome> {
      return withHeartbeat(async (signal) => {
        const { allowMassPrune } = await deps.settings();
        return applyRun(
          db,
          { ...input, allowMassPrune },
          {
            signal,
            onPlan: (changes) =>
              writeProgressRow(
                db,
                input.logId,
                {
                  step: 'databases',
                  progress: 92,
                  percentage: 0,
                  itemsTotal: changes,
                  itemsProcessed: 0,
                  lastMessage: `Writing ${changes} changes`,
                  runTotal: 0,
                  runProcessed: 0,
                },
                0,
              ),
          },
        );
      });
    },

    /** Ends the log row; the answer is the status it ended with (a cancel that was asked for wins). */
    async closeRun(input: {
      logId: string;
      runId: string;
      outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED';
      code: string | null;
      failedStep: string | null;
      dryRun: boolean;
      counts: SyncCounts;
      warnings: SyncWarning[];
    }): Promise<'COMPLETED' | 'FAILED' | 'CANCELLED'> {
      const totals = Object.values(input.counts);
      const failed = totals.reduce((n, c) => n + c.failed, 0);
      const synced = totals.reduce((n, c) => n + c.created + c.updated + c.unchanged, 0);
      return closeRun(db, {
        logId: input.logId,
        runId: input.runId,
        outcome: input.outcome,
        error: input.outcome === 'FAILED' ? publicText(input.code) : undefined,
        failedStep: input.failedStep ?? undefined,
        metadata: {
          ...(totals.length > 0 ? { counts: input.counts } : {}),
          ...(input.warnings.length > 0 ? { warnings: input.warnings } : {}),
        },
        items: totals.length > 0 ? { total: synced + failed, synced, failed } : undefined,
      });
    },
  };
}

export type SyncActivities = ReturnType<typeof createSyncActivities>;

/** The sentence of an error code for the log row; codes of the database and unknown ones have a general one. */
function publicText(code: string | null): string {
  if (code !== null && code in ERRORS) return ERRORS[code as ErrorCode].text;
  return new AppError('INTERNAL_ERROR').message;
}
