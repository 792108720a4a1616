/**
 * The `config` table: settings as texts; secrets are encrypted before they come here. The web site may write it, too.
 * `setting_entries` holds what this service knows about the origin of each row.
 */
import { randomUUID } from 'node:crypto';
import type { EnteredBy, SettingKey } from '../../domain/settings.ts';
import { type Db, inTransaction, type Transaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** How a value was entered. */
export interface SettingEntry {
  key: string;
  enteredBy: EnteredBy;
  /** The only origin that a secret may be sent to; '' when it was entered without a URL. Null for other settings. */
  origin: string | null;
  /** Digest of a secret in clear: it tells whether the entry is about the stored value. Null for other settings. */
  fingerprint: string | null;
}

export interface ConfigRow {
  key: string;
  value: string;
}

/** A row with its entry, whose columns are null when there is none. */
export interface StoredRow extends ConfigRow {
  enteredBy: EnteredBy | null;
  origin: string | null;
  fingerprint: string | null;
}

/** Rows of these keys that hold a text. */
export async function readConfig(db: Db, keys: readonly string[]): Promise<StoredRow[]> {
  return query<StoredRow>(
    db,
    `select c.key, c.value, e.entered_by as "enteredBy", e.origin, e.fingerprint
       from config c left join setting_entries e on e.key = c.key
      where c.key = any(?::text[]) and c.value <> ''`,
    [[...keys]],
  );
}

/** Writers of settings take turns, so that what one has read is still so when it writes. Until the end of the transaction. */
export async function lockSettings(trx: Transaction): Promise<void> {
  await execute(trx, `select pg_advisory_xact_lock(hashtext('nodebyte-settings'))`);
}

/** Notifies every process at the commit that settings have changed. */
export async function notifySettings(trx: Transaction): Promise<void> {
  await execute(trx, `select pg_notify('settings_changed', '')`);
}

/** Writes rows and their entries in one transaction and notifies every process (`settings_changed`). */
export async function writeConfig(db: Db, rows: readonly ConfigRow[], entries: readonly SettingEntry[]): Promise<void> {
  if (rows.length === 0) return;
  const records = rows.map((row) => ({ id: randomUUID(), ...row }));
  await inTransaction(db, async (trx) => {
    await execute(
      trx,
      `insert into config (id, key, value, "createdAt", "updatedAt")
       select r.id, r.key, r.value, now() at time zone 'utc', now() at time zone 'utc'
         from json_to_recordset(?::json) as r(id text, key text, value text)
       on conflict (key) do update set value = excluded.value, "updatedAt" = excluded."updatedAt"`,
      [JSON.stringify(records)],
    );
    await writeEntries(trx, entries);
    await notifySettings(trx);
  });
}

/** Notes how values were entered. */
export async function writeEntries(db: Db, entries: readonly SettingEntry[]): Promise<void> {
  if (entries.length === 0) return;
  await execute(
    db,
    `insert into setting_entries (key, entered_by, origin, fingerprint, entered_at)
     select e.key, e."enteredBy", e.origin, e.fingerprint, now()
       from json_to_recordset(?::json) as e(key text, "enteredBy" text, origin text, fingerprint text)
     on conflict (key) do update set entered_by = excluded.entered_by, origin = excluded.origin,
       fingerprint = excluded.fingerprint, entered_at = excluded.entered_at`,
    [JSON.stringify(entries)],
  );
}

/** A setting that was stored without sign-in, as it stands now. */
export interface SetupValue extends ConfigRow {
  storedAt: Date;
}

/** What the set-up stored without sign-in and no administrator has confirmed or replaced since, oldest first. */
export async function readSetupValues(db: Db): Promise<SetupValue[]> {
  return query<SetupValue>(
    db,
    `select c.key, c.value, e.entered_at as "storedAt"
       from config c join setting_entries e on e.key = c.key
      where e.entered_by = 'setup' and c.value <> '' order by e.entered_at, c.key`,
  );
}

/** Takes over what the set-up stored without sign-in: it counts as entered by an administrator. @returns the keys. */
export async function confirmSetupValues(db: Db): Promise<SettingKey[]> {
  const confirmed = await query<{ key: SettingKey }>(
    db,
    `update setting_entries set entered_by = 'user' where entered_by = 'setup' returning key`,
  );
  return confirmed.map(({ key }) => key).sort();
}

/** Clears what the set-up stored without sign-in, and notifies every process. @returns the keys. */
export async function dropSetupValues(db: Db): Promise<SettingKey[]> {
  return inTransaction(db, async (trx) => {
    await lockSettings(trx);
    const dropped = await query<{ key: SettingKey }>(
      trx,
      `update config c set value = '', "updatedAt" = now() at time zone 'utc' from setting_entries e
        where e.key = c.key and e.entered_by = 'setup' and c.value <> '' returning c.key`,
    );
    await execute(trx, `delete from setting_entries where entered_by = 'setup'`);
    if (dropped.length > 0) await notifySettings(trx);
    return dropped.map(({ key }) => key).sort();
  });
}
