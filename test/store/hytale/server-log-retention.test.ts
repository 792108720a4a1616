/** What of the consoles of Hytale servers expires. */
import { randomUUID } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMaintenanceActivities } from '../../../src/activities/maintenance.ts';
import type { SyncLauncher } from '../../../src/services/sync/launcher.ts';
import { query } from '../../../src/store/db/query.ts';
import {
  dateServerLogs,
  purgeConsoles,
  purgeLogGaps,
  purgeServerLogs,
} from '../../../src/store/hytale/server-log-retention.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
const server = randomUUID();
beforeAll(async () => {
  database = await createTestDatabase();
  await run(`insert into servers (id, uuid, name) values (?, ?, 'Orbis')`, [server, server]);
});
afterAll(() => database.drop());

const run = <T>(sql: string, bindings: readonly unknown[] = []) => query<T>(database.db, sql, bindings);
const names = async () =>
  (await run<{ line: string }>('select log_line as line from hytale_server_logs order by id')).map(({ line }) => line);
const deleteOlder = async (days: number) => (await purgeServerLogs(database.db, { days, batch: 10, from: null })).rows;
/** Lines by name, with SQL for the time at which they were stored and for the one at which they were written. */
async function fill(lines: Readonly<Record<string, [created: string, written: string]>>): Promise<void> {
  await run('delete from hytale_server_logs');
  for (const [line, [created, written]] of Object.entries(lines)) {
    await run(
      `insert into hytale_server_logs (server_uuid, account_id, log_line, created_at, log_timestamp) values (?, '', ?, ${created}, ${written})`,
      [server, line],
    );
  }
}

test('lines are deleted by the time at which they were stored, oldest first, at most a batch at once', async () => {
  await fill({
    old: [`now() - interval '31 days'`, 'now()'],
    older: [`now() - interval '33 days'`, 'null'],
    young: [`now() - interval '29 days'`, `now() - interval '90 days'`],
    oldest: [`now() - interval '90 days'`, 'now()'],
    new: ['now()', 'now()'],
  });
  const first = await purgeServerLogs(database.db, { days: 30, batch: 2, from: null });
  expect(first.rows).toBe(2);
  expect(await names()).toEqual(['old', 'young', 'new']);
  // A batch does not look at what the one before has passed.
  await run(
    `insert into hytale_server_logs (server_uuid, account_id, log_line, created_at) values (?, '', 'passed', now() - interval '80 days')`,
    [server],
  );
  expect(await purgeServerLogs(database.db, { days: 30, batch: 2, from: first.reached })).toMatchObject({ rows: 1 });
  expect(await names()).toEqual(['young', 'new', 'passed']);
  expect(await deleteOlder(30)).toBe(1);
  expect(await deleteOlder(30)).toBe(0);
  expect(await names()).toEqual(['young', 'new']);
});

test('lines that do not say when they were stored expire by their own time, or from now on', async () => {
  await fill({
    old: ['null', `now() - interval '31 days'`],
    young: ['null', `now() - interval '29 days'`],
    undated: ['null', 'null'],
    ahead: ['null', `now() + interval '10 years'`],
    dated: ['now()', 'null'],
  });
  expect(await dateServerLogs(database.db, 3)).toBe(3);
  expect(await dateServerLogs(database.db, 3)).toBe(1);
  expect(await dateServerLogs(database.db, 3)).toBe(0);
  expect(await deleteOlder(30)).toBe(1);
  expect(await names()).toEqual(['young', 'undated', 'ahead', 'dated']);
  expect(await deleteOlder(-1)).toBe(4);
});

test('gaps go with the line after them, consoles with their server', async () => {
  await fill({ kept: ['now()', 'now()'] });
  const [line] = await run<{ id: string }>('select id from hytale_server_logs');
  await run(
    `insert into hytale_log_gaps (server_uuid, after_id, before_id, reason) values
       (?, 1, ?, 'kept'), (?, 1, 2, 'gone'), ('no server', null, 3, 'gone')`,
    [server, line?.id, server],
  );
  await run(`insert into hytale_consoles (server_uuid) values (?), ('a'), ('b'), ('c')`, [server]);
  expect([await purgeLogGaps(database.db, 1), await purgeLogGaps(database.db, 5)]).toEqual([1, 1]);
  expect(await run('select reason from hytale_log_gaps')).toEqual([{ reason: 'kept' }]);
  expect([await purgeConsoles(database.db, 2), await purgeConsoles(database.db, 2)]).toEqual([2, 1]);
  expect(await run('select server_uuid from hytale_consoles')).toEqual([{ server_uuid: server }]);
});

test('the nightly maintenance deletes in batches until nothing is left, and keeps what is younger', async () => {
  await run('delete from hytale_server_logs');
  await run(
    `insert into hytale_server_logs (server_uuid, account_id, log_line, created_at)
     select ?, '', case when n > 3 then 'old' else 'young' end,
            case when n < 3 then now() - interval '6 days' when n > 3 then now() - interval '8 days' end
       from generate_series(1, 1203) n`,
    [server],
  );
  const { purgePastRetention } = createMaintenanceActivities({
    db: database.db,
    launcher: {} as SyncLauncher,
    keepLiveMirror: async () => undefined,
    retentionDays: 30,
    auditRetentionDays: 365,
    hytaleLogRetentionDays: 7,
  });
  const nightly = () => new MockActivityEnvironment().run(purgePastRetention);
  expect(await nightly()).toMatchObject({
    hytaleUndatedLines: 1,
    hytaleLines: 1_200,
    hytaleLogGaps: 1,
    hytaleConsoles: 0,
  });
  expect(await names()).toEqual(['young', 'young', 'young']);
  expect(await nightly()).toMatchObject({ hytaleUndatedLines: 0, hytaleLines: 0, hytaleLogGaps: 0, hytaleConsoles: 0 });
});
