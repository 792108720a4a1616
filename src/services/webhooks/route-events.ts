/**
 * Turns events into deliveries: completes what they tell, and chooses the webhooks that receive them
 * (src/domain/event-routing.ts). A fixed number of statements, however many events and webhooks there are.
 */
import { receives, shownData } from '../../domain/event-routing.ts';
import type { EventData, EventValue, Notice } from '../../domain/events.ts';
import { readBoolean, SWITCHES, type Switch } from '../../domain/settings.ts';
import { scopeOf } from '../../domain/webhooks.ts';
import type { Db } from '../../store/db/db.ts';
import type { OutboxRow } from '../../store/outbox-store.ts';
import { readConfig } from '../../store/settings/config-store.ts';
import { queueDeliveries } from '../../store/webhooks/delivery-store.ts';
import { addressesOf, enabledWebhooks, type SyncOutcome, syncOutcomes } from '../../store/webhooks/event-reads.ts';

/** Characters of a text of a requested event that are kept; a field of a message shows at most half of them. */
const REQUESTED_TEXT_LIMIT = 2_000;
/** Warnings of a sync that are kept; a message has room for a few. */
const WARNINGS_LIMIT = 20;

/**
 * Writes the deliveries of events of the service, in the order of the events.
 * @param trx the transaction that marks the events as routed
 * @returns the events whose payload has not the form that their kind has; the others are routed.
 */
export async function routeEvents(
  trx: Db,
  rows: readonly OutboxRow[],
): Promise<{ failed: { id: string; reason: string }[] }> {
  const failed = rows.flatMap((row) => {
    const reason = faultOf(row);
    return reason === undefined ? [] : [{ id: row.id, reason }];
  });
  const bad = new Set(failed.map(({ id }) => id));
  const sound = rows.filter(({ id }) => !bad.has(id));
  await writeDeliveries(trx, () => complete(trx, sound));
  return { failed };
}

/**
 * Writes the deliveries of an event that a program requested. Only its single values are kept: a message shows no others.
 * @returns their ids; none if no webhook receives it.
 */
export const routeNotice = (trx: Db, notice: Notice): Promise<string[]> =>
  writeDeliveries(trx, async () => [{ ...notice, event: storableText(notice.event), data: singleValues(notice.data) }]);

/** Writes one delivery per notice and webhook that receives it. @param read is not called when nothing is sent at all. */
async function writeDeliveries(trx: Db, read: () => Promise<Notice[]>): Promise<string[]> {
  const { notify, dispatchAll } = await routingSettings(trx);
  const webhooks = notify ? await enabledWebhooks(trx) : [];
  if (webhooks.length === 0) return [];
  const receivers = webhooks.map((webhook) => ({ ...webhook, scope: scopeOf(webhook.scope) }));
  const deliveries = (await read()).flatMap((notice) =>
    receivers
      .filter((webhook) => receives(webhook, notice, { dispatchAll }))
      .map(({ id, name, scope }) => ({
        ...notice,
        webhookId: id,
        webhookName: name,
        data: shownData(scope, notice),
      })),
  );
  return queueDeliveries(trx, deliveries);
}

async function routingSettings(trx: Db): Promise<{ notify: boolean; dispatchAll: boolean }> {
  const rows = await readConfig(trx, ['discord_notifications_enabled', 'webhook_dispatch_all'] satisfies Switch[]);
  const isOn = (key: Switch) => readBoolean(rows.find((row) => row.key === key)?.value, SWITCHES[key]);
  return { notify: isOn('discord_notifications_enabled'), dispatchAll: isOn('webhook_dispatch_all') };
}

/** The key of a payload that names what its event is about, for events that say no more. */
const referenceOf = (kind: string): 'log_id' | 'user_id' | undefined =>
  kind.startsWith('sync.') ? 'log_id' : kind === 'user.registered' ? 'user_id' : undefined;

function faultOf({ kind, payload }: OutboxRow): string | undefined {
  // The column can hold any JSON value.
  const value: unknown = payload;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'the payload is not an object';
  const key = referenceOf(kind);
  return key === undefined || idOf(payload, key) !== undefined ? undefined : `the payload has no ${key}`;
}

function idOf(payload: OutboxRow['payload'], key: string): string | undefined {
  const id = payload[key];
  return typeof id === 'string' && id !== '' ? id : undefined;
}

/** Reads what events name by id. An event about a sync whose log row was deleted is left out. */
async function complete(trx: Db, rows: readonly OutboxRow[]): Promise<Notice[]> {
  const idsBy = (key: 'log_id' | 'user_id') =>
    rows.flatMap(({ kind, payload }) => (referenceOf(kind) === key ? (idOf(payload, key) ?? []) : []));
  const [logIds, userIds] = [idsBy('log_id'), idsBy('user_id')];
  const outcomes = new Map(
    logIds.length === 0 ? [] : (await syncOutcomes(trx, logIds)).map((outcome) => [outcome.id, outcome]),
  );
  const addresses = new Map(
    userIds.length === 0 ? [] : (await addressesOf(trx, userIds)).map(({ id, email }) => [id, email]),
  );
  return rows.flatMap((row): Notice[] => {
    const data = dataOf(row, outcomes, addresses);
    return data === undefined ? [] : [{ event: row.kind, origin: 'service', data, occurredAt: row.createdAt }];
  });
}

function dataOf(
  { kind, payload }: OutboxRow,
  outcomes: ReadonlyMap<string, SyncOutcome>,
  addresses: ReadonlyMap<string, string>,
): EventData | undefined {
  // A payload comes from a column of JSON.
  const data = payload as EventData;
  const key = referenceOf(kind);
  if (key === undefined) return data;
  const id = idOf(payload, key) ?? '';
  if (key === 'user_id') {
    const email = addresses.get(id);
    return email === undefined ? data : { ...data, email };
  }
  const outcome = outcomes.get(id);
  if (outcome === undefined) return undefined;
  // The row of a run that was reset tells of the new run.
  return outcome.status === data['status'] ? { ...data, ...factsOf(outcome) } : data;
}

const factsOf = ({ error, duration, itemsTotal, itemsSynced, itemsFailed, warnings }: SyncOutcome): EventData => ({
  error,
  duration,
  items_total: itemsTotal,
  items_synced: itemsSynced,
  items_failed: itemsFailed,
  warnings: warnings.slice(0, WARNINGS_LIMIT),
  warnings_total: warnings.length,
});

function singleValues(data: EventData): EventData {
  const kept = Object.entries(data).flatMap(([key, value]): [string, EventValue][] => {
    if (typeof value === 'object' && value !== null) return [];
    return [[storableText(key), typeof value === 'string' ? storableText(value) : value]];
  });
  return Object.fromEntries(kept);
}

/** A text that PostgreSQL stores as JSON: without NUL and halves of surrogate pairs, at most as long as is ever shown. */
const storableText = (text: string): string => text.slice(0, REQUESTED_TEXT_LIMIT).replaceAll('\0', ' ').toWellFormed();
