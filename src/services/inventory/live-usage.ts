/**
 * Live state and usage of the servers of a page. What is old is read from the panel while the page waits for a moment; the
 * rest arrives with the next page. Results, claims, budget and pauses are in PostgreSQL, for all copies of the api.
 */
import type { Logger } from 'pino';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import { createPanelProvider } from '../../clients/panel/provider.ts';
import { isAppError } from '../../domain/errors.ts';
import { readLiveFigures } from '../../domain/panel/live-figures.ts';
import type { Db } from '../../store/db/db.ts';
import type { ServerUsage } from '../../store/inventory/server-status.ts';
import {
  CLAIM_SECONDS,
  claimReads,
  noteRequestLimit,
  pauseNode,
  pausePanel,
  type ServerRead,
  storeReads,
} from '../../store/inventory/usage-store.ts';
import type { Settings } from '../settings/settings.ts';
import { budgetKey, pauseFor, shareOf } from './client-budget.ts';
import { pauseAfter } from './usage-failures.ts';

/** Milliseconds that a page waits. The rest of the 300 ms that it may be delayed is for listing its rows again. */
const PATIENCE_MS = 250;
/** Milliseconds for one read. The panel waits for the node as long. */
const READ_TIMEOUT_MS = 8000;
/** An answer has less than 1 KB. */
const MAX_BODY_BYTES = 64 * 1024;
/** Requests in flight for one page. */
const LANES = 8;

export interface LiveUsageDeps {
  db: Db;
  settings: Pick<Settings, 'runtime'>;
  /** The panel URL of the environment, whose address is not judged. */
  environmentUrl: string | undefined;
  log: Logger;
  /** Milliseconds that a page waits; default 250. A test waits longer. */
  patienceMs?: number | undefined;
}

export interface LiveUsage {
  /**
   * The rows of a page, with figures and live states as new as they can be had within 300 ms: `list` is called, and called
   * again if something was read meanwhile, so that its filters and its order see it, too. Nothing that the panel does
   * makes it fail.
   */
  listed<Row extends ServerUsage>(list: () => Promise<Row[]>): Promise<Row[]>;
  /** Ends reads in flight. */
  close(): Promise<void>;
}

/** The reads for one page. */
interface Batch {
  startedAt: number;
  /** Something was stored. */
  stored: boolean;
  done: Promise<void>;
}

/** What one process knows; everything that others must know, too, is in the database. */
interface State {
  readonly deps: LiveUsageDeps;
  readonly panel: ReturnType<typeof createPanelProvider>;
  /** Of each server that this process reads. */
  readonly running: Map<string, Batch>;
  /** The end of the panel's pause, so that nothing is asked of the database either. */
  pause: { panel: string; until: number };
  readonly end: AbortController;
}

/** Makes the reader of one process. Nothing is opened before the first page with servers. */
export function createLiveUsage(deps: LiveUsageDeps): LiveUsage {
  const { settings, environmentUrl } = deps;
  const limits = { timeoutMs: READ_TIMEOUT_MS, maxBodyBytes: MAX_BODY_BYTES };
  const state: State = {
    deps,
    panel: createPanelProvider(settings.runtime, { environmentUrl, ...limits }),
    running: new Map(),
    pause: { panel: '', until: 0 },
    end: new AbortController(),
  };
  return {
    async listed(list) {
      const rows = await list();
      const batches = batchesOf(state, rows);
      if (batches.length === 0) return rows;
      const until = Math.max(...batches.map((batch) => batch.startedAt)) + (deps.patienceMs ?? PATIENCE_MS);
      await waitFor(Promise.all(batches.map((batch) => batch.done)), until - performance.now());
      return batches.some((batch) => batch.stored) ? list() : rows;
    },
    async close() {
      state.end.abort();
      await Promise.all([...state.running.values()].map((batch) => batch.done));
      await state.panel.close();
    },
  };
}

/** The batches that read servers of the page: running ones, and a new one for those that this process does not read yet. */
function batchesOf(state: State, rows: readonly ServerUsage[]): Batch[] {
  const found = new Set(rows.flatMap((row) => state.running.get(row.id) ?? []));
  const due = rows.filter((row) => row.usageDue && !state.running.has(row.id));
  if (due.length > 0 && !state.end.signal.aborted) found.add(startBatch(state, due));
  return [...found];
}

