import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import {
  migrateLatest,
  migrationStatus,
  OWN_TABLES,
  pendingMigrations,
  UNITS,
} from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { rollbackLast } from '../../../src/store/db/rollback.ts';
import { createTestDatabase, type TestDatabase, type TestDb } from '../../support/database.ts';
import { LEGACY_CAMEL, LEGACY_SNAKE } from '../../support/legacy-schema.ts';

const open: TestDatabase[] = [];
async function emptyDatabase(): Promise<TestDb> {
  const database = await createTestDatabase({ empty: true });
  open.push(database);
  return database.db;
}
afterEach(async () => {
  for (const database of open.splice(0)) await database.drop();
});

/** Table → its lines in the specification of the shared schema. */
const CONTRACT = new Map(
  readFileSync(new URL('../../fixtures/schema/contract.txt', import.meta.url), 'utf8')
    .split(/^\[/m)
    .slice(1)
    .map((part) => {
      const [name = '', ...lines] = part.trim().split('\n');
      return [name.replace(']', ''), lines.toSorted()];
    }),
);
/** Number of migrations that belong to no unit. */
const OTHERS = readdirSync(new URL('../../../migrations/', import.meta.url)).filter((f) =>
  /^\d+_(?!schema_).*\.ts$/.test(f),
).length;
const OWN = Object.values(OWN_TABLES).flat();

/** Tables of the database in the notation of the specification. Every unique key and every index is listed. */
async function describeSchema(db: TestDb): Promise<Map<string, string[]>> {
  const columns = await query<{ table: string; line: string }>(
    db,
    `select c.relname as table, concat_ws(' | ', a.attname,
              replace(replace(replace(format_type(a.atttypid, a.atttypmod), ' without time zone', ''),
                'timestamp with time zone', 'timestamptz'), 'character varying', 'varchar'),
              case when pk.indexrelid is not null then 'PK' when a.attnotnull then 'NN' end,
              case when u.indexrelid is not null then 'U' end,
              '=' || case when pg_get_expr(d.adbin, d.adrelid) like 'nextval%' then 'sequence'
                          when pg_get_expr(d.adbin, d.adrelid) = 'CURRENT_TIMESTAMP' then 'now'
                          when pg_get_expr(d.adbin, d.adrelid) like '%gen_random_uuid()%' then 'gen_random_uuid()'
                          else regexp_replace(replace(pg_get_expr(d.adbin, d.adrelid), '''', ''), '::[a-z \\[\\]]+', '') end,
              '>' || f.confrelid::regclass || '.' || fa.attname || '.' ||
                case f.confdeltype when 'c' then 'C' when 'n' then 'N' else f.confdeltype::text end) as line
       from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
       left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
       left join pg_index pk on pk.indrelid = c.oid and pk.indisprimary and pk.indkey::text = a.attnum::text
       left join pg_index u on u.indrelid = c.oid and u.indisunique and not u.indisprimary and u.indimmediate
                            and u.indpred is null and u.indkey::text = a.attnum::text
       left join pg_constraint f on f.conrelid = c.oid and f.contype = 'f' and f.conkey = array[a.attnum]
       left join pg_attribute fa on fa.attrelid = f.confrelid and fa.attnum = f.confkey[1]
      where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname not like 'nodebyte%'`,
  );
  const indexes = await query<{ table: string; line: string }>(
    db,
    `select i.indrelid::regclass::text as table,
            case when i.indisunique then 'unique ' else 'index ' end || ic.relname || ' (' ||
            (select string_agg(coalesce(a.attname, pg_get_indexdef(i.indexrelid, k.n::int, true)) ||
                               case when i.indoption[k.n - 1] & 1 = 1 then ' desc' else '' end, ', ' order by k.n)
               from unnest(i.indkey) with ordinality as k(att, n)
               left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.att and k.att <> 0) || ')' ||
            case when i.indpred is null then '' else ' partial' end as line
       from pg_index i join pg_class ic on ic.oid = i.indexrelid
      where ic.relnamespace = 'public'::regnamespace and not i.indisprimary and i.indisvalid
        and not (i.indisunique and i.indnatts = 1 and i.indpred is null and i.indexprs is null)`,
  );
  const found = new Map<string, string[]>();
  for (const { table, line } of [...columns, ...indexes]) found.set(table, [...(found.get(table) ?? []), line]);
  for (const lines of found.values()) lines.sort();
  return found;
}

/** Columns and indexes of shared tables that this service adds to the specification. */
const ADDED: Readonly<Record<string, readonly string[]>> = {
  users: [
    'tokensValidFrom | timestamp',
    'pterodactylUuid | text',
    'unique users_pterodactyl_uuid_unique (pterodactylUuid) partial',
    'unique users_email_address_unique (lower(btrim(email)))',
    'unique users_pterodactyl_id_unique (pterodactylId) partial',
    'index idx_users_list_created (createdAt, id)',
    'index idx_users_list_updated (updatedAt, id)',
    'index idx_users_list_email (email, id)',
    'index idx_users_list_username (username, id)',
    'index idx_users_list_username_desc (username desc, id desc)',
    'index idx_users_list_login (lastLoginAt, id)',
    'index idx_users_list_login_desc (lastLoginAt desc, id desc)',
    'index idx_users_list_search (email, username)',
  ],
  sessions: ['index idx_sessions_family_id (familyId)'],
  servers: [
    'index idx_servers_list_created (createdAt, id)',
    'index idx_servers_list_updated (updatedAt, id)',
    'index idx_servers_list_name (name, id)',
    'index idx_servers_list_search (name, description)',
  ],
  allocations: ['index idx_allocations_list_search (ip, alias, (port::text))'],
  sync_logs: ['unique sync_logs_one_active ((true)) partial'],
  hytale_server_logs: ['index idx_hytale_server_logs_line_order (server_uuid, log_timestamp desc, id desc)'],
  hytale_oauth_tokens: [
    'environment | text',
    'status | text | NN | =active',
    'reason | text',
    'profiles | jsonb',
    'token_type | text | NN | =Bearer',
    'refresh_version | integer | NN | =1',
    'refresh_lease_until | timestamptz',
    'refresh_sent_version | integer',
    'failures | integer | NN | =0',
    'next_at | timestamptz',
    'ip_address | inet',
    'user_agent | text',
  ],
  hytale_game_sessions: [
    'environment | text',
    'reason | text',
    'version | integer | NN | =0',
    'wanted_version | integer | NN | =1',
    'failures | integer | NN | =0',
    'recreations | integer | NN | =0',
    'auth_refused_version | integer',
    'next_at | timestamptz',
    'refreshed_at | timestamptz',
    'linked_at | timestamptz',
    'push_status | text | NN | =none',
    'push_reason | text',
    'pushed_version | integer',
    'pushed_variables | text[]',
    'pushed_at | timestamptz',
    'push_failures | integer | NN | =0',
    'restart_wanted | boolean | NN | =false',
    'index idx_hytale_game_sessions_status (account_id, status)',
  ],
};
/** Keys of the specification that this service replaces: several sessions may live on one profile. */
const REPLACED = ['unique hytale_game_sessions_account_profile_key (account_id, profile_uuid)'];
const specified = (name: string): string[] =>
  [...(CONTRACT.get(name) ?? []), ...(ADDED[name] ?? [])].filter((line) => !REPLACED.includes(line)).toSorted();

/** Constraints with their state, indexes and columns of the schema, from the catalog. */
async function catalog(db: TestDb): Promise<unknown[]> {
  return query(
    db,
    `select pg_get_constraintdef(oid) as def, conname as name, conrelid::regclass::text as owner from pg_constraint
      where connamespace = 'public'::regnamespace
     union all select indexdef, indexname, tablename from pg_indexes where schemaname = 'public'
     union all select concat_ws(' ', data_type, is_nullable, column_default), column_name, table_name
       from information_schema.columns where table_schema = 'public'
     order by 3, 2, 1`,
  );
}

/** Runs every migration again, after deleting the record of applied migrations. */
async function migrateAgain(db: TestDb): Promise<void> {
  await db.raw('delete from nodebyte_migrations');
  expect(await migrateLatest(db)).toHaveLength(UNITS.length + OTHERS);
}

describe('an empty database', () => {
  it('gets the 37 shared tables of the specification and the tables of this service', async () => {
    const db = await emptyDatabase();
    const applied = await migrateLatest(db);
    expect(applied.slice(0, 15)).toEqual(UNITS.map((unit) => unit.file));
    expect(await pendingMigrations(db)).toEqual([]);
    const found = await describeSchema(db);
    expect([...CONTRACT.keys()]).toHaveLength(37);
    expect([...found.keys()].toSorted()).toEqual([...CONTRACT.keys(), ...OWN].toSorted());
    for (const name of CONTRACT.keys()) expect({ [name]: found.get(name) }).toEqual({ [name]: specified(name) });
    expect(UNITS.flatMap((unit) => unit.tables).toSorted()).toEqual([...CONTRACT.keys()].toSorted());
  });

  it('is empty again after rolling back all migrations, and can be migrated again', async () => {
    const db = await emptyDatabase();
    await migrateLatest(db);
    const before = await catalog(db);
    const undone: string[] = [];
    for (let name = await rollbackLast(db); name !== undefined; name = await rollbackLast(db)) undone.push(name);
    expect(undone).toHaveLength(UNITS.length + OTHERS);
    expect([...(await describeSchema(db)).keys()]).toEqual([]);
    await migrateLatest(db);
    expect(await catalog(db)).toEqual(before);
  });

  it('is migrated once by two parallel processes, also when a killed process left a lock row', async () => {
    const db = await emptyDatabase();
    await migrateLatest(db, { units: ['8'] });
    await db.raw('update nodebyte_migrations_lock set is_locked = 1 where true');
    const both = await Promise.all([migrateLatest(db), migrateLatest(db)]);
    expect(both.flat().toSorted()).toEqual([...new Set(both.flat())].toSorted());
    expect(both.flat()).toHaveLength(UNITS.length + OTHERS - 1);
    expect(await pendingMigrations(db)).toEqual([]);
  });

  it('does not change when every migration runs twice', async () => {
    const db = await emptyDatabase();
    await migrateLatest(db);
    await db.raw(`insert into sync_logs (id, type, status) values ('ours', 'full', 'RUNNING')`);
    const before = await catalog(db);
    await migrateAgain(db);
    expect(await catalog(db)).toEqual(before);
    // A run of this service is not an interrupted run of the earlier one.
    expect(await query(db, 'select id, status from sync_logs')).toEqual([{ id: 'ours', status: 'RUNNING' }]);
  });

  it.each(UNITS.map((unit) => [unit.name, unit]))(
    'can be migrated to %s alone, with its required units',
    async (_name, unit) => {
      const db = await emptyDatabase();
      const applied = await migrateLatest(db, { units: [String(unit.number)] });
      expect(applied.at(-1)).toBe(unit.file);
      const found = await describeSchema(db);
      const expected = UNITS.filter((one) => applied.includes(one.file)).flatMap((one) => one.tables);
      expect([...found.keys()].toSorted()).toEqual(expected.toSorted());
    },
  );
});

describe('rules of the sync tables', () => {
  it('allow one active run; deleting a log deletes its pages, its run and its failures', async () => {
    const db = await emptyDatabase();
    await migrateLatest(db);
    await db.raw(`insert into sync_logs (id, type, status) values ('a', 'full', 'PENDING'), ('b', 'full', 'FAILED')`);
    await expect(
      db.raw(`insert into sync_logs (id, type, status) values ('c', 'nodes', 'RUNNING')`),
    ).rejects.toMatchObject({
      code: '23505',
      constraint: 'sync_logs_one_active',
    });
    await db.raw(
      `insert into sync_pages (log_id, source, page, entity, pass, rows, body) values ('a', 'users', 1, 'users', 1, 0, '[]')`,
    );
    await db.raw(`insert into sync_runs (log_id) values ('a')`);
    await db.raw(`insert into sync_failures (log_id, entity, panel_id, code) values ('a', 'users', '1', 'X')`);
    await db.raw(`delete from sync_logs where id = 'a'`);
    const left = await query(
      db,
      'select (select count(*) from sync_pages)::int + (select count(*) from sync_runs)::int + (select count(*) from sync_failures)::int as n',
    );
    expect(left).toEqual([{ n: 0 }]);
  });
});

/** Columns under former names that stay, because rows have other values in the column of the specification. */
const KEPT: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  snake_case: {
    sync_logs: ['recordsTotal | integer'],
    hytale_game_sessions: ['serverId | text', 'index idx_hytale_game_sessions_former_server_id (serverId)'],
  },
};

