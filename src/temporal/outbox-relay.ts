/**
 * Carries the outbox to Temporal: one workflow a row, started under an id that follows from the row. A crash between the
 * start and the mark starts it again, which Temporal refuses; so each row has exactly one. Woken by NOTIFY, with a slow
 * sweep for what nobody told.
 */

import { WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import type { Logger } from 'pino';
import { type Db, inTransaction } from '../store/db/db.ts';
import type { Listener } from '../store/db/listener.ts';
import { EMAIL_OUTBOX_KIND } from '../store/email/email-store.ts';
import { dueRows, lockRelay, markDispatched, type OutboxRow, postpone } from '../store/outbox-store.ts';
import { QUEUE, sendEmailId } from '../workflows/contract.ts';
import { grpcCode, type TemporalGateway } from './connection.ts';

/** The workflow that carries out a row. */
export interface Dispatch {
  workflowType: string;
  workflowId: string;
  args: unknown[];
  staticSummary: string;
}

/** By kind. A kind that is not here waits for a release that knows it. */
export type DispatchTable = Readonly<Record<string, (row: OutboxRow) => Dispatch>>;

export const DISPATCH: DispatchTable = {
  [EMAIL_OUTBOX_KIND]: ({ payload }) => {
    const emailId = String(payload['emailId']);
    return { workflowType: 'sendEmail', workflowId: sendEmailId(emailId), args: [{ emailId }], staticSummary: 'Email' };
  },
};

/** gRPC INVALID_ARGUMENT, or an error of our own: this row is at fault, not the engine. */
const ofRow = (error: unknown): boolean => [undefined, 3].includes(grpcCode(error));

const BATCH = 50;
const SWEEP_MS = 30_000;
/** Another relay is at work: what it does not see is looked at soon. */
const BUSY_MS = 1_000;
const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 15_000;
const START_DEADLINE_MS = 5_000;

export interface OutboxRelay {
  /** Waits for the batch at hand, then stops. */
  close(): Promise<void>;
}

/** Starts relaying; failures are logged and tried again, later each time. */
export function startOutboxRelay(deps: {
  db: Db;
  listener: Listener;
  temporal: TemporalGateway;
  log: Logger;
  dispatch?: DispatchTable;
  /** Milliseconds after which it looks for rows that nobody told it of; default 30 s. */
  sweepMs?: number;
}): OutboxRelay {
  const { db, temporal, log } = deps;
  const sweepMs = deps.sweepMs ?? SWEEP_MS;
  const dispatch = deps.dispatch ?? DISPATCH;
  const kinds = Object.keys(dispatch);
  let closed = false;
  let working: Promise<void> | undefined;
  let again = false;
  let retryMs = FIRST_RETRY_MS;
  let timer: NodeJS.Timeout | undefined;

  const wakeIn = (ms: number): void => {
    clearTimeout(timer);
    if (closed) return;
    timer = setTimeout(wake, ms);
    timer.unref();
  };

  const wake = (): void => {
    if (closed) return;
    if (working !== undefined) {
      again = true;
      return;
    }
    working = work().finally(() => {
      working = undefined;
      if (again) wake();
    });
  };

  const work = async (): Promise<void> => {
    let next = sweepMs;
    do {
      again = false;
      try {
        for (let more = true; more && !closed; ) {
          const outcome = await batch();
          more = outcome === 'more';
          next = outcome === 'busy' ? BUSY_MS : sweepMs;
        }
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (closed) return;
        log.warn({ err: error, retryMs }, 'the outbox cannot be relayed at the moment');
        next = retryMs;
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
        again = false;
      }
    } while (again && !closed);
    wakeIn(next);
  };

  /** One transaction: what was started is marked together, also when the engine is lost in the middle. */
  const batch = (): Promise<'more' | 'done' | 'busy'> =>
    inTransaction(db, async (trx) => {
      if (!(await lockRelay(trx))) return { outcome: 'busy' as const, failure: undefined };
      const due = await dueRows(trx, kinds, BATCH);
      const started: string[] = [];
      let failure: unknown;
      for (const row of due) {
        if (closed) break;
        try {
          await start(row);
          started.push(row.id);
        } catch (error) {
          if (!ofRow(error)) {
            failure = error;
            break;
          }
          log.error({ err: error, outboxId: row.id, kind: row.kind }, 'an outbox row cannot be dispatched');
          await postpone(trx, row.id, error instanceof Error ? error.name : 'error');
        }
      }
      await markDispatched(trx, started);
      return { outcome: due.length === BATCH ? ('more' as const) : ('done' as const), failure };
    }).then(({ outcome, failure }) => {
      if (failure !== undefined) throw failure;
      return outcome;
    });

  const start = async (row: OutboxRow): Promise<void> => {
    const make = dispatch[row.kind];
    if (make === undefined) throw new Error(`no workflow for ${row.kind}`);
    const { workflowType, workflowId, args, staticSummary } = make(row);
    try {
      await temporal.within(START_DEADLINE_MS, () =>
        temporal.client.workflow.start(workflowType, {
          workflowId,
          taskQueue: QUEUE.core,
          args,
          staticSummary,
          memo: { outboxId: row.id },
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
        }),
      );
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  };

  deps.listener.on('outbox', wake, wake);
  wakeIn(0);
  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await working;
    },
  };
}
