/** A rehearsal says what the migrations would do, and leaves the database as it was. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { registerDbCommands } from '../../../src/cli/db/db.ts';
import { migrateLatest, pendingMigrations } from '../../../src/store/db/migrations.ts';
import { query } from '../../../src/store/db/query.ts';
import { rehearse } from '../../../src/store/db/rehearsal.ts';
import { rollbackLast } from '../../../src/store/db/rollback.ts';
import { schemaGaps } from '../../../src/store/db/schema-gaps.ts';
import { createTestDatabase, openTestDb, type TestDatabase, type TestDb } from '../../support/database.ts';
import { LEGACY_CAMEL, LEGACY_SNAKE } from '../../support/legacy-schema.ts';

let database: TestDatabase;
let db: TestDb;
beforeEach(async () => {
  database = await createTestDatabase({ empty: true });
  db = database.db;
});
afterEach(() => database.drop());
afterAll(() => {
  process.exitCode = 0;
});

/** Everything of the database that could change: objects with their definitions, sequences, rows. */
async function everything(): Promise<unknown[]> {
  const objects = await query<{ name: string }>(
    db,
    `select n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(pg_get_indexdef(i.indexrelid), '') || ' ' ||
            coalesce((select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || a.attnotnull, ',' order by a.attnum)
                        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped), '') as name
       from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_index i on i.indexrelid = c.oid
      where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_toast%'
     union all select 'constraint ' || conname || pg_get_constraintdef(oid) || convalidated from pg_constraint where connamespace = 'public'::regnamespace
     union all select 'schema ' || nspname from pg_namespace where nspname not like 'pg_%'
     union all select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
     union all select 'sequence ' || sequencename || coalesce(last_value, 0) from pg_sequences
     union all select 'rows ' || table_name || (xpath('//row/n/text()', query_to_xml(format('select md5(string_agg(t::text, '','' order by t::text)) as n from %I.%I t', table_schema, table_name), true, false, '')))[1]::text
       from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'
      order by 1`,
  );
  return objects.map(({ name }) => name);
}

/** Names of the migrations, and the tables that each of them locks for readers while it really runs. */
async function migrateWithLocks(): Promise<{ name: string; locks: string[] }[]> {
  const steps: { name: string; locks: string[] }[] = [];
  const before = await query<{ oid: string }>(
    db,
    `select c.oid::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'`,
  );
  await migrateLatest(db, {
    record: async (trx, name) => {
      const rows = await query<{ table: string }>(
        trx,
        `select distinct l.relation::regclass::text as "table" from pg_locks l
          where l.pid = pg_backend_pid() and l.granted and l.mode = 'AccessExclusiveLock' and l.relation = any (?::oid[]) order by 1`,
        [before.map(({ oid }) => oid)],
      );
      steps.push({ name, locks: rows.map(({ table }) => table) });
    },
  });
  return steps;
}

