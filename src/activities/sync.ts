/** Activities of the sync: ids and counts in and out, never rows. Each may run twice with the same result. */
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { Knex } from 'knex';
import type { PanelClient, Throttle } from '../clients/panel-client.ts';
import { AppError, ERRORS, type ErrorCode, isAppError } from '../domain/errors.ts';
import { mapClientSubusers } from '../domain/panel.ts';
import {
  type Entity,
  mayPrune,
  type SyncCounts,
  type SyncTarget,
  type SyncWarning,
  sourcesOf,
} from '../domain/sync.ts';
import type { AppliedSource } from '../store/apply-plan.ts';
import { type ApplyOutcome, applyRun, countGone, goneCandidates } from '../store/panel-store.ts';
import type { RuntimeSettings } from '../store/settings-store.ts';
import {
  closeRun,
  eggIdsOf,
  type OpenResult,
  openRun,
  type SourceVerdict,
  stagedPages,
  stagedServers,
  stagePage,
  verifySource,
  writeProgress,
  writeProgressRow,
} from '../store/stage-store.ts';
import { withHeartbeat } from './failures.ts';
import { readEggsSingly, readPage } from './panel-reader.ts';

export interface SyncActivityDeps {
  db: Knex;
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

export interface StagePagesInput {
  logId: string;
  target: SyncTarget;
  skipUsers: boolean;
  subusers: boolean;
  source: string;
  include: string;
  pass: number;
  pages: number[];
  perPage: number;
  split: number;
}

export interface StagedPage {
  page: number;
  rows: number;
  total: number;
  totalPages: number;
  perPage: number;
  missing: string[];
  rejected: number;
  /** Ids of the listing's own records, where the next step needs them (bare nodes and nests). */
  ids?: number[];
}

export interface StagePagesResult {
  pages: StagedPage[];
  answers: Throttle[];
  /** The panel had failed this grant before. */
  retried: boolean;
  stopped: { kind: 'throttled'; retryAfterMs: number } | { kind: 'cancelled' } | null;
  warnings: SyncWarning[];
}

/** Attempts at which a failing panel is final: gateway errors and timeouts have a fallback, the rest is given time. */
const FINAL_ATTEMPT = { fallback: 3, other: 8 };
/** `filter[uuid]` takes a list; 25 uuids are below 1 KiB of query (sync-engine: lots of 25). */
const CONFIRM_LOT = 25;

const primaryRows: Record<string, Entity> = {
  locations: 'locations',
  nodes: 'nodes',
  nests: 'nests',
  users: 'users',
  servers: 'servers',
};

/** Whether a panel failure is final at this attempt, so that the workflow's fallback takes over. */
function panelFailure(error: unknown, attempt: number): unknown {
  if (!isAppError(error, 'PANEL_UNAVAILABLE')) return error;
  const { status, kind } = (error.meta ?? {}) as { status?: number; kind?: string };
  const hasFallback =
    kind === 'timeout' || kind === 'too-large' || (kind === 'http' && [500, 502, 504].includes(status ?? 0));
  const final = kind === 'too-large' || attempt >= (hasFallback ? FINAL_ATTEMPT.fallback : FINAL_ATTEMPT.other);
  if (!final) return error;
  return ApplicationFailure.create({
    type: 'PANEL_UNAVAILABLE',
    message:
      status === undefined ? `the panel cannot be reached (${kind ?? 'network'})` : `the panel answers ${status}`,
    nonRetryable: true,
  });
}

export function createSyncActivities(deps: SyncActivityDeps) {
  const { db } = deps;

  return {
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

    /** Reads and stages pages of one source, one request at a time; a retry skips what it staged before. */
    async stagePages(input: StagePagesInput): Promise<StagePagesResult> {
      return withHeartbeat(async (signal) => {
        const { attempt } = activityInfo();
        const client = await deps.panel();
        const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: input.subusers });
        const result: StagePagesResult = { pages: [], answers: [], retried: attempt > 1, stopped: null, warnings: [] };
        const key = { logId: input.logId, source: input.source, pass: input.pass };
        const known =
          attempt === 1 ? [] : await stagedPages(db, { ...key, pages: input.pages, include: input.include });
        let last = false;
        // The next page is asked for while this one is being stored.
        let storing: Promise<'staged' | 'cancelled'> | undefined;
        const settle = async () => {
          const outcome = await storing;
          storing = undefined;
          if (outcome === 'cancelled') result.stopped = { kind: 'cancelled' };
        };
        try {
          for (const page of input.pages) {
            const staged = known.find((k) => k.page === page);
            if (staged !== undefined) {
              result.pages.push(staged);
              continue;
            }
            let read: Awaited<ReturnType<typeof readPage>>;
            try {
              read = await readPage(
                client,
                { source: input.source, include: input.include, page, perPage: input.perPage, split: input.split },
                signal,
              );
            } catch (error) {
              if (isAppError(error, 'PANEL_RATE_LIMITED')) {
                result.stopped = { kind: 'throttled', retryAfterMs: error.retryAfterMs ?? 60_000 };
                break;
              }
              const singly = await eggFallback(client, input, error, attempt, signal);
              if (singly === undefined) throw panelFailure(error, attempt);
              result.warnings.push(...singly.warnings);
              read = singly.read;
            }
            result.answers.push(...read.throttle);
            await settle();
            if (result.stopped !== null) break;
            storing = stagePage(db, { ...key, page, total: read.total, perPage: read.perPage, mapped: read.mapped });
            // Its failure is seen by settle(); without this it would count as unhandled while a request runs.
            storing.catch(() => undefined);
            const own = input.source.startsWith('node:') ? 'allocations' : primaryRows[input.source];
            const primary = read.mapped.parts.filter((p) => p.entity === own);
            const rejected = read.mapped.rejects.filter((r) => r.entity === own).length;
            result.pages.push({
              page,
              rows: primary.reduce((n, p) => n + p.rows.length, 0) + rejected,
              total: read.total,
              totalPages: read.totalPages,
              perPage: read.perPage,
              missing: read.mapped.missing,
              rejected: read.mapped.rejects.length,
              ...(input.include === '' && (input.source === 'nodes' || input.source === 'nests')
                ? { ids: primary.flatMap((p) => p.rows.map((r) => Number(r['id']))) }
                : {}),
            });
            last ||= page >= read.totalPages;
          }
        } finally {
          await settle();
        }
        await writeProgress(db, { logId: input.logId, plans, force: last });
        return result;
      });
    },

