/** Asking a workflow of Hytale on behalf of a caller: what is noted before, and what its answer means. */
import { WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import type { AuditAction, AuditTarget } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db, Transaction } from '../../store/db/db.ts';
import type { StoredAccount } from '../../store/hytale/account-store.ts';
import { findAccount } from '../../store/hytale/account-store.ts';
import { isUnreachable } from '../../temporal/connection.ts';
import type { HytaleEngine } from '../../temporal/hytale-engine.ts';
import type { AccountWish, HytaleView, SessionWish } from '../../workflows/contract.ts';
import { recordChange } from '../audit/record-change.ts';
import type { HytaleDeps } from './deps.ts';
import type { Requester } from './hytale.ts';
import { resultError } from './upstream-error.ts';

export interface HytaleServiceDeps
  extends Pick<HytaleDeps, 'db' | 'encryption' | 'environment' | 'client' | 'log' | 'now'> {
  engine: HytaleEngine;
}

/** Milliseconds that a caller waits for the answer of a workflow: a request to the api has 30 s. */
export const ANSWER_MS = 25_000;
/** When a caller should ask again whom no workflow answered. */
const AGAIN_MS = 5_000;

/** Calls Temporal. @throws {AppError} SERVICE_UNAVAILABLE when it, or the worker, does not answer in time. */
export async function reach<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isUnreachable(error) && !(error instanceof WorkflowUpdateRPCTimeoutOrCancelledError)) throw error;
    throw new AppError('SERVICE_UNAVAILABLE', { cause: error, retryAfterMs: AGAIN_MS });
  }
}

/** Lets an account act. @throws {AppError} what stands in the way. */
export async function askAccount(deps: HytaleServiceDeps, accountId: string, wish: AccountWish): Promise<HytaleView> {
  const answer = await reach(() => deps.engine.act('account', accountId, wish, ANSWER_MS));
  if (!('refused' in answer)) {
    if (answer.result === 'gone') await accountOf(deps, accountId);
    return succeeded(answer);
  }
  throw new AppError('CONFLICT', { publicMessage: 'The account is being disconnected' });
}

/** Lets a session act. @throws {AppError} what stands in the way. */
export async function askSession(deps: HytaleServiceDeps, sessionId: string, wish: SessionWish): Promise<HytaleView> {
  const answer = await reach(() => deps.engine.act('session', sessionId, wish, ANSWER_MS));
  if ('refused' in answer) throw new AppError('CONFLICT', { publicMessage: 'The session is being ended' });
  return succeeded(answer);
}

function succeeded(view: HytaleView): HytaleView {
  const error = resultError(view);
  if (error !== undefined) throw error;
  return view;
}

/** @throws {AppError} NOT_FOUND. */
export async function accountOf(
  deps: Pick<HytaleServiceDeps, 'db' | 'environment'>,
  accountId: string,
  options: { trx?: Db; lock?: boolean } = {},
): Promise<StoredAccount> {
  const account = await findAccount(options.trx ?? deps.db, deps.environment, accountId, {
    lock: options.lock === true,
  });
  if (account === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'No token found for account' });
  return account;
}

/** Records who asked for something, in the transaction of the change. */
export const record = (
  deps: Pick<HytaleServiceDeps, 'log'>,
  trx: Transaction,
  who: Requester,
  action: AuditAction,
  target: AuditTarget,
  details: Readonly<Record<string, string | boolean | null>> = {},
): Promise<void> => recordChange({ trx, log: deps.log }, who.by, { action, target, details });
