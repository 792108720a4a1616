/**
 * Events that are reported through webhooks. A service writes an event to the outbox in the transaction of
 * its cause (`kind` = name of the event); the relay turns it into one delivery for each webhook that takes it.
 */

/** Events of the service itself. Another program can request these names and any other through `webhook/dispatch`. */
export const SERVICE_EVENTS = [
  'sync.completed',
  'sync.failed',
  'sync.cancelled',
  'settings.updated',
  'user.registered',
  'server.created',
  'server.suspended',
  'server.unsuspended',
  'server.deleted',
  'server.owner_changed',
  'server.node_changed',
  /** What a sync changed beyond the events of single servers. */
  'server.changes',
  'security.lockout',
  'security.token_reuse',
  'security.role_refused',
  'security.account_denied',
  'security.account_disabled',
  'security.account_enabled',
  'security.roles_changed',
  'security.keys_rotated',
  /** A Hytale account must be signed in again by a person. */
  'hytale.reauth_required',
  /** Hytale refuses our client. */
  'hytale.misconfigured',
  /** Security events were too many to report each of them. */
  'security.more',
] as const;
export type ServiceEvent = (typeof SERVICE_EVENTS)[number];

/** `service`: the event happened here. `request`: a program or an administrator requested the message. */
export type EventOrigin = 'service' | 'request';

export type EventValue =
  | string
  | number
  | boolean
  | null
  | readonly EventValue[]
  | { readonly [key: string]: EventValue };
/** What an event tells: words, ids, numbers, names. Never a secret. */
export type EventData = { readonly [key: string]: EventValue };

/** One event, as a message is made from it. */
export interface Notice {
  /** One of SERVICE_EVENTS where `origin` is `service`, else any name. */
  event: string;
  origin: EventOrigin;
  data: EventData;
  /** When it happened: the `timestamp` of the message. */
  occurredAt: Date;
}
