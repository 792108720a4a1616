/** The `config` table: settings as texts; secrets are encrypted before they come here. */
import { randomUUID } from 'node:crypto';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

export interface ConfigRow {
  key: string;
  value: string;
}

/** Rows of these keys that hold a text. */
export async function readConfig(db: Db, keys: readonly string[]): Promise<ConfigRow[]> {
  return query<ConfigRow>(db, `select c.key, c.value from config c where c.key = any(?::text[]) and c.value <> ''`, [
    [...keys],
  ]);
}

/** Writes rows in one transaction and notifies every process (`settings_changed`). */
export async function writeConfig(db: Db, rows: readonly ConfigRow[]): Promise<void> {
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
    await execute(trx, `select pg_notify('settings_changed', '')`);
  });
}
