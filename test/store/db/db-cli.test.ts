import { readdirSync } from 'node:fs';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerDbCommands } from '../../../src/cli/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTestDatabase, onServer, openTestDb, type TestDatabase } from '../../support/database.ts';

/** File names of the migrations, in order. */
const MIGRATIONS = readdirSync(new URL('../../../migrations/', import.meta.url))
  .filter((file) => file.endsWith('.ts'))
  .sort();

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ empty: true });
});
afterAll(async () => {
  process.exitCode = 0;
  await database.drop();
});

async function run(
  args: readonly string[],
  url: string,
  input = '',
): Promise<{ stdout: string; stderr: string; code: number }> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  stdin.end(input);
  const program = new Command();
  registerDbCommands(program, { io: { stdin, stdout, stderr, env: { DATABASE_URL: url } } });
  await program.parseAsync(['db', ...args], { from: 'user' });
  stdout.end();
  stderr.end();
  const code = Number(process.exitCode ?? 0);
  process.exitCode = 0;
  return { stdout: await text(stdout), stderr: await text(stderr), code };
}

describe('db', () => {
  it('applies one unit with its required units, then the others, then nothing', async () => {
    const one = await run(['migrate', '5', '--json'], database.url);
    expect(one).toMatchObject({ stderr: '', code: 0 });
    expect(JSON.parse(one.stdout)).toEqual({
      applied: [1, 2, 3, 5].map((n) => expect.stringContaining(`_schema_0${n}_`)),
    });
    const init = await run(['init', '--json'], database.url);
    expect(JSON.parse(init.stdout).applied).toHaveLength(MIGRATIONS.length - 4);
    expect((await run(['migrate'], database.url)).stdout).toBe('nothing to do: up to date\n');
  });

  it('lists units and other migrations with state and rows, without colours in a pipe', async () => {
    const { stdout, code } = await run(['list'], database.url);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}1 {2}schema_01_users_auth +applied {2}[\d-]{10} [\d:]{5} {2}users 0, sessions 0/);
    expect(stdout.trimEnd().split('\n')).toHaveLength(MIGRATIONS.length);
    expect(stdout).not.toContain('\u001b');
  });

  it('names the failed migration and the message of the server; JSON output is one document', async () => {
    const { db, url, drop } = await createTestDatabase({ empty: true });
    try {
      // A view with the name of a table: it cannot be adopted, so the migration fails.
      await db.raw('create view config as select 1 as one');
      const { stdout, stderr, code } = await run(['init', '--json'], url);
      expect(code).toBe(1);
      expect(JSON.parse(stdout).error).toMatch(/^schema_08_config: /);
      expect(stderr).not.toContain('create table');
      // Earlier migrations stay applied.
      expect(await query(db, 'select count(*)::int as n from nodebyte_migrations')).toEqual([{ n: 7 }]);
    } finally {
      await drop();
    }
  });

  it('rolls back one migration at a time, after the name of the database was typed (A3)', async () => {
    const wrong = await run(['rollback'], database.url, 'other\n');
    expect(wrong).toMatchObject({ code: 0, stdout: expect.stringMatching(/^Rolling back .* drops .*nothing done/s) });
    expect((await run(['migrate'], database.url)).stdout).toBe('nothing to do: up to date\n');
    expect((await run(['rollback', '--yes'], database.url)).stdout).toBe(`rolled back  ${MIGRATIONS.at(-1)}\n`);
    expect(JSON.parse((await run(['migrate', '--json'], database.url)).stdout)).toEqual({
      applied: [MIGRATIONS.at(-1)],
    });
  });

  it('resets after the correct name was typed, also for a name with quotes', async () => {
    const name = `t "quoted"; ${process.pid} ${Date.now()}`;
    await onServer(`create database "${name.replaceAll('"', '""')}"`);
    const url = new URL(database.url);
    url.pathname = `/${encodeURI(name)}`;
    const db = openTestDb({ connectionString: url.href, applicationName: 'test', max: 1 });
    try {
      await db.raw('create table mine (id int)');
      const wrong = await run(['reset'], url.href, 'other\n');
      expect(wrong).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing done') });
      expect(await query(db, `select to_regclass('mine') is not null as there`)).toEqual([{ there: true }]);
      // This connection stays open during the reset.
      const right = await run(['reset', '--json'], url.href, `${name}\n`);
      expect(right.code).toBe(0);
      expect(await query(db, 'select current_database() as name, count(*)::int as n from users')).toEqual([
        { name, n: 0 },
      ]);
      expect(JSON.parse(right.stdout)).toMatchObject({
        reset: true,
        database: name,
        applied: { length: MIGRATIONS.length },
      });
      // What was applied before the audit table is in its first event.
      const events = await query<{ action: string; actor: string; reset: boolean; names: string[] }>(
        db,
        `select a.action, a.actor_type as actor, (a.details->>'reset')::boolean as reset, a.details->'migrations' as names
           from audit_events a order by a.id`,
      );
      expect(events.flatMap((event) => event.names)).toEqual(MIGRATIONS);
      expect(events.map(({ action, actor, reset }) => ({ action, actor, reset }))).toEqual(
        events.map(() => ({ action: 'database-migrated', actor: 'cli', reset: true })),
      );
    } finally {
      await db.destroy();
      await onServer(`drop database if exists "${name.replaceAll('"', '""')}" with (force)`);
    }
  });
});
