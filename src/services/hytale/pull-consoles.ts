/**
 * One run over the consoles of Hytale servers: those that are due are read, the one that was asked for longest ago first, as many as
 * Hytale's share of the client key allows. No server holds up the others: of a node, few are read at once, and none any more when
 * it does not answer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { isAppError } from '../../domain/errors.ts';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';
import { type ConsoleToPull, consolesToPull } from '../../store/hytale/pull-reads.ts';
import {
  countPullFailure,
  endPullFailures,
  markSilent,
  noteNotPulled,
  takeConsole,
} from '../../store/hytale/pull-store.ts';
import type { HytaleBudget } from '../inventory/client-budget.ts';
import { PUSHED_RECENTLY_MS } from './append-lines.ts';
import { pullConsole, type ReadDeps, type ReadState } from './pull-console.ts';
import { failureOf, NOT_RUNNING, type PullFailure, unsettled } from './pull-failure.ts';

export interface PullDeps extends ReadDeps {
  environment: HytaleEnvironment;
  budget: HytaleBudget;
  log: Logger;
  /** Milliseconds after which a run begins no further pull; default: shortly before the next run is due. */
  runMs?: number | undefined;
}

/** How many pulls came to what, and what they stored. */
export type PullTotals = Record<ReadState | 'failed' | 'passed' | 'left' | 'lines' | 'silent', number>;

const MINUTE_MS = 60_000;
/** A run comes every five minutes; the last pull of this one must have ended then. */
const RUN_MS = 3.5 * MINUTE_MS;
/** From there on pulls are cut off. */
const GRACE_MS = 45_000;
/** Consoles read at the same time, and those of one node. */
const LANES = 8;
const PER_NODE = 2;
/** Consoles that one run looks at: more than eight at a time can be read in four minutes. */
const MAX_CONSOLES = 2_500;
/** A console is asked for once in this time, whatever asks: also a run whose worker was lost. */
const ASKED_MS = MINUTE_MS;
/** Pauses of a console after failures in a row: a little less than one, two, four … runs. */
const RETRY_MS = 5 * MINUTE_MS;
const MAX_RETRY_MS = 60 * MINUTE_MS;

const pauseAfter = (failures: number): number =>
  Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** Math.min(failures, 10)) - MINUTE_MS;

/** What one run knows. */
interface Run {
  readonly deps: PullDeps;
  /** Ends when the run is cancelled, or lasts too long. */
  readonly signal: AbortSignal;
  readonly queue: ConsoleToPull[];
  readonly totals: PullTotals;
  /** Servers that are being read, by node. */
  readonly busy: Map<string, number>;
  /** Nodes that do not answer, and why. */
  readonly silent: Map<string, PullFailure>;
  /** Aborted: nothing more is begun. */
  readonly end: AbortController;
}

/** Reads the consoles that are due. @throws errors of the database; the reason of the signal. */
export async function pullConsoles(deps: PullDeps, signal: AbortSignal): Promise<PullTotals> {
  const { db, environment } = deps;
  const start = deps.now();
  const now = new Date(start);
  const pushed = new Date(start - PUSHED_RECENTLY_MS);
  const silent = await markSilent(db, environment, { now, since: pushed });
  const asked = new Date(start - ASKED_MS);
  const queue = await consolesToPull(db, environment, { now, pushed, asked, limit: MAX_CONSOLES });
  const runMs = deps.runMs ?? RUN_MS;
  const run: Run = {
    deps,
    signal: AbortSignal.any([signal, AbortSignal.timeout(runMs + GRACE_MS)]),
    queue,
    totals: noTotals(silent),
    busy: new Map(),
    silent: new Map(),
    end: new AbortController(),
  };
  run.signal.addEventListener('abort', () => run.end.abort(), { once: true });
  await pullAll(run, start + runMs);
  signal.throwIfAborted();
  await noteSilentNodes(run);
  run.totals.left = run.queue.length;
  return run.totals;
}

const noTotals = (silent: number): PullTotals => ({
  ...{ first: 0, joined: 0, unchanged: 0, gap: 0, pushed: 0, offline: 0, unsettled: 0 },
  ...{ failed: 0, passed: 0, left: 0, lines: 0, silent },
});

const nodeOf = ({ nodeId, uuid }: ConsoleToPull): string => (nodeId === null ? uuid : String(nodeId));