describe.each([
  ['camelCase', LEGACY_CAMEL],
  ['snake_case', LEGACY_SNAKE],
])('a database of the earlier service, %s', (spelling, sql) => {
  it('gets the schema of a new database and keeps all rows', async () => {
    const db = await emptyDatabase();
    await db.raw(sql);
    const before = await rowCounts(db);
    await migrateLatest(db);
    const after = await rowCounts(db);
    expect(Object.fromEntries(Object.keys(before).map((table) => [table, after[table]]))).toEqual(before);
    const found = await describeSchema(db);
    expect([...found.keys()].toSorted()).toEqual([...CONTRACT.keys(), ...OWN].toSorted());
    for (const name of CONTRACT.keys()) {
      const expected = [...adopted(name), ...(KEPT[spelling]?.[name] ?? [])].toSorted();
      expect({ [name]: found.get(name)?.map(relaxed).toSorted() }).toEqual({ [name]: expected });
    }
  });

  it('keeps its values under the new names', async () => {
    const db = await emptyDatabase();
    await db.raw(sql);
    await migrateLatest(db);
    expect(
      await query(
        db,
        'select id, email, "pterodactylId", "accountBalance", "accountStatus", "isMigrated" from users order by id',
      ),
    ).toEqual([
      {
        id: 'u1',
        email: 'ann@example.org',
        pterodactylId: 1,
        accountBalance: '12.50',
        accountStatus: 'active',
        isMigrated: null,
      },
      {
        id: 'u2',
        email: 'Ann@Example.org',
        pterodactylId: 2,
        accountBalance: '0.00',
        accountStatus: 'active',
        isMigrated: null,
      },
      {
        id: 'u3',
        email: 'bob@example.org',
        pterodactylId: 2,
        accountBalance: '0.00',
        accountStatus: 'active',
        isMigrated: null,
      },
      {
        id: 'u4',
        email: 'cy@example.org',
        pterodactylId: null,
        accountBalance: '0.00',
        accountStatus: 'active',
        isMigrated: null,
      },
    ]);
    expect(
      await query(db, 'select egg_id, env_variable, default_value, user_viewable, user_editable from egg_variables'),
    ).toEqual([{ egg_id: 1, env_variable: 'PORT', default_value: '80', user_viewable: true, user_editable: false }]);
    expect(
      await query(
        db,
        `select id, type, status, "itemsTotal", "itemsSynced", error, "completedAt" is not null as closed from sync_logs order by id`,
      ),
    ).toMatchObject([
      { id: 'l1', type: 'full', status: 'FAILED', itemsTotal: 7, itemsSynced: 3, error: 'interrupted', closed: true },
      { id: 'l2', type: 'users', status: 'FAILED', error: 'interrupted', closed: true },
      { id: 'l3', type: 'nodes', status: 'FAILED', itemsTotal: 1, error: 'interrupted', closed: true },
      { id: 'l4', type: 'full', status: 'COMPLETED', itemsTotal: 9, itemsSynced: 9, error: null, closed: false },
      { id: 'l5', type: 'full', status: 'FAILED', error: 'interrupted', closed: true },
      { id: 'l6', type: 'full', status: 'FAILED', itemsTotal: 5, error: 'boom', closed: false },
    ]);
    const sessions = await query(
      db,
      `select server_id, session_token, expires_at, status from hytale_game_sessions order by session_token`,
    );
    const merged = {
      server_id: 'sv1',
      session_token: 'st',
      expires_at: new Date('2026-02-03T05:05:06Z'),
      status: 'active',
    };
    const later = new Date('2026-05-05T00:00:00Z');
    expect(sessions).toEqual(
      spelling === 'camelCase'
        ? [merged]
        : [
            merged,
            { server_id: 'nowhere', session_token: 'st2', expires_at: later, status: 'active' },
            { server_id: 'sv2', session_token: 'st3', expires_at: later, status: 'active' },
          ],
    );
    expect(await query(db, 'select account_id, access_token, refresh_token from hytale_oauth_tokens')).toEqual([
      { account_id: '00000000-0000-0000-0000-000000000001', access_token: 'at', refresh_token: 'rt' },
    ]);
    // A server of a deleted product keeps its row and its productId.
    expect(await query(db, 'select id, "productId", "ownerId" from servers order by id')).toEqual([
      { id: 'sv1', productId: 'gone', ownerId: 'u1' },
      { id: 'sv2', productId: null, ownerId: 'u3' },
    ]);
  });

  it('obeys the new rules after the migration', async () => {
    const db = await emptyDatabase();
    await db.raw(sql);
    await migrateLatest(db);
    // Several nodes may have the same address, several servers the same external id; a node has an address once.
    await db.raw(`insert into allocations (id, ip, port, "nodeId") values (9, '10.0.0.1', 25565, 2)`);
    await expect(
      db.raw(`insert into allocations (id, ip, port, "nodeId") values (10, '10.0.0.1', 25565, 2)`),
    ).rejects.toMatchObject({ constraint: 'allocations_unique' });
    await db.raw(`update servers set "externalId" = 'same'`);
    await db.raw(`insert into config (key, value) values ('k', 'v')`);
    await db.raw(`update server_databases set password = null, "pterodactylId" = 4, "hostId" = 1`);
    // Deleting a user keeps its servers, deleting a server its Hytale sessions, deleting a token its audit rows.
    await db.raw(`delete from users where id = 'u1'`);
    expect(await query(db, `select "ownerId" from servers where id = 'sv1'`)).toEqual([{ ownerId: null }]);
    const count = 'select count(*)::int as n from hytale_game_sessions';
    const sessions = await query(db, count);
    await db.raw(`delete from servers where id = 'sv1'`);
    expect(await query(db, count)).toEqual(sessions);
    const trail = await query(db, 'select count(*)::int as n from hytale_audit_logs');
    await db.raw('delete from hytale_oauth_tokens');
    expect(await query(db, 'select count(*)::int as n from hytale_audit_logs')).toEqual(trail);
    const audit = `insert into hytale_audit_logs (account_id, event_type) values (gen_random_uuid(), ?)`;
    await db.raw(audit, ['AUTH_FAILED']);
    await expect(db.raw(audit, ['NO_SUCH_EVENT'])).rejects.toMatchObject({ constraint: 'check_valid_event_type' });
  });

  it('does not change when every migration runs a second time', async () => {
    const db = await emptyDatabase();
    await db.raw(sql);
    await migrateLatest(db);
    const before = [await catalog(db), await rowCounts(db)];
    await migrateAgain(db);
    expect([await catalog(db), await rowCounts(db)]).toEqual(before);
  });
});