    /** Is a source whole and consistent, and who would be pruned for it? */
    async verifyStage(input: {
      logId: string;
      source: string;
      pass: number;
      /** Entities of it that would be pruned only after asking. */
      ask: ('servers' | 'nodes' | 'locations' | 'nests')[];
    }): Promise<SourceVerdict & { gone: { entity: 'servers' | 'nodes' | 'locations' | 'nests'; count: number }[] }> {
      return withHeartbeat(async () => {
        const verdict = await verifySource(db, input);
        const gone: { entity: 'servers' | 'nodes' | 'locations' | 'nests'; count: number }[] = [];
        if (!verdict.complete || verdict.pages < 2) return { ...verdict, gone };
        const { allowMassPrune } = await deps.settings();
        // At most four entities, one statement each.
        for (const entity of input.ask) {
          const count = await countGone(db, { ...input, entity });
          // A prune that will be refused asks nothing.
          if (
            mayPrune(count.gone, count.present, { emptyListing: verdict.distinct === 0, allowMass: allowMassPrune }) &&
            count.gone > 0
          ) {
            gone.push({ entity, count: count.gone });
          }
        }
        return { ...verdict, gone };
      });
    },

    /** Asks the panel for up to 25 rows that a listing of several pages did not contain; what it knows stays. */
    async confirmGone(input: {
      logId: string;
      entity: 'servers' | 'nodes' | 'locations' | 'nests';
      source: string;
      pass: number;
      after: number;
      lot: number;
    }): Promise<{
      asked: number;
      alive: number;
      next: number | null;
      answers: Throttle[];
      stopped: StagePagesResult['stopped'];
    }> {
      return withHeartbeat(async (signal) => {
        const client = await deps.panel();
        const candidates = await goneCandidates(db, { ...input, limit: CONFIRM_LOT });
        if (candidates.length === 0) return { asked: 0, alive: 0, next: null, answers: [], stopped: null };
        const answers: Throttle[] = [];
        let alive: Set<number>;
        try {
          alive = await aliveOf(client, input.entity, candidates, answers, signal);
        } catch (error) {
          if (!isAppError(error, 'PANEL_RATE_LIMITED')) throw panelFailure(error, activityInfo().attempt);
          return {
            asked: 0,
            alive: 0,
            next: input.after,
            answers,
            stopped: { kind: 'throttled', retryAfterMs: error.retryAfterMs ?? 60_000 },
          };
        }
        const outcome = await stagePage(db, {
          logId: input.logId,
          source: 'gone',
          pass: input.pass,
          page: input.lot,
          total: candidates.length,
          perPage: CONFIRM_LOT,
          mapped: {
            parts: [
              { entity: input.entity, part: 0, rows: candidates.map((c) => ({ id: c.id, alive: alive.has(c.id) })) },
            ],
            rejects: [],
            unreadable: [],
            missing: [],
          },
        });
        return {
          asked: candidates.length,
          alive: alive.size,
          next: candidates.length < CONFIRM_LOT ? null : (candidates.at(-1)?.id ?? null),
          answers,
          stopped: outcome === 'cancelled' ? { kind: 'cancelled' } : null,
        };
      });
    },