describe('a rehearsal', () => {
  test('on a database of the earlier service says what the migrations then do, and changes nothing', async () => {
    await db.raw(LEGACY_SNAKE);
    await db.raw(`create table orders (id serial primary key, user_id text references users (id), note text);
      insert into orders (user_id) values ('u1');
      create view ordered as select u.email, o.note from orders o join users u on u.id = o.user_id;
      create view short as select email from ordered`);
    const before = await everything();
    const rehearsal = await rehearse(db);
    expect(await everything()).toEqual(before);
    expect(rehearsal).toMatchObject({ refusals: [], lacks: [] });
    expect(rehearsal.failed).toBeUndefined();
    expect(rehearsal.copied.find(({ name }) => name === 'users')).toMatchObject({ rows: 4 });
    expect(rehearsal.steps.find(({ name }) => name.includes('_07_'))?.rows['sync_logs']).toBeGreaterThan(0);
    // The migrations themselves do the same.
    const real = await migrateWithLocks();
    expect(rehearsal.steps.map(({ name }) => name)).toEqual(real.map(({ name }) => name));
    const exclusive = rehearsal.steps.map(({ name, locks }) => ({
      name,
      locks: Object.keys(locks)
        .filter((table) => locks[table] === 'all')
        .toSorted(),
    }));
    expect(exclusive).toEqual(real);
    expect(rehearsal.gaps).toEqual(await schemaGaps(db));
    expect(await rehearse(db)).toMatchObject({ steps: [], gaps: rehearsal.gaps });
  });

  test('of one migration copies the rows of its tables alone, while others read and write them', async () => {
    await database.drop();
    database = await createTestDatabase();
    db = database.db;
    while (!(await pendingMigrations(db)).some((name) => name.includes('panel_identity'))) await rollbackLast(db);
    await db.raw(
      `insert into users (id, email) values ('u1', 'a@example.org'); insert into config (key, value) values ('a', '1')`,
    );
    const other = await db.transaction();
    await other.raw(`update users set username = 'x'`);
    const { steps, copied } = await rehearse(db).finally(() => other.rollback());
    expect(steps.map(({ name }) => name)).toEqual(await pendingMigrations(db));
    expect(copied.find(({ name }) => name === 'users')?.rows).toBe(1);
    expect(copied.find(({ name }) => name === 'config')?.rows).toBeNull();
  });

  test('that is killed leaves nothing behind', async () => {
    await db.raw(LEGACY_CAMEL);
    await db.raw(
      `insert into users (id, email) select 'x' || n, 'x' || n || '@example.org' from generate_series(1, 20000) n`,
    );
    const before = await everything();
    const mortal = openTestDb({ connectionString: database.url, applicationName: 'test', max: 1 });
    const killed = rehearse(mortal).catch((error: Error) => error);
    await expect
      .poll(
        () =>
          query(
            db,
            `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'nodebyte-rehearsal'`,
          ),
        { timeout: 10_000, interval: 20 },
      )
      .toHaveLength(1);
    expect(await killed).toBeInstanceOf(Error);
    expect(await everything()).toEqual(before);
    await mortal.destroy();
  });

  test('names the migration that would fail, and that a table belongs to another role', async () => {
    await db.raw(`create view config as select 1 as one`);
    const { failed, steps, gaps } = await rehearse(db);
    expect(steps).toHaveLength(7);
    expect(failed?.name).toContain('_schema_08_config');
    expect(gaps).toEqual([]);
  });
});

describe('db migrate --dry-run', () => {
  async function run(...args: string[]): Promise<{ stdout: string; stderr: string; code: number }> {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    stdin.end('');
    const program = new Command();
    registerDbCommands(program, { io: { stdin, stdout, stderr, env: { DATABASE_URL: database.url } } });
    await program.parseAsync(['db', 'migrate', '--dry-run', ...args], { from: 'user' });
    stdout.end();
    stderr.end();
    const code = Number(process.exitCode ?? 0);
    process.exitCode = 0;
    return { stdout: await text(stdout), stderr: await text(stderr), code };
  }

  test('prints steps with rows and locks, the copy, and what could not be brought about; its exit code says whether it works', async () => {
    await db.raw(LEGACY_SNAKE);
    const works = await run();
    expect(works).toMatchObject({ code: 0, stderr: '' });
    expect(works.stdout).toMatch(
      /would apply {2}schema_07_sync_logs .* s; changes rows: sync_logs \d+; readers and writers wait: sync_logs/,
    );
    expect(works.stdout).toMatch(/rehearsed on a copy of \d+ tables .* nothing was applied/);
    expect(works.stdout).toContain('warning  sync_logs.recordsTotal stays beside itemsTotal');
    await db.raw(
      'alter table users add column tenant text; update users set tenant = 1; alter table users alter column tenant set not null',
    );
    const broken = await run('--json');
    expect(broken.code).toBe(1);
    expect(JSON.parse(broken.stdout)).toMatchObject({
      dryRun: true,
      steps: expect.arrayContaining([expect.objectContaining({ rows: expect.any(Object), locks: expect.any(Object) })]),
      gaps: expect.arrayContaining([
        expect.objectContaining({ works: false, text: expect.stringContaining('users.tenant') }),
      ]),
    });
    const unit = JSON.parse((await run('8', '--json')).stdout);
    expect(unit.steps).toHaveLength(1);
    expect(await query(db, `select to_regclass('nodebyte_migrations') as book`)).toEqual([{ book: null }]);
  });
});