/** The lines of an adopted table. Duplicate accounts prevent two unique indexes of users; a plain index replaces one. */
function adopted(name: string): string[] {
  const lines = specified(name).map(relaxed);
  if (name !== 'users') return lines.toSorted();
  const missing = ADDED['users']?.filter((line) => /^unique (?!users_pterodactyl_uuid)/.test(line)) ?? [];
  const kept = lines.filter((line) => !missing.includes(line));
  return [...kept, 'index idx_users_email_address (lower(btrim(email)))'].toSorted();
}

/** A line with the differences that adoption keeps: an old NOT NULL next to a default, an old default, a precision. */
function relaxed(line: string): string {
  return line
    .replace('timestamp(3)', 'timestamp')
    .replace(/^(memory|disk|cpu) \| bigint \| NN \| =/, '$1 | bigint | =')
    .replace(/^description \| text \| =$/, 'description | text');
}

async function rowCounts(db: TestDb): Promise<Record<string, number>> {
  const tables = await query<{ name: string }>(
    db,
    `select tablename as name from pg_tables where schemaname = 'public' and tablename not like 'nodebyte%'`,
  );
  const counts = await query<{ name: string; n: number }>(
    db,
    tables.map(() => 'select ?::text as name, count(*)::int as n from ??').join(' union all '),
    tables.flatMap(({ name }) => [name, name]),
  );
  return Object.fromEntries(counts.map(({ name, n }) => [name, n]));
}

