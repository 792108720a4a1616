/** Reads of `discord_webhooks` with what is known of each webhook beside its row. */
import type { Db } from '../db/db.ts';
import { type Encryption, looksEncrypted } from '../db/encryption.ts';
import { query } from '../db/query.ts';

/** A webhook. Columns that older databases leave empty have the defaults of the table here. */
export interface StoredWebhook {
  id: string;
  name: string;
  /** In clear, with its token, which is a secret; undefined: no key of this process decrypts it. */
  url: string | undefined;
  /** The URL as it is stored: encrypted, or in clear in databases of the existing service. */
  storedUrl: string;
  type: string;
  scope: string;
  description: string;
  enabled: boolean;
  testSuccessAt: Date | null;
  createdAt: Date | null;
  /** It was created less than a minute ago. */
  isNew: boolean;
  /** The channel that it posts to; null while it is not known. */
  channelId: string | null;
  /** When Discord last confirmed the URL. */
  checkedAt: Date | null;
  /** Why the service switched it off. */
  disabledReason: string | null;
  disabledAt: Date | null;
}

type Decrypter = Pick<Encryption, 'decrypt'>;
type Row = Omit<StoredWebhook, 'url'>;

const SELECT = `
  select w.id, coalesce(w.name, '') as name, coalesce(w."webhookUrl", '') as "storedUrl",
    coalesce(w.type::text, 'SYSTEM') as type, coalesce(w.scope::text, 'ADMIN') as scope,
    coalesce(w.description, '') as description, coalesce(w.enabled, false) as enabled, w."testSuccessAt", w."createdAt",
    coalesce(w."createdAt" > (now() at time zone 'utc') - interval '1 minute', false) as "isNew",
    s.channel_id as "channelId", s.checked_at as "checkedAt", s.disabled_reason as "disabledReason", s.disabled_at as "disabledAt"
  from discord_webhooks w left join webhook_states s on s.webhook_id = w.id`;
const NEWEST_FIRST = 'order by w."createdAt" desc nulls last, w.id';

function decrypted(row: Row, encryption: Decrypter): StoredWebhook {
  const clear = encryption.decrypt(row.storedUrl);
  // Without a key, `decrypt` returns encrypted text as if it were clear text.
  const unreadable = 'unreadable' in clear || looksEncrypted(clear.value);
  return { ...row, url: unreadable ? undefined : clear.value };
}

/** Every webhook, newest first. */
export async function listWebhooks(db: Db, encryption: Decrypter): Promise<StoredWebhook[]> {
  const rows = await query<Row>(db, `${SELECT} ${NEWEST_FIRST}`);
  return rows.map((row) => decrypted(row, encryption));
}

/** The webhooks of scope `ADMIN`, newest first. */
export async function listAdminWebhooks(db: Db, encryption: Decrypter): Promise<StoredWebhook[]> {
  const rows = await query<Row>(db, `${SELECT} where coalesce(w.scope::text, 'ADMIN') = 'ADMIN' ${NEWEST_FIRST}`);
  return rows.map((row) => decrypted(row, encryption));
}

/** One webhook. @param options `lock`: it stays as it is until the transaction ends. */
export async function findWebhook(
  db: Db,
  encryption: Decrypter,
  id: string,
  options: { lock: boolean },
): Promise<StoredWebhook | undefined> {
  const [row] = await query<Row>(db, `${SELECT} where w.id = ?${options.lock ? ' for update of w' : ''}`, [id]);
  return row === undefined ? undefined : decrypted(row, encryption);
}