    /** Subusers of a batch of servers by the client API, which names them by address. */
    async stageClientSubusers(input: {
      logId: string;
      pass: number;
      after: number;
      batch: number;
      size: number;
    }): Promise<{
      servers: number;
      skipped: number;
      next: number | null;
      stopped: StagePagesResult['stopped'];
    }> {
      return withHeartbeat(async (signal) => {
        const client = await deps.panel();
        const servers = await stagedServers(db, {
          logId: input.logId,
          pass: input.pass,
          after: input.after,
          limit: input.size,
        });
        const mapped = { parts: [], rejects: [], unreadable: [], missing: [] } as ReturnType<typeof mapClientSubusers>;
        let skipped = 0;
        for (const server of servers) {
          try {
            const answer = await client.clientList(`/servers/${encodeURIComponent(server.uuid)}/users`, {}, { signal });
            const one = mapClientSubusers(answer.items, server.pid);
            mapped.parts.push(...one.parts);
            mapped.unreadable.push(...one.unreadable);
          } catch (error) {
            if (isAppError(error, 'PANEL_RATE_LIMITED')) {
              return {
                servers: 0,
                skipped: 0,
                next: input.after,
                stopped: { kind: 'throttled', retryAfterMs: error.retryAfterMs ?? 60_000 },
              };
            }
            // Suspended, installing, transferring or gone meanwhile: not read, so nothing of it is pruned.
            if (!isAppError(error, 'PANEL_CONFLICT') && !isAppError(error, 'PANEL_NOT_FOUND'))
              throw panelFailure(error, activityInfo().attempt);
            skipped += 1;
          }
        }
        const outcome =
          mapped.parts.length === 0
            ? 'staged'
            : await stagePage(db, {
                logId: input.logId,
                source: `client:${input.batch}`,
                pass: 1,
                page: input.batch,
                total: servers.length,
                perPage: input.size,
                mapped,
              });
        return {
          servers: servers.length,
          skipped,
          next: servers.length < input.size ? null : (servers.at(-1)?.pid ?? null),
          stopped: outcome === 'cancelled' ? { kind: 'cancelled' } : null,
        };
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

  /** A nest whose eggs cannot be listed is read egg by egg, at the last attempt. */
  async function eggFallback(
    client: PanelClient,
    input: StagePagesInput,
    error: unknown,
    attempt: number,
    signal: AbortSignal,
  ) {
    if (
      !input.source.startsWith('nest:') ||
      !isAppError(error, 'PANEL_UNAVAILABLE') ||
      attempt < FINAL_ATTEMPT.fallback
    )
      return undefined;
    const nestId = Number(input.source.slice(5));
    const singly = await readEggsSingly(client, nestId, await eggIdsOf(db, input.logId, nestId), signal);
    const warnings: SyncWarning[] = [
      {
        code: 'EGGS_INCOMPLETE',
        entity: 'eggs',
        message:
          singly.failed.length === 0
            ? `the panel cannot list the eggs of nest ${nestId}; known eggs were read one by one`
            : `the panel cannot answer for eggs ${singly.failed.join(', ')} of nest ${nestId}; they were kept as they are`,
      },
    ];
    return {
      read: { mapped: singly.mapped, total: 0, perPage: 0, totalPages: 1, throttle: singly.throttle },
      warnings,
    };
  }
}

export type SyncActivities = ReturnType<typeof createSyncActivities>;

async function aliveOf(
  client: PanelClient,
  entity: 'servers' | 'nodes' | 'locations' | 'nests',
  candidates: { id: number; uuid: string | null }[],
  answers: Throttle[],
  signal: AbortSignal,
): Promise<Set<number>> {
  const alive = new Set<number>();
  if (entity === 'servers' || entity === 'nodes') {
    const uuids = candidates.flatMap((c) => (c.uuid === null ? [] : [c.uuid]));
    const answer = await client.list(`/${entity}`, { perPage: 100, filter: { uuid: uuids.join(',') } }, { signal });
    answers.push(answer.throttle);
    for (const item of answer.items) if (typeof item.attributes['id'] === 'number') alive.add(item.attributes['id']);
    return alive;
  }
  // Locations and nests have no such filter; there are few, and seldom more than a page of them.
  for (const { id } of candidates) {
    try {
      const answer = await client.get(`/${entity}/${id}`, {}, { signal });
      answers.push(answer.throttle);
      alive.add(id);
    } catch (error) {
      if (!isAppError(error, 'PANEL_NOT_FOUND')) throw error;
    }
  }
  return alive;
}

/** The sentence of an error code for the log row; codes of the database and unknown ones have a general one. */
function publicText(code: string | null): string {
  if (code !== null && code in ERRORS) return ERRORS[code as ErrorCode].text;
  return new AppError('INTERNAL_ERROR').message;
}
