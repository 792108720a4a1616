/** Activities that ask the panel: pages into the stage, rows that seem gone, subusers by the client API. */

import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { PanelClient, Throttle } from '../../clients/panel/client.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import { mapClientSubusers } from '../../domain/panel/records.ts';
import { CONFIRMATIONS, clientSource, parseSource, primaryEntity } from '../../domain/sync/source-ref.ts';
import { type SyncTarget, type SyncWarning, sourcesOf } from '../../domain/sync/targets.ts';
import type { Db } from '../../store/db/db.ts';
import { goneCandidates } from '../../store/sync/merge/merge.ts';
import { PROGRESS_INTERVAL_MS, writeProgress } from '../../store/sync/run-store.ts';
import { eggIdsOf, stagedPages, stagedServers, stagePage } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import { readEggsSingly, readPage } from './panel-reader.ts';

export interface PageActivityDeps {
  db: Db;
  /** A client for the panel that is configured now. */
  panel: () => Promise<PanelClient>;
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
  /** Parts in which each page is asked for. */
  split: number;
  /** Some of the pages may be staged already, by a grant that stumbled later. */
  again: boolean;
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
/** `filter[uuid]` takes a list; 25 uuids are below 1 KiB of query. */
const CONFIRM_LOT = 25;

/** No panel is this large (2,000,000 records); an answer that says so is not believed. */
const MAX_PAGES = 20_000;
const tooManyPages = (source: string) =>
  new AppError('PANEL_CONTRACT', {
    details: [{ path: `${source}.meta.pagination`, message: 'says that there are more pages than any panel has' }],
  });

/** What a final failure tells the workflow: where, and whether another way of asking may avoid it. */
export interface PanelFailureDetail {
  page: number;
  fallback: boolean;
}

/** Whether a panel failure is final at this attempt, so that the workflow's fallback takes over. */
function panelFailure(error: unknown, attempt: number, page: number): unknown {
  if (!isAppError(error, 'PANEL_UNAVAILABLE')) return error;
  const { status, kind } = error.meta ?? {};
  const fallback =
    kind === 'timeout' ||
    kind === 'too-large' ||
    (kind === 'http' && (status === 500 || status === 502 || status === 504));
  const final = kind === 'too-large' || attempt >= (fallback ? FINAL_ATTEMPT.fallback : FINAL_ATTEMPT.other);
  if (!final) return error;
  const detail: PanelFailureDetail = { page, fallback };
  return ApplicationFailure.create({
    type: 'PANEL_UNAVAILABLE',
    message:
      kind === 'http'
        ? `the panel answers ${String(status)}`
        : `the panel cannot be reached (${String(kind ?? 'network')})`,
    nonRetryable: true,
    details: [detail],
  });
}

export function createPageActivities(deps: PageActivityDeps) {
  const { db } = deps;
  /** When this process last told the progress of a run: summing up the stage costs more than not to. */
  let told = { logId: '', at: 0 };

  return {
    /** Reads and stages pages of one source, one request at a time; a retry skips what it staged before. */
    async stagePages(input: StagePagesInput): Promise<StagePagesResult> {
      return withHeartbeat(async (signal) => {
        const { attempt } = activityInfo();
        const client = await deps.panel();
        const plans = sourcesOf(input.target, { skipUsers: input.skipUsers, subusers: input.subusers });
        const result: StagePagesResult = { pages: [], answers: [], retried: attempt > 1, stopped: null, warnings: [] };
        const key = { logId: input.logId, source: input.source, pass: input.pass };
        const known =
          attempt === 1 && !input.again
            ? []
            : await stagedPages(db, { ...key, pages: input.pages, include: input.include });
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
              if (singly === undefined) throw panelFailure(error, attempt, page);
              result.warnings.push(...singly.warnings);
              read = singly.read;
            }
            result.answers.push(...read.throttle);
            if (read.totalPages > MAX_PAGES) throw tooManyPages(input.source);
            await settle();
            if (result.stopped !== null) break;
            storing = stagePage(db, { ...key, page, total: read.total, perPage: read.perPage, mapped: read.mapped });
            // Its failure is seen by settle(); without this it would count as unhandled while a request runs.
            storing.catch(() => undefined);
            // Eggs of a nest are not counted: their list is not paged and says no total.
            const own = parseSource(input.source)?.kind === 'nest' ? undefined : primaryEntity(input.source);
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
        if (last || told.logId !== input.logId || Date.now() - told.at >= PROGRESS_INTERVAL_MS) {
          told = { logId: input.logId, at: Date.now() };
          await writeProgress(db, {
            logId: input.logId,
            plans,
            force: last,
            finished: last ? input.source : undefined,
          });
        }
        return result;
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
          if (!isAppError(error, 'PANEL_RATE_LIMITED')) throw panelFailure(error, activityInfo().attempt, 1);
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
          source: CONFIRMATIONS,
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
              throw panelFailure(error, activityInfo().attempt, 1);
            skipped += 1;
          }
        }
        const outcome =
          mapped.parts.length === 0
            ? 'staged'
            : await stagePage(db, {
                logId: input.logId,
                source: clientSource(input.batch),
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
  };

  /** A nest whose eggs cannot be listed is read egg by egg, at the last attempt. */
  async function eggFallback(
    client: PanelClient,
    input: StagePagesInput,
    error: unknown,
    attempt: number,
    signal: AbortSignal,
  ) {
    const ref = parseSource(input.source);
    if (ref?.kind !== 'nest' || !isAppError(error, 'PANEL_UNAVAILABLE') || attempt < FINAL_ATTEMPT.fallback)
      return undefined;
    const nestId = ref.id;
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
