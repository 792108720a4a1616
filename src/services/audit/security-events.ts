/** Security events of accounts: one row in `audit_events` and one log line each (names in `src/domain/audit.ts`). */
import type { Logger } from 'pino';
import type { AuditActor, AuditDetails, AuditEvent, AuditOutcome, SecurityAction } from '../../domain/audit.ts';
import { isAppError } from '../../domain/errors.ts';
import { insertAuditEvent } from '../../store/audit/audit-store.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { isReported, reportAuditEvent } from './report-event.ts';

/** Refusals that are recorded per account in an hour, or per network where no account is known. Further ones are only logged. */
const REFUSALS_PER_HOUR = 20;
/** Refusals without an account that are recorded in an hour, from all networks together. */
const STRANGERS_PER_HOUR = 1000;
const HOUR_SECONDS = 3600;

/** Records an event in the caller's transaction, so that it is kept, and reported, exactly when the change is. */
export async function recordSecurityEvent(
  deps: { db: Db; log?: Logger | undefined },
  event: AuditEvent,
): Promise<void> {
  await insertAuditEvent(deps.db, event);
  await reportAuditEvent(deps.db, event);
  logSecurityEvent(deps.log, event);
}

/**
 * Records a refusal, which has no transaction. Strangers cause refusals, so the number of rows is limited: per action and
 * account, or network and in total where no account is known. A failure is logged: the caller is refused all the same.
 */
export async function recordRefusal(deps: { db: Db; log: Logger }, event: AuditEvent): Promise<void> {
  logSecurityEvent(deps.log, event);
  try {
    const buckets = await takeTokens(deps.db, refusalBuckets(event));
    if (!buckets.every((bucket) => bucket.allowed)) return;
    // Most refusals are not reported, and need no transaction.
    if (!isReported(event)) return await insertAuditEvent(deps.db, event);
    await inTransaction(deps.db, async (trx) => {
      await insertAuditEvent(trx, event);
      await reportAuditEvent(trx, event);
    });
  } catch (error) {
    deps.log.error({ err: error, action: event.action }, 'a security event could not be recorded');
  }
}

function refusalBuckets({ action, target, network }: AuditEvent): Parameters<typeof takeTokens>[1] {
  const one = { name: 'audit', capacity: REFUSALS_PER_HOUR, windowSeconds: HOUR_SECONDS };
  if (target !== undefined) return [{ ...one, identity: `${action} ${target.type} ${target.id}` }];
  return [
    { ...one, identity: `${action} network ${network ?? ''}` },
    { ...one, identity: `${action} strangers`, capacity: STRANGERS_PER_HOUR },
  ];
}

/** The log line of an event: ids and a digest, so that no person can be recognised in the log. */
export function logSecurityEvent(log: Logger | undefined, event: AuditEvent): void {
  const { action, outcome, actor, target, network, requestId, details } = event;
  const userId = target?.type === 'user' ? target.id : actor.id;
  log?.info({ event: action, outcome, actor: actor.type, userId, target, network, requestId, details }, 'security');
}

/** Where a request comes from, as far as an event tells it. */
export interface EventOrigin {
  /** Keyed digest of the network. */
  networkDigest: string;
  requestId?: string | undefined;
}

/** Event of an account. @param userId undefined: no account is known. `actor`: default the user, or a stranger who is refused. */
export function accountEvent(
  action: SecurityAction,
  userId: string | undefined,
  about: { outcome?: AuditOutcome; origin?: EventOrigin | undefined; actor?: AuditActor; details?: AuditDetails } = {},
): AuditEvent {
  const { outcome = 'success', origin, details = {} } = about;
  const byUser: AuditActor =
    outcome === 'refused' || userId === undefined ? { type: 'anonymous' } : { type: 'user', id: userId };
  return {
    action,
    outcome,
    actor: about.actor ?? byUser,
    ...(userId === undefined ? {} : { target: { type: 'user', id: userId } }),
    network: origin?.networkDigest,
    requestId: origin?.requestId,
    details,
  };
}

/** How somebody signed in. `validate`: the credentials were right, and no session was opened. */
type SignInMethod = 'password' | 'magic-link' | 'validate';

/** A sign-in of this user. */
export const signInEvent = (userId: string, method: SignInMethod, origin: EventOrigin): AuditEvent =>
  accountEvent('sign-in', userId, { origin, details: { method } });

/** A sign-in that was refused. @param userId undefined: no account has the address. */
export const signInRefused = (
  userId: string | undefined,
  reason: 'wrong-credentials' | 'disabled' | 'not-verified' | 'invalid-link',
  origin: EventOrigin,
): AuditEvent => accountEvent('sign-in', userId, { outcome: 'refused', origin, details: { reason } });

/** `meta` of an error that refuses what the roles of a signed-in user do not allow. The mounted route records it. */
export const ROLE_REFUSED = { refusedBy: 'role' } as const;

/** Whether an error is such a refusal. */
export const isRoleRefused = (error: unknown): boolean =>
  isAppError(error, 'FORBIDDEN') && error.meta?.['refusedBy'] === ROLE_REFUSED.refusedBy;

/** Records that a signed-in user was refused what the user's roles do not allow. */
export const recordRoleRefused = (
  deps: { db: Db; log: Logger },
  userId: string,
  operation: string,
  origin: EventOrigin,
): Promise<void> =>
  recordRefusal(
    deps,
    accountEvent('role-refused', userId, {
      outcome: 'refused',
      actor: { type: 'user', id: userId },
      origin,
      details: { operation },
    }),
  );
