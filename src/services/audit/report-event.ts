/** Which security events administrators are notified of through webhooks, and how many of them. */
import { randomUUID } from 'node:crypto';
import type { AuditAction, AuditActor, AuditDetails, AuditEvent } from '../../domain/audit.ts';
import type { EventData, ServiceEvent } from '../../domain/events.ts';
import type { Db } from '../../store/db/db.ts';
import { emitLimited } from '../webhooks/limited-events.ts';

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

/** Whether an event is reported at all. */
export const isReported = ({ action }: AuditEvent): boolean => REPORTED[action] !== undefined;

/** Reports an audit event in the transaction that records it. One that is not reported costs no statement. */
export async function reportAuditEvent(trx: Db, event: AuditEvent): Promise<void> {
  const name = REPORTED[event.action];
  if (name === undefined) return;
  await emitLimited(trx, { event: name, key: randomUUID(), data: dataOf(event) }, PER_HOUR);
}

/** Ids and words: an audit event holds no address, no name and no secret. */
const dataOf = ({ actor, target, details = {} }: AuditEvent): EventData => ({
  account: target?.type === 'user' ? target.id : null,
  actor: ACTORS[actor.type] ?? actor.id ?? null,
  ...detailsOf(details),
});

/** What a report calls actors that have no id. */
const ACTORS: Readonly<Partial<Record<AuditActor['type'], string>>> = {
  apiKey: 'API',
  cli: 'operator',
  system: 'the service',
  anonymous: 'anonymous',
};

/** Details as words: what holds values by field becomes a list of them. */
function detailsOf(details: AuditDetails): EventData {
  const shown = Object.entries(details).flatMap(([key, value]) => {
    const words = typeof value === 'object' && value !== null && !Array.isArray(value) ? entriesOf(value) : value;
    return words === null || (Array.isArray(words) && words.length === 0) ? [] : [[snakeCase(key), words] as const];
  });
  return Object.fromEntries(shown);
}

const entriesOf = (values: object): string[] => Object.entries(values).map(([key, value]) => `${key} ${String(value)}`);

const snakeCase = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