/** Begins one pull after the other and waits for them. @param until Unix milliseconds. */
async function pullAll(run: Run, until: number): Promise<void> {
  const pulls = new Set<Promise<void>>();
  let problem: { error: unknown } | undefined;
  let admitted = false;
  for (;;) {
    const free = !run.end.signal.aborted && pulls.size < LANES && run.queue.some((server) => isFree(run, server));
    if (!free) {
      if (pulls.size === 0) break;
      await Promise.race(pulls);
      continue;
    }
    admitted ||= await admit(run, until);
    if (!admitted) run.end.abort();
    // Meanwhile a node may have fallen silent, or the run be over.
    const server = run.end.signal.aborted ? undefined : takeNext(run);
    if (server === undefined) continue;
    admitted = false;
    const pull = pullOne(run, server)
      .catch((error: unknown) => {
        problem ??= { error };
        run.end.abort();
      })
      .finally(() => pulls.delete(pull));
    pulls.add(pull);
  }
  if (problem !== undefined) throw problem.error;
}

/** Its node answers and is not busy. */
const isFree = ({ busy, silent }: Run, server: ConsoleToPull): boolean =>
  !silent.has(nodeOf(server)) && (busy.get(nodeOf(server)) ?? 0) < PER_NODE;

function takeNext(run: Run): ConsoleToPull | undefined {
  const at = run.queue.findIndex((server) => isFree(run, server));
  return at === -1 ? undefined : run.queue.splice(at, 1)[0];
}

/** Takes one request of the budget, and waits for it. @returns false: none comes in time, or the run is over. */
async function admit(run: Run, until: number): Promise<boolean> {
  const { budget, now } = run.deps;
  const { signal } = run.end;
  while (!signal.aborted && now() < until) {
    const taken = await budget.take('pull', 1);
    if (taken.granted) return true;
    if (now() + taken.ms >= until) return false;
    await sleep(taken.ms, undefined, { signal }).catch(() => undefined);
  }
  return false;
}

async function pullOne(run: Run, server: ConsoleToPull): Promise<void> {
  const { deps, busy, signal, totals } = run;
  const node = nodeOf(server);
  busy.set(node, (busy.get(node) ?? 0) + 1);
  try {
    const now = deps.now();
    if (!(await takeConsole(deps.db, server.uuid, { now: new Date(now), asked: new Date(now - ASKED_MS) }))) {
      totals.passed += 1;
      return;
    }
    const { state, saved } = await pullConsole(deps, server, signal);
    totals[state] += 1;
    totals.lines += saved;
    await noteRead(run, server, state);
  } catch (error) {
    // Cut off: neither the panel nor the node is to blame.
    if (signal.aborted) return;
    if (isConnectionFailure(error)) throw error;
    await noteFailure(run, server, failureOf(error), error);
  } finally {
    busy.set(node, (busy.get(node) ?? 1) - 1);
  }
}

async function noteRead(run: Run, { uuid, ...server }: ConsoleToPull, state: ReadState): Promise<void> {
  const { db, now } = run.deps;
  if (state === 'unsettled') return noteFailure(run, { uuid, ...server }, unsettled());
  await endPullFailures(db, uuid);
  if (state === 'offline') {
    await noteNotPulled(db, [uuid], { status: 'pending', reason: NOT_RUNNING, now: new Date(now()) });
  }
}

/** A failure of the panel is no failure of the server. After a 429 the run waits; otherwise it ends. */
async function noteFailure(run: Run, server: ConsoleToPull, failure: PullFailure, error?: unknown): Promise<void> {
  const { deps, totals } = run;
  const { scope, status, reason, pauseMs } = failure;
  const first = scope === 'server' || (scope === 'node' ? !run.silent.has(nodeOf(server)) : !run.end.signal.aborted);
  if (error === undefined || isAppError(error)) {
    const about = { server: server.uuid, scope, code: error?.code, meta: error?.meta };
    if (first) deps.log.info(about, 'the console of a server could not be read');
  } else {
    deps.log.error({ server: server.uuid, err: error }, 'the console of a server could not be stored');
  }
  totals.failed += 1;
  const now = new Date(deps.now());
  if (scope === 'panel') {
    if (pauseMs > 0) await deps.budget.pause(pauseMs);
    if (status === 'pending') return;
    run.end.abort();
    const concerned = [server, ...run.queue].map(({ uuid }) => uuid);
    await noteNotPulled(deps.db, concerned, { status, reason, now });
    return;
  }
  if (scope === 'node') run.silent.set(nodeOf(server), failure);
  await countPullFailure(deps.db, server.uuid, new Date(now.getTime() + pauseAfter(server.failures)));
  await noteNotPulled(deps.db, [server.uuid], { status, reason, now });
}

/** Says of the servers of a silent node why they were not read. */
async function noteSilentNodes({ deps, queue, silent }: Run): Promise<void> {
  const now = new Date(deps.now());
  for (const [node, { status, reason }] of silent) {
    const concerned = queue.filter((server) => nodeOf(server) === node).map(({ uuid }) => uuid);
    if (concerned.length > 0) await noteNotPulled(deps.db, concerned, { status, reason, now });
  }
}