/** Waits, but not longer than `ms`. */
async function waitFor(work: Promise<unknown>, ms: number): Promise<void> {
  if (ms <= 0) return;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function startBatch(state: State, servers: readonly ServerUsage[]): Batch {
  const batch: Batch = { startedAt: performance.now(), stored: false, done: Promise.resolve() };
  for (const { id } of servers) state.running.set(id, batch);
  batch.done = readServers(state, batch, servers)
    .catch((error: unknown) => state.deps.log.warn({ err: error }, 'the usage of servers was not read'))
    .finally(() => {
      for (const { id } of servers) state.running.delete(id);
    });
  return batch;
}

/** Claims the servers and reads those that it got. */
async function readServers(state: State, batch: Batch, servers: readonly ServerUsage[]): Promise<void> {
  const { db } = state.deps;
  const target = await targetOf(state);
  if (target === undefined || isPaused(state, target.panel)) return;
  const ids = servers.map(({ id }) => id);
  const claim = await claimReads(db, target.panel, ids, shareOf);
  notePause(state, target.panel, claim.pausedMs);
  const claimed = new Set(claim.ids);
  const queue = servers.filter(({ id }) => claimed.has(id));
  const writer = createWriter(async (reads) => {
    notePause(state, target.panel, await storeReads(db, target.panel, reads));
    batch.stored ||= reads.some(({ figures }) => figures !== undefined);
  });
  const reader: Reader = { ...target, state, writer, limit: claim.limit, silentNodes: new Set() };
  const claimEnd = performance.now() + CLAIM_SECONDS * 1000;
  const lane = async (): Promise<void> => {
    for (let server = queue.shift(); server !== undefined; server = queue.shift()) {
      if (performance.now() > claimEnd || state.end.signal.aborted) return;
      await readServer(reader, server);
    }
  };
  await Promise.all(Array.from({ length: Math.min(LANES, queue.length) }, lane));
  await writer.done();
}

const isPaused = ({ pause }: State, panel: string): boolean => pause.panel === panel && pause.until > performance.now();

function notePause(state: State, panel: string, ms: number): void {
  if (ms > 0) state.pause = { panel, until: performance.now() + ms };
}

/** The panel and a digest that tells it from another; undefined without address and client key. */
async function targetOf({ deps, panel }: State) {
  const key = budgetKey(await deps.settings.runtime());
  if (key === undefined) return undefined;
  const client = await panel.client().catch((error: unknown) => {
    if (isAppError(error, 'PANEL_NOT_CONFIGURED')) return undefined;
    throw error;
  });
  if (client === undefined) return undefined;
  return { panel: key, client };
}

interface Writer {
  add(read: ServerRead): void;
  /** @throws if a result could not be stored. */
  done(): Promise<void>;
}

/** Stores results one statement after the other, each with what has arrived until then. */
function createWriter(store: (reads: ServerRead[]) => Promise<void>): Writer {
  let waiting: ServerRead[] = [];
  let last: Promise<void> = Promise.resolve();
  const write = async (): Promise<void> => {
    const reads = waiting;
    waiting = [];
    if (reads.length > 0) await store(reads);
  };
  return {
    add(read) {
      waiting.push(read);
      last = last.then(write);
      // The failure is thrown by done().
      last.catch(() => undefined);
    },
    done: () => last,
  };
}

interface Reader {
  state: State;
  panel: string;
  client: Pick<PanelClient, 'resources'>;
  writer: Writer;
  /** The panel's limit as it was noted last. */
  limit: number | null;
  /** Nodes that do not answer. */
  silentNodes: Set<number>;
}

async function readServer(reader: Reader, server: ServerUsage): Promise<void> {
  const { state, panel, client, writer, silentNodes } = reader;
  const { signal } = state.end;
  if (isPaused(state, panel) || (server.nodeId !== null && silentNodes.has(server.nodeId))) {
    writer.add({ id: server.id });
    return;
  }
  const answer = await client.resources(server.uuid ?? '', { signal }).catch((error: unknown) => ({ error }));
  if (signal.aborted) return;
  if ('error' in answer) return heedFailure(reader, server, answer.error);
  writer.add({ id: server.id, figures: readLiveFigures(answer.item.attributes) });
  await heedThrottle(reader, answer.throttle);
}

/** Notes the panel's limit; 0 where it announces none. Where little remains, the rest of the window belongs to the other users of the key. */
async function heedThrottle(reader: Reader, throttle: Throttle): Promise<void> {
  const { limit = 0 } = throttle;
  if (reader.limit !== limit) {
    reader.limit = limit;
    await noteRequestLimit(reader.state.deps.db, reader.panel, limit);
  }
  const pauseMs = pauseFor(throttle);
  if (pauseMs > 0) await pauseAll(reader, pauseMs);
}

async function heedFailure(reader: Reader, server: ServerUsage, error: unknown): Promise<void> {
  const { state, panel, writer } = reader;
  const { db, log } = state.deps;
  const { scope, ms } = pauseAfter(error);
  const about = isAppError(error) ? { code: error.code, meta: error.meta } : { err: error };
  if (scope === 'panel') {
    if (!isPaused(state, panel)) log.warn({ ...about, pauseMs: ms }, 'the usage of servers cannot be read');
    writer.add({ id: server.id });
    return pauseAll(reader, ms);
  }
  log.info({ ...about, server: server.id, scope, pauseMs: ms }, 'the usage of a server cannot be read');
  writer.add({ id: server.id, pauseMs: ms });
  if (scope === 'node' && server.nodeId !== null) {
    reader.silentNodes.add(server.nodeId);
    await pauseNode(db, server.nodeId, ms);
  }
}

async function pauseAll({ state, panel }: Reader, ms: number): Promise<void> {
  notePause(state, panel, ms);
  await pausePanel(state.deps.db, panel, ms);
}
