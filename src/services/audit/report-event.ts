/** Which security events administrators are notified of through webhooks, and how many of them. */
import { randomUUID } from 'node:crypto';
import type { AuditAction, AuditEvent } from '../../domain/audit.ts';
import type { EventData, ServiceEvent } from '../../domain/events.ts';
import type { Db } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { emitEvents } from '../../store/webhooks/event-store.ts';

/** The event of an action. The other actions are in the audit only: people sign in and change passwords all the time. */
const REPORTED: Partial<Record<AuditAction, ServiceEvent>> = {
  lockout: 'security.lockout',
  'token-reuse': 'security.token_reuse',
  'role-refused': 'security.role_refused',
  'account-denied': 'security.account_denied',
  'account-disabled': 'security.account_disabled',
  'account-enabled': 'security.account_enabled',
  'roles-changed': 'security.roles_changed',
  'keys-rotated': 'security.keys_rotated',
};

/** Events of one name that are reported in an hour. Strangers can cause them; the audit has them all. */
const PER_HOUR = 20;
const HOUR_SECONDS = 3600;

/** Reports an audit event in the transaction that records it. After the last one of an hour, one event says that there are more. */
export async function reportAuditEvent(trx: Db, event: AuditEvent): Promise<void> {
  const name = REPORTED[event.action];
  if (name === undefined) return;
  if (await takeOne(trx, 'security-event', name, PER_HOUR)) {
    await emitEvents(trx, [{ event: name, key: randomUUID(), data: dataOf(event) }]);
  } else if (await takeOne(trx, 'security-more', name, 1)) {
    await emitEvents(trx, [{ event: 'security.more', key: randomUUID(), data: { event: name, per_hour: PER_HOUR } }]);
  }
}

async function takeOne(trx: Db, bucket: string, identity: string, capacity: number): Promise<boolean> {
  const [state] = await takeTokens(trx, [{ name: bucket, identity, capacity, windowSeconds: HOUR_SECONDS }]);
  return state?.allowed === true;
}

/** Ids and words: an audit event holds no address, no name and no secret. */
function dataOf({ actor, target, details = {} }: AuditEvent): EventData {
  const words = Object.entries(details).flatMap(([key, value]) =>
    value !== null && typeof value === 'object' ? [] : [[key, value] as const],
  );
  return {
    account: target?.type === 'user' ? target.id : null,
    actor: actor.id ?? actor.type,
    ...Object.fromEntries(words),
  };
}
