/**
 * Webhooks of administrators: each change with its audit event in one transaction. A URL is checked at Discord before it is
 * stored, without a message. The URL decides who reads the events, so only a system administrator enters one.
 */
import type { Logger } from 'pino';
import type { InspectResult } from '../../clients/discord/answers.ts';
import type { DiscordClient } from '../../clients/discord/client.ts';
import type { AuditDetails, AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import type { WebhookUrlRules } from '../../domain/webhook-url.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import { admit } from '../../store/webhooks/attempt-store.ts';
import { endQueued } from '../../store/webhooks/delivery-store.ts';
import type { StoredWebhook } from '../../store/webhooks/webhook-list.ts';
import {
  type CheckedUrl,
  deleteWebhook,
  forgetReason,
  lockCreations,
  storeNewUrl,
  type WebhookFields,
  type WebhookStore,
} from '../../store/webhooks/webhook-store.ts';
import { recordChange } from '../audit/record-change.ts';
import { ROLE_REFUSED } from '../audit/security-events.ts';
import { changedFields, invalidUrl, newFields, type WebhookForm } from './webhook-form.ts';

export interface WebhookDeps {
  db: Db;
  webhooks: WebhookStore;
  discord: Pick<DiscordClient, 'inspect'>;
  webhookUrlRules: WebhookUrlRules;
  log: Logger;
}

/** Who changes webhooks. */
export interface WebhookEditor {
  isSystemAdministrator: boolean;
  by: AuditOrigin;
}

/** A webhook as it is after a change, with what the administrator should know. */
export interface SavedWebhook {
  webhook: StoredWebhook;
  warnings: string[];
}

const unknownWebhook = (): AppError => new AppError('NOT_FOUND', { publicMessage: 'Webhook not found' });

/** @throws {AppError} NOT_FOUND */
export async function requireWebhook(webhooks: Pick<WebhookStore, 'find'>, db: Db, id: string): Promise<StoredWebhook> {
  const webhook = await webhooks.find(db, id);
  if (webhook === undefined) throw unknownWebhook();
  return webhook;
}

/**
 * Creates a webhook. The same request within a minute, which the site sends after a lost answer, gives the same webhook.
 * @throws {AppError} FORBIDDEN; VALIDATION_ERROR
 */
export async function createWebhook(
  deps: WebhookDeps,
  form: WebhookForm,
  { isSystemAdministrator, by }: WebhookEditor,
): Promise<SavedWebhook> {
  const fields = newFields(form, deps.webhookUrlRules);
  requireSystemAdministrator(isSystemAdministrator);
  const checked = await checkUrl(deps, fields.url);
  return inTransaction(deps.db, async (trx) => {
    await lockCreations(trx);
    const present = await deps.webhooks.list(trx);
    const same = present.find((webhook) => webhook.isNew && isSame(webhook, fields));
    if (same !== undefined) return { webhook: same, warnings: warningsOf(checked, same, present) };
    const id = await deps.webhooks.insert(trx, fields, checked);
    await record(deps, trx, by, { action: 'webhook-created', id, details: { after: shownFields(fields) } });
    const webhook = await requireWebhook(deps.webhooks, trx, id);
    return { webhook, warnings: warningsOf(checked, webhook, present) };
  });
}

/**
 * Changes the fields of a form that differ. Switching a webhook off ends what waits for it.
 * @throws {AppError} FORBIDDEN; NOT_FOUND; VALIDATION_ERROR; CONFLICT when somebody else gave it a new URL meanwhile.
 */
export async function changeWebhook(
  deps: WebhookDeps,
  id: string,
  form: WebhookForm,
  { isSystemAdministrator, by }: WebhookEditor,
): Promise<SavedWebhook> {
  const before = await requireWebhook(deps.webhooks, deps.db, id);
  requireSystemAdministrator(isSystemAdministrator);
  const { url } = changedFields(form, before, deps.webhookUrlRules);
  const checked = url === undefined ? undefined : await checkUrl(deps, url);
  return inTransaction(deps.db, async (trx) => {
    const locked = await deps.webhooks.lock(trx, id);
    if (locked === undefined) throw unknownWebhook();
    const changed = changedFields(form, locked, deps.webhookUrlRules);
    // What meant the present URL before means another one now, which was not checked.
    if (changed.url !== undefined && changed.url !== url) {
      throw new AppError('CONFLICT', { publicMessage: 'The URL was changed by somebody else: load the webhook again' });
    }
    await applyChange(deps, trx, { locked, changed, checked }, by);
    const webhook = await requireWebhook(deps.webhooks, trx, id);
    const others = checked === undefined ? [] : await deps.webhooks.list(trx);
    return { webhook, warnings: warningsOf(checked, webhook, others) };
  });
}

async function applyChange(
  deps: WebhookDeps,
  trx: Transaction,
  change: { locked: StoredWebhook; changed: Partial<WebhookFields>; checked: Checked | undefined },
  by: AuditOrigin,
): Promise<void> {
  const { locked, changed, checked } = change;
  const { id } = locked;
  if (Object.keys(changed).length === 0) return;
  await deps.webhooks.update(trx, id, changed);
  // Rows of deliveries before those of states and pauses, in the order in which an attempt takes them.
  const ended = changed.enabled === false ? await endQueued(trx, id, 'skipped', 'the webhook was switched off') : 0;
  if (changed.url !== undefined && checked !== undefined) await storeNewUrl(trx, id, checked);
  if (changed.enabled === true) await forgetReason(trx, id);
  const details = { ...comparedFields(locked, changed), ...(ended === 0 ? {} : { skippedDeliveries: ended }) };
  await record(deps, trx, by, { action: 'webhook-changed', id, details });
}

/**
 * Deletes a webhook, and ends what waits for it. Its past deliveries stay.
 * @throws {AppError} FORBIDDEN; NOT_FOUND
 */
export async function removeWebhook(
  deps: Pick<WebhookDeps, 'db' | 'webhooks' | 'log'>,
  id: string,
  { isSystemAdministrator, by }: WebhookEditor,
): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    const webhook = await deps.webhooks.lock(trx, id);
    if (webhook === undefined) throw unknownWebhook();
    requireSystemAdministrator(isSystemAdministrator);
    const ended = await endQueued(trx, id, 'skipped', 'the webhook was deleted');
    await deleteWebhook(trx, id);
    const details = { before: shownFields(webhook), ...(ended === 0 ? {} : { skippedDeliveries: ended }) };
    await record(deps, trx, by, { action: 'webhook-deleted', id, details });
  });
}

