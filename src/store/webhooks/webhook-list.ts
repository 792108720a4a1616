/** Reads of `discord_webhooks`. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** A webhook as it is stored. Columns that older databases leave empty are texts here. */
export interface StoredWebhook {
  id: string;
  name: string;
  /** With its token, which is a secret. */
  webhookUrl: string;
  type: string;
  scope: string;
  description: string;
  enabled: boolean;
  testSuccessAt: Date | null;
  createdAt: Date | null;
}

/** The webhooks for administrators, newest first. */
export function listAdminWebhooks(db: Db): Promise<StoredWebhook[]> {
  return query<StoredWebhook>(
    db,
    `select w.id, coalesce(w.name, '') as name, coalesce(w."webhookUrl", '') as "webhookUrl",
            coalesce(w.type::text, '') as type, coalesce(w.scope::text, '') as scope,
            coalesce(w.description, '') as description, coalesce(w.enabled, false) as enabled,
            w."testSuccessAt", w."createdAt"
       from discord_webhooks w where w.scope::text = 'ADMIN' order by w."createdAt" desc nulls last, w.id`,
  );
}