describe('a database with missing columns and invalid rows', () => {
  it('is adopted, without the keys that its NULLs and duplicates prevent', async () => {
    const db = await emptyDatabase();
    await db.raw(`
      create table users (id text, email text, password text);
      insert into users values ('u1', null, 'x'), ('u1', 'a@example.org', null), (null, 'a@example.org', null);
      create table config (key text, value text);
      insert into config values ('a', null), ('a', '2');
      create table sync_logs (id text primary key);
      insert into sync_logs values ('l1');
      create table locations (id integer primary key);
      insert into locations values (1);
      create table nodes (id integer, "locationId" integer);
      insert into nodes values (1, 1), (2, 77);
      create table hytale_server_logs (id bigserial primary key, server_uuid text, log_line text);
      insert into hytale_server_logs (server_uuid) values ('nowhere');`);
    const before = await rowCounts(db);
    await migrateLatest(db);
    expect(await rowCounts(db)).toMatchObject(before);
    expect(await pendingMigrations(db)).toEqual([]);
    // A foreign key that old rows break is checked for new rows.
    await expect(db.raw('insert into nodes (id, "locationId") values (3, 78)')).rejects.toMatchObject({
      code: '23503',
    });
    const catalogued = await catalog(db);
    await migrateAgain(db);
    expect(await catalog(db)).toEqual(catalogued);
  });
});