function requireSystemAdministrator(isSystemAdministrator: boolean): void {
  if (isSystemAdministrator) return;
  const publicMessage = 'Only a system administrator may change webhooks';
  throw new AppError('FORBIDDEN', { publicMessage, meta: ROLE_REFUSED });
}

/** What Discord said of a URL. */
interface Checked extends CheckedUrl {
  /** Why it could not be asked. */
  obstacle: string | undefined;
}

/** Asks Discord about a URL, unless it asked for a pause. @throws {AppError} VALIDATION_ERROR when nothing can arrive there. */
async function checkUrl(deps: WebhookDeps, url: string): Promise<Checked> {
  const unknown = (obstacle: string): Checked => ({ alive: false, channelId: null, obstacle });
  const wait = await inTransaction(deps.db, (trx) => admit(trx, { webhookId: '', channel: '' }));
  if (wait !== undefined)
    return unknown(`no request is sent to Discord for ${Math.ceil(wait.ms / 1000)} s: ${wait.why}`);
  const answer = await inspect(deps, url);
  if (answer.state === 'dead') throw invalidUrl(answer.detail);
  if (answer.state === 'unknown') return unknown(answer.detail);
  return { alive: true, channelId: answer.channelId, obstacle: undefined };
}

async function inspect({ discord, log }: WebhookDeps, url: string): Promise<InspectResult> {
  try {
    return await discord.inspect(url);
  } catch (error) {
    // The error itself can hold the URL.
    log.error({ name: error instanceof Error ? error.name : typeof error }, 'the check of a webhook failed');
    return { state: 'unknown', detail: 'the request failed' };
  }
}

/** Whether a webhook is what a form asks for. */
const isSame = (webhook: StoredWebhook, fields: WebhookFields): boolean =>
  (Object.keys(fields) as (keyof WebhookFields)[]).every((field) => webhook[field] === fields[field]);

/** What an administrator should know of a webhook that was saved. @param checked undefined: its URL is the same as before. */
function warningsOf(checked: Checked | undefined, webhook: StoredWebhook, all: readonly StoredWebhook[]): string[] {
  if (checked === undefined) return [];
  const doubles = all.filter((other) => other.id !== webhook.id && postToSamePlace(other, webhook));
  return [
    ...(checked.obstacle === undefined
      ? []
      : [`Saved, but the URL could not be checked: ${checked.obstacle}. Test the webhook.`]),
    ...(doubles.length === 0
      ? []
      : [
          `Posts to the same place as ${doubles.map(({ name }) => `"${name}"`).join(', ')}: an event that both take arrives there twice.`,
        ]),
  ];
}

/** Whether two webhooks post to one place: the same webhook of Discord, or the same channel, and the same thread. */
function postToSamePlace(one: StoredWebhook, other: StoredWebhook): boolean {
  const [a, b] = [placeOf(one), placeOf(other)];
  if (a === undefined || b === undefined || a.thread !== b.thread) return false;
  return a.webhook === b.webhook || (one.channelId !== null && one.channelId === other.channelId);
}

/** Id and token are the end of the path, whichever host and version it has. */
function placeOf({ url }: StoredWebhook): { webhook: string; thread: string | null } | undefined {
  const parsed = URL.parse(url ?? '');
  if (parsed === null) return undefined;
  const webhook = parsed.pathname.split('/').filter(Boolean).slice(-2).join('/');
  return { webhook, thread: parsed.searchParams.get('thread_id') };
}

async function record(
  { log }: Pick<WebhookDeps, 'log'>,
  trx: Transaction,
  by: AuditOrigin,
  event: { action: 'webhook-created' | 'webhook-changed' | 'webhook-deleted'; id: string; details: AuditDetails },
): Promise<void> {
  const { action, id, details } = event;
  await recordChange({ trx, log }, by, { action, target: { type: 'webhook', id }, details });
}

/** The fields that an event holds. The URL is a secret, and a description can hold anything. */
const shownFields = ({
  name,
  type,
  scope,
  enabled,
}: Pick<WebhookFields, 'name' | 'enabled'> & { type: string; scope: string }) => ({
  name,
  type,
  scope,
  enabled,
});

/** Changed fields before and after; of a URL and a description only that they changed. */
function comparedFields(before: StoredWebhook, changed: Partial<WebhookFields>) {
  const { url, description, ...shown } = changed;
  const hidden = {
    ...(url === undefined ? {} : { webhookUrl: '(changed)' }),
    ...(description === undefined ? {} : { description: description === '' ? '(cleared)' : '(changed)' }),
  };
  const fields = Object.keys(shown) as (keyof typeof shown)[];
  return {
    before: Object.fromEntries(fields.map((field) => [field, before[field]])),
    after: { ...shown, ...hidden },
  };
}
