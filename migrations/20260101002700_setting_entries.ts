import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { query } from '../src/store/db/query.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // How a row of `config` came to its value, and for a secret the only origin that it may be sent to. The fingerprint is
  // a digest of the secret: a row that another program wrote since then does not match it.
  defineTable(
    'setting_entries',
    `
    key text not null primary key
    entered_by text not null
    origin text
    fingerprint text
    entered_at timestamptz not null default current_timestamp
    `,
  ),
  // One row, id 1: until when the set-up needs no sign-in.
  defineTable(
    'setup_window',
    `
    id integer not null primary key
    open_until timestamptz not null
    `,
  ),
];

/**
 * Remembers what an existing installation has decided:
 * - A URL of the database may have been combined with a key of the environment. The key goes on to that origin.
 * - Its first start is over, so the set-up needs no sign-in only after `setup open`.
 */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  const urls = await query<{ key: string; value: string }>(
    knex,
    `select c.key, c.value from config c where c.key in ('pterodactyl_url', 'virtfusion_url') and c.value <> ''`,
  );
  for (const { key, value } of urls) {
    const origin = URL.parse(value.trim())?.origin ?? 'null';
    if (origin === 'null') continue;
    await knex.raw(
      `insert into setting_entries (key, entered_by, origin) values (?, 'upgrade', ?) on conflict (key) do nothing`,
      [key, origin],
    );
  }
  await knex.raw(
    `insert into setup_window (id, open_until) select 1, now()
       where exists (select 1 from users) or exists (select 1 from sync_logs) or exists (select 1 from config where value <> '')
     on conflict (id) do nothing`,
  );
}

/** Drops both tables. A later `up` takes the URLs that are stored then as those of the upgrade. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
