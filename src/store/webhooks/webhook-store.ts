/** Writes to `discord_webhooks`, and to what is known of a webhook when an administrator changes it. URLs are stored encrypted. */
import { randomUUID } from 'node:crypto';
import type { WebhookScope, WebhookType } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute } from '../db/query.ts';
import { findWebhook, listAdminWebhooks, listWebhooks, type StoredWebhook } from './webhook-list.ts';

/** What an administrator decides about a webhook. */
export interface WebhookFields {
  name: string;
  url: string;
  type: WebhookType;
  scope: WebhookScope;
  description: string;
  enabled: boolean;
}

/** What Discord said of a URL. */
export interface CheckedUrl {
  /** False: it could not be asked. */
  alive: boolean;
  channelId: string | null;
}

export interface WebhookStore {
  list(db: Db): Promise<StoredWebhook[]>;
  /** The webhooks of scope `ADMIN`. */
  listAdmin(db: Db): Promise<StoredWebhook[]>;
  find(db: Db, id: string): Promise<StoredWebhook | undefined>;
  /** As `find`; the webhook stays as it is until the transaction ends. */
  lock(trx: Db, id: string): Promise<StoredWebhook | undefined>;
  /** @returns its id. */
  insert(trx: Db, fields: WebhookFields, checked: CheckedUrl): Promise<string>;
  /** Changes the given fields of a webhook that exists. */
  update(trx: Db, id: string, changes: Partial<WebhookFields>): Promise<void>;
}

/** Creates the store; URLs are encrypted with the process's key. */
export function createWebhookStore(encryption: Encryption): WebhookStore {
  return {
    list: (db) => listWebhooks(db, encryption),
    listAdmin: (db) => listAdminWebhooks(db, encryption),
    find: (db, id) => findWebhook(db, encryption, id, { lock: false }),
    lock: (trx, id) => findWebhook(trx, encryption, id, { lock: true }),
    insert: (trx, fields, checked) => insertWebhook(trx, encryption, fields, checked),
    update: (trx, id, changes) => updateWebhook(trx, encryption, id, changes),
  };
}

/** Creations of webhooks take turns, so that a repeated request finds the webhook of the first one. Until the end of the transaction. */
export const lockCreations = (trx: Db): Promise<unknown> =>
  execute(trx, `select pg_advisory_xact_lock(hashtext('nodebyte-webhooks'))`);

async function insertWebhook(
  trx: Db,
  encryption: Encryption,
  { name, url, type, scope, description, enabled }: WebhookFields,
  checked: CheckedUrl,
): Promise<string> {
  const id = randomUUID();
  const stored = encryption.encrypt('discord_webhooks.webhookUrl', url);
  await execute(
    trx,
    `insert into discord_webhooks (id, name, "webhookUrl", type, scope, description, enabled, "createdAt", "updatedAt")
     values (?, ?, ?, ?, ?, ?, ?, now() at time zone 'utc', now() at time zone 'utc')`,
    [id, name, stored, type, scope, description, enabled],
  );
  await storeNewUrl(trx, id, checked);
  return id;
}

async function updateWebhook(
  trx: Db,
  encryption: Encryption,
  id: string,
  { url, ...changes }: Partial<WebhookFields>,
): Promise<void> {
  const stored = url === undefined ? {} : { webhookUrl: encryption.encrypt('discord_webhooks.webhookUrl', url) };
  const columns = Object.entries({ ...changes, ...stored });
  await execute(
    trx,
    `update discord_webhooks set ${columns.map(() => '?? = ?, ').join('')} "updatedAt" = now() at time zone 'utc' where id = ?`,
    [...columns.flat(), id],
  );
}

/** Stores what Discord said of a new URL. What was known of the old one, and its pause, does not count any more. */
export async function storeNewUrl(trx: Db, id: string, { alive, channelId }: CheckedUrl): Promise<void> {
  await execute(trx, `delete from webhook_pauses where scope = ?`, [`webhook:${id}`]);
  await execute(
    trx,
    `insert into webhook_states (webhook_id, channel_id, checked_at) values (?, ?, case when ? then now() end)
     on conflict (webhook_id) do update set channel_id = excluded.channel_id, checked_at = excluded.checked_at,
       plain = false, disabled_reason = null, disabled_at = null`,
    [id, channelId, alive],
  );
}

/** Forgets why a webhook was switched off: an administrator switched it on again. */
export const forgetReason = (trx: Db, id: string): Promise<unknown> =>
  execute(trx, `update webhook_states set disabled_reason = null, disabled_at = null where webhook_id = ?`, [id]);

/** Notes that a test message arrived. @param storedUrl as it was stored when the message was sent: another URL is not proven. */
export async function storeTestSuccess(trx: Db, id: string, storedUrl: string): Promise<void> {
  const noted = await execute(
    trx,
    `update discord_webhooks set "testSuccessAt" = now() at time zone 'utc' where id = ? and "webhookUrl" = ?`,
    [id, storedUrl],
  );
  if (noted === 0) return;
  await execute(
    trx,
    `insert into webhook_states (webhook_id, checked_at) values (?, now())
     on conflict (webhook_id) do update set checked_at = excluded.checked_at`,
    [id],
  );
}

/** Deletes a webhook and what is known of it. Its deliveries stay. */
export async function deleteWebhook(trx: Db, id: string): Promise<void> {
  await execute(trx, `delete from discord_webhooks where id = ?`, [id]);
  await execute(trx, `delete from webhook_states where webhook_id = ?`, [id]);
  await execute(trx, `delete from webhook_pauses where scope = ?`, [`webhook:${id}`]);
}
