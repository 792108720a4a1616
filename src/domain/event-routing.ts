/** Which webhooks receive an event, and what of it their channels may see. Events of the service itself are in events.ts. */
import type { EventData, Notice } from './events.ts';
import type { WebhookScope, WebhookType } from './webhooks.ts';

/** The part of a notice that decides. */
type Kind = Pick<Notice, 'event' | 'origin'>;

/** Types that take an event, by the first word of its name. `CUSTOM` takes every event, `SYSTEM` those without a line. */
const TYPES: Readonly<Record<string, readonly WebhookType[]>> = {
  server: ['GAME_SERVER', 'SYSTEM'],
  support: ['SUPPORT'],
  billing: ['BILLING'],
  security: ['SECURITY'],
  vps: ['VPS'],
};

/** First words of events that tell about persons, or about the installation: they go to administrators only. */
const FOR_ADMINISTRATORS: ReadonlySet<string> = new Set(['user', 'security', 'settings', 'hytale']);

/** Our own reports of the system: to `SYSTEM` and `ADMIN` only, whatever `webhook_dispatch_all` says. */
const REPORTS: ReadonlySet<string> = new Set(['sync.completed', 'sync.failed', 'sync.cancelled', 'settings.updated']);

/** What of an event's data every channel may see: nothing that names a person. Of other events, nothing. */
const PUBLIC_DATA: Readonly<Record<string, readonly string[]>> = {
  'sync.started': ['type'],
  'sync.completed': ['type', 'duration'],
  'sync.failed': ['error'],
  'server.created': ['name'],
  'server.suspended': ['name', 'reason'],
  'server.unsuspended': ['name'],
  'server.deleted': ['name'],
  'server.owner_changed': ['name'],
  'server.node_changed': ['name', 'node', 'previous_node'],
  'server.changes': ['created', 'suspended', 'unsuspended', 'deleted', 'owner_changed', 'node_changed'],
  'support.ticket_created': ['subject', 'priority'],
};

/** First word of an event's name. A program can write a name in any form. */
const areaOf = (event: string): string => event.trim().toLowerCase().split('.', 1)[0] ?? '';

const isReport = ({ event, origin }: Kind): boolean => origin === 'service' && REPORTS.has(event);

/** Whether the channel of a webhook with this scope may learn of an event. */
export const isForScope = (scope: WebhookScope, notice: Kind): boolean =>
  scope === 'ADMIN' || !(FOR_ADMINISTRATORS.has(areaOf(notice.event)) || isReport(notice));

/** Whether a webhook receives an event. @param settings `dispatchAll`: every type takes every event; scopes stay. */
export function receives(
  webhook: { type: string; scope: WebhookScope },
  notice: Kind,
  settings: { dispatchAll: boolean },
): boolean {
  if (!isForScope(webhook.scope, notice)) return false;
  if (isReport(notice)) return webhook.type === 'SYSTEM';
  const area = areaOf(notice.event);
  const types: readonly string[] = (Object.hasOwn(TYPES, area) ? TYPES[area] : undefined) ?? ['SYSTEM'];
  return settings.dispatchAll || webhook.type === 'CUSTOM' || types.includes(webhook.type);
}

/** The data of an event that a channel with this scope may see. */
export function shownData(scope: WebhookScope, { event, origin, data }: Omit<Notice, 'occurredAt'>): EventData {
  if (scope === 'ADMIN') return data;
  if (!isForScope(scope, { event, origin }) || !Object.hasOwn(PUBLIC_DATA, event)) return {};
  const keys = PUBLIC_DATA[event] ?? [];
  return Object.fromEntries(Object.entries(data).filter(([key]) => keys.includes(key)));
}