describe('status', () => {
  it('names applied, pending and unknown migrations, and the number of rows per table', async () => {
    const db = await emptyDatabase();
    expect((await migrationStatus(db)).every((one) => one.state === 'pending')).toBe(true);
    await migrateLatest(db, { units: ['locations', '01_users_auth'].slice(1) });
    await db.raw(`insert into users (id, email) values ('1', 'a@example.org')`);
    await db.raw(
      `insert into nodebyte_migrations (name, batch, migration_time) values ('29990101000000_future.ts', 9, now())`,
    );
    const status = await migrationStatus(db);
    expect(status[0]).toMatchObject({ unit: 1, state: 'applied', appliedAt: expect.any(Date) });
    expect(status[0]?.tables[0]).toEqual({ name: 'users', rows: 1, estimated: false });
    expect(status[1]).toMatchObject({ unit: 2, state: 'pending', appliedAt: undefined });
    expect(status[1]?.tables[0]).toEqual({ name: 'locations', rows: null, estimated: false });
    expect(status.at(-1)).toMatchObject({ name: '29990101000000_future.ts', state: 'unknown' });
    await expect(rollbackLast(db)).rejects.toMatchObject({ code: 'CONFLICT' });
    await migrateLatest(db);
    expect(await pendingMigrations(db)).toEqual([]);
  });
});
