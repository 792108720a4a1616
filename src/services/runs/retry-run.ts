/**
 * Repeats a failed run, in the way of its kind. Nothing is reset: a reset would end a newer run with the same workflow id.
 * A request that is repeated within ten seconds repeats nothing, and is answered as the first one.
 */
import type { AuditOrigin, AuditTarget } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { type EngineKind, isEngineKind, type RunKind, type StoredKind } from '../../domain/runs.ts';
import { SYNC_TARGETS } from '../../domain/sync/targets.ts';
import { happenedLately } from '../../store/audit/audit-list.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import { findEmail } from '../../store/email/email-list.ts';
import { lockOutboxRow, makeDue } from '../../store/outbox-store.ts';
import { findSyncToRetry, lockRetry } from '../../store/runs/run-list.ts';
import { findDelivery } from '../../store/webhooks/delivery-store.ts';
import { isNamespaceMissing, isUnreachable } from '../../temporal/connection.ts';
import { recordChange } from '../audit/record-change.ts';
import { resendEmail } from '../email/resend-email.ts';
import { resendDelivery } from '../webhooks/resend-delivery.ts';
import { isRunId, type RunDeps } from './deps.ts';

export interface RetryTicket {
  kind: RunKind;
  /** Id of the run that repeats it; an effect is the same one. Null: a schedule starts it, and its id is not known yet. */
  id: string | null;
  /** It was retried before, and that run goes on or has ended: nothing was done now. */
  repeated: boolean;
}

type Retry = (deps: RunDeps, id: string, by: AuditOrigin) => Promise<RetryTicket>;

/** A second request within this time is a repetition of the first. */
const REPETITION_SECONDS = 10;
const RETRY_AFTER_MS = 5_000;

const unknownRun = (): AppError => new AppError('NOT_FOUND', { publicMessage: 'Run not found' });
const notFailed = (): AppError => new AppError('CONFLICT', { publicMessage: 'This run did not fail' });

/**
 * Retries a run.
 * @throws {AppError} NOT_FOUND; CONFLICT when it did not fail or cannot be repeated; SYNC_RUNNING when another sync runs;
 * SERVICE_UNAVAILABLE when Temporal cannot be reached.
 */
export function retryRun(deps: RunDeps, kind: RunKind, id: string, by: AuditOrigin): Promise<RetryTicket> {
  if (!isRunId(kind, id)) throw unknownRun();
  return isEngineKind(kind) ? retryScheduled(deps, kind, id, by) : RETRIES[kind](deps, id, by);
}

const RETRIES: Record<StoredKind, Retry> = {
  sync: retrySync,
  email: retryEmail,
  webhook: retryDelivery,
  outbox: retryEffect,
};

/** Requests the sync again, with the same target and options. One failed sync has one retry, which may be retried in turn. */
async function retrySync({ db, launcher }: RunDeps, id: string, by: AuditOrigin): Promise<RetryTicket> {
  const failed = await findSyncToRetry(db, id);
  if (failed === undefined) throw unknownRun();
  if (failed.status !== 'failed') throw notFailed();
  const target = SYNC_TARGETS.find((known) => known === failed.target);
  if (target === undefined) throw new AppError('CONFLICT', { publicMessage: 'The target of this sync is not known' });
  const requester = by.actor.id ?? by.actor.type;
  const { dryRun, skipUsers, retryId } = failed;
  const ticket = await launcher.requestSync({
    target,
    dryRun,
    skipUsers,
    requestedBy: requester,
    requester,
    by,
    id: retryId,
    retryOf: id,
  });
  return { kind: 'sync', id: ticket.syncLogId, repeated: ticket.joined };
}

/** Sends a copy of the email. */
async function retryEmail(deps: RunDeps, id: string, by: AuditOrigin): Promise<RetryTicket> {
  const email = await findEmail(deps.db, id);
  if (email === undefined) throw unknownRun();
  if (email.status !== 'failed') throw notFailed();
  return { kind: 'email', ...(await resendEmail(deps, id, by, 'run-retried')) };
}

/** Sends the message of the delivery again, in a new one. */
async function retryDelivery(deps: RunDeps, id: string, by: AuditOrigin): Promise<RetryTicket> {
  const delivery = await findDelivery(deps.db, id, { lock: false });
  if (delivery === undefined) throw unknownRun();
  if (delivery.status !== 'failed') throw notFailed();
  return { kind: 'webhook', ...(await resendDelivery(deps, id, by, 'run-retried')) };
}

/** Lets the relay take the effect at once, with all its attempts before it. */
function retryEffect(deps: RunDeps, id: string, by: AuditOrigin): Promise<RetryTicket> {
  return inTransaction(deps.db, async (trx) => {
    const effect = await lockOutboxRow(trx, id);
    if (effect === undefined) throw unknownRun();
    const ticket: RetryTicket = { kind: 'outbox', id, repeated: !effect.failed };
    if (effect.failed) {
      await makeDue(trx, id);
      await record(deps, trx, by, id, { kind: 'outbox', effect: effect.kind });
    } else if (!(await wasRetried(trx, id))) {
      throw notFailed();
    }
    return ticket;
  });
}

/** Lets the schedule of the run start its job now. */
async function retryScheduled(deps: RunDeps, kind: EngineKind, id: string, by: AuditOrigin): Promise<RetryTicket> {
  const run = await withEngine(() => deps.engine.find(kind, id));
  if (run === undefined) throw unknownRun();
  if (run.status !== 'failed') throw notFailed();
  const { scheduleId, name } = run;
  if (scheduleId === null) throw new AppError('CONFLICT', { publicMessage: 'No schedule started this run' });
  return inTransaction(deps.db, async (trx) => {
    await lockRetry(trx, { kind, id });
    if (await wasRetried(trx, id)) return { kind, id: null, repeated: true };
    await record(deps, trx, by, id, { kind, job: name });
    // Last: what is recorded is taken back when the schedule cannot be triggered.
    if (!(await withEngine(() => deps.engine.trigger(scheduleId)))) {
      throw new AppError('CONFLICT', { publicMessage: 'The schedule of this run does not exist any more' });
    }
    return { kind, id: null, repeated: false };
  });
}

const targetOf = (id: string): AuditTarget => ({ type: 'run', id });

const wasRetried = (trx: Transaction, id: string): Promise<boolean> =>
  happenedLately(trx, { action: 'run-retried', target: targetOf(id), seconds: REPETITION_SECONDS });

const record = (
  { log }: RunDeps,
  trx: Transaction,
  by: AuditOrigin,
  id: string,
  details: Record<string, string>,
): Promise<void> => recordChange({ trx, log }, by, { action: 'run-retried', target: targetOf(id), details });

/** @throws {AppError} SERVICE_UNAVAILABLE when Temporal cannot be reached or lacks the namespace. */
export async function withEngine<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUnreachable(error) && !isNamespaceMissing(error)) throw error;
    throw new AppError('SERVICE_UNAVAILABLE', {
      publicMessage: 'The workflow engine cannot be reached',
      retryAfterMs: RETRY_AFTER_MS,
      cause: error,
    });
  }
}
