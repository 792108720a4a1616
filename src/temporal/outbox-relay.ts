/**
 * The relay carries the outbox to Temporal (ADR 9): one workflow per row, with an id that is derived from the row. After a
 * crash between the start and the mark, the relay starts the row again; Temporal refuses the second start. Events become
 * deliveries first, and of each webhook's deliveries only the oldest is started (delivery-relay.ts). NOTIFY wakes the relay;
 * a poll every 30 s catches missed notifications.
 */
import type { Logger } from 'pino';
import { type Db, inTransaction, type Transaction } from '../store/db/db.ts';
import type { Listener } from '../store/db/listener.ts';
import { dueRows, lockRelay, markDispatched, type OutboxRow, postpone } from '../store/outbox-store.ts';
import type { TemporalGateway } from './connection.ts';
import { findSilentDeliveries, type RouteEvents, relayEvents, startDueDeliveries } from './delivery-relay.ts';
import { type Dispatch, isFaultOfRow, startWorkflow } from './start-workflow.ts';

/** By kind of row. Rows of another kind wait for a release that knows it. */
export type DispatchTable = Readonly<Record<string, (row: OutboxRow) => Dispatch>>;

export interface RelayDeps {
  db: Db;
  listener: Listener;
  temporal: TemporalGateway;
  log: Logger;
  dispatch: DispatchTable;
  /** Turns events into deliveries, in the relay's transaction. Absent: neither events nor deliveries are relayed. */
  routeEvents?: RouteEvents;
  /** Milliseconds between polls; default 30 s. */
  pollMs?: number;
}

export interface OutboxRelay {
  /** Waits for the running batch, then stops. */
  close(): Promise<void>;
}

/** Maximum number of rows per transaction. */
const BATCH = 50;
const POLL_MS = 30_000;
/** Pause while another relay works. Rows that it does not see are picked up after that. */
const BUSY_MS = 1_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;

interface RelayState {
  readonly deps: RelayDeps;
  closed: boolean;
  /** The running work; undefined while the relay sleeps. */
  working: Promise<void> | undefined;
  /** A notification arrived during the work. */
  again: boolean;
  retryMs: number;
  /** When deliveries that give no sign of life were looked for. */
  lookedAt: number;
  timer: NodeJS.Timeout | undefined;
}

/** Starts the relay. It logs failures and tries again, with growing pauses. */
export function startOutboxRelay(deps: RelayDeps): OutboxRelay {
  const relay: RelayState = {
    deps,
    closed: false,
    working: undefined,
    again: false,
    retryMs: FIRST_RETRY_MS,
    lookedAt: Number.NEGATIVE_INFINITY,
    timer: undefined,
  };
  const notified = () => wake(relay);
  deps.listener.on('outbox', notified, notified);
  wakeIn(relay, 0);
  return { close: () => close(relay) };
}

async function close(relay: RelayState): Promise<void> {
  relay.closed = true;
  clearTimeout(relay.timer);
  await relay.working;
}

function wakeIn(relay: RelayState, ms: number): void {
  clearTimeout(relay.timer);
  if (relay.closed) return;
  relay.timer = setTimeout(() => wake(relay), ms);
  relay.timer.unref();
}

/** Starts to work, or makes the running work look at the outbox again. */
function wake(relay: RelayState): void {
  if (relay.closed) return;
  if (relay.working !== undefined) {
    relay.again = true;
    return;
  }
  relay.working = work(relay).finally(() => {
    relay.working = undefined;
    if (relay.again) wake(relay);
  });
}

/** Relays until the outbox is empty, then sets the timer of the next look. Never rejects. */
async function work(relay: RelayState): Promise<void> {
  const { deps } = relay;
  let next: number;
  do {
    relay.again = false;
    try {
      next = await relayDueRows(relay);
      relay.retryMs = FIRST_RETRY_MS;
    } catch (error) {
      if (relay.closed) return;
      deps.log.warn({ err: error, retryMs: relay.retryMs }, 'the outbox cannot be relayed at the moment');
      next = relay.retryMs;
      relay.retryMs = Math.min(relay.retryMs * 2, LAST_RETRY_MS);
      relay.again = false;
    }
  } while (relay.again && !relay.closed);
  wakeIn(relay, next);
}

/** Relays batch after batch until none is full. @returns milliseconds until the next look. */
async function relayDueRows(relay: RelayState): Promise<number> {
  const { deps } = relay;
  const pollMs = deps.pollMs ?? POLL_MS;
  for (let outcome: BatchOutcome = 'more'; outcome === 'more' && !relay.closed; ) {
    outcome = await relayBatch(deps, () => relay.closed);
    if (outcome === 'busy') return BUSY_MS;
  }
  if (!relay.closed && performance.now() - relay.lookedAt >= pollMs) {
    if (isForWebhooks(deps)) await findSilentDeliveries(deps, BATCH);
    relay.lookedAt = performance.now();
  }
  return pollMs;
}

const isForWebhooks = (deps: RelayDeps): deps is RelayDeps & { routeEvents: RouteEvents } =>
  deps.routeEvents !== undefined;

/** `more`: the batch was full. `busy`: another relay works. */
type BatchOutcome = 'more' | 'done' | 'busy';

/**
 * Relays one batch in one transaction. Rows whose workflow was started are marked together, also if a later row fails.
 * @throws the error of the first start that failed because of Temporal, after the commit.
 */
async function relayBatch(deps: RelayDeps, isClosed: () => boolean): Promise<BatchOutcome> {
  const { outcome, failure } = await inTransaction(deps.db, async (trx) => {
    if (!(await lockRelay(trx))) return { outcome: 'busy' as const, failure: undefined };
    const events = isForWebhooks(deps) ? await relayEvents(deps, trx, BATCH) : 0;
    const due = await dueRows(trx, Object.keys(deps.dispatch), BATCH);
    const { started, failure } = await startRows(deps, trx, due, isClosed);
    await markDispatched(trx, started);
    const deliveries =
      failure === undefined && isForWebhooks(deps)
        ? await startDueDeliveries(deps, trx, BATCH, isClosed)
        : { taken: 0, failure: undefined };
    const more = [events, due.length, deliveries.taken].includes(BATCH);
    return { outcome: more ? ('more' as const) : ('done' as const), failure: failure ?? deliveries.failure };
  });
  if (failure !== undefined) throw failure;
  return outcome;
}

/** Starts the workflows in the order of the rows; stops at the first failure of Temporal. Postpones rows that are at fault. */
async function startRows(
  deps: RelayDeps,
  trx: Transaction,
  rows: readonly OutboxRow[],
  isClosed: () => boolean,
): Promise<{ started: string[]; failure: unknown }> {
  const started: string[] = [];
  for (const row of rows) {
    if (isClosed()) break;
    try {
      await startRow(deps, row);
      started.push(row.id);
    } catch (error) {
      if (!isFaultOfRow(error)) return { started, failure: error };
      deps.log.error({ err: error, outboxId: row.id, kind: row.kind }, 'an outbox row cannot be dispatched');
      await postpone(trx, row.id, error instanceof Error ? error.name : 'error');
    }
  }
  return { started, failure: undefined };
}

async function startRow({ temporal, dispatch }: RelayDeps, row: OutboxRow): Promise<void> {
  const make = dispatch[row.kind];
  if (make === undefined) throw new Error(`no workflow for ${row.kind}`);
  await startWorkflow(temporal, make(row), { outboxId: row.id });
}
