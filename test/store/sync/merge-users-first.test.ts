/** The accounts of a large merge are written before the rest, in short transactions, so that no sign-in waits for a merge. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mergeRun } from '../../../src/store/sync/merge/merge.ts';
import { markCancelled } from '../../../src/store/sync/run-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, type HandPanel, mergeHand, openTestRun, query, stageHand } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterEach(() => database.drop());

const COUNT = 2_500;
/** So many users, all with this name. */
const named = (name: string): HandPanel =>
  change({ users: Array.from({ length: COUNT }, (_, i) => ({ id: i + 1, username: `${name} ${i + 1}` })) });
const rows = (sql: string) => query(database.db, sql);
const numberOf = async (name: string) =>
  (await rows(`select count(*)::int as n from users where username like '${name} %'`))[0]?.['n'];

/** A run with everything staged, whose servers cannot be written while the lock is held. */
async function held(panel: HandPanel) {
  const run = await openTestRun(database.db);
  const plan = await stageHand(database.db, run, panel);
  const lock = await database.db.transaction();
  await lock.raw('lock table locations in share mode');
  const merge = (key = 'key') =>
    mergeRun(database.db, { logId: run.logId, key, dryRun: false, allowMassPrune: false, ...plan });
  return { ...run, merge, release: () => lock.rollback() };
}
const until = async (check: () => Promise<boolean>) => {
  while (!(await check())) await new Promise((resolve) => setTimeout(resolve, 20));
};

test('they are written and free while the rest is being written, and are counted once (1.13)', async () => {
  await mergeHand(database.db, named('old'));
  const run = await held({
    ...named('new'),
    locations: [
      { id: 1, short: 'renamed' },
      { id: 2, short: 'b' },
    ],
  });
  const merging = run.merge();
  // The merge waits for the lock on locations; every account is changed and can be signed in to.
  await until(async () => (await numberOf('new')) === COUNT);
  await database.db.raw(`set lock_timeout = '1s'; update users set "lastLoginAt" = now()`);
  expect(await rows(`select "shortCode" as s from locations where id = 1`)).toEqual([{ s: 'a' }]);
  await run.release();
  expect((await merging).counts).toMatchObject({
    users: { created: 0, updated: COUNT, unchanged: 0, failed: 0 },
    locations: { updated: 1 },
  });
});

test('a cancel in between is heard: nothing is written after it, and the rest of the mirror stays as it was', async () => {
  await mergeHand(database.db, named('old'));
  const run = await held({
    ...named('new'),
    locations: [
      { id: 1, short: 'renamed' },
      { id: 2, short: 'b' },
    ],
  });
  const merging = run.merge();
  await until(async () => (await numberOf('new')) === COUNT);
  await markCancelled(database.db, run.logId);
  await run.release();
  expect((await merging).status).toBe('cancelled');
  expect(await rows(`select "shortCode" as s from locations where id = 1`)).toEqual([{ s: 'a' }]);
});

test('a merge that is repeated after a crash reports the accounts that were written before it', async () => {
  await mergeHand(database.db, named('old'));
  const run = await held(named('new'));
  const first = run.merge();
  await until(async () => (await numberOf('new')) === COUNT);
  // The connection of the merge is lost while it waits.
  await database.db.raw(
    `select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database() and pid <> pg_backend_pid()`,
  );
  await run.release();
  await first.catch(() => undefined);
  expect((await run.merge()).counts.users).toMatchObject({ created: 0, updated: COUNT, unchanged: 0 });
});

test('one that the database refuses is found, and the others are written', async () => {
  await mergeHand(database.db, named('old'));
  await database.db.raw(`alter table users add constraint odd check (username <> 'new 1700')`);
  const outcome = await mergeHand(database.db, named('new'));
  expect(outcome.failures).toMatchObject([{ entity: 'users', panelId: '1700', code: 'DB_REFUSED' }]);
  expect(outcome.counts.users).toMatchObject({ updated: COUNT - 1, failed: 1 });
  expect(await numberOf('new')).toBe(COUNT - 1);
});

test('addresses that change hands go over, also between two transactions', async () => {
  const rotated = (by: number): HandPanel =>
    change({
      users: Array.from({ length: COUNT }, (_, i) => ({ id: i + 1, email: `u${(i + by) % COUNT}@example.net` })),
    });
  await mergeHand(database.db, rotated(0));
  expect(await mergeHand(database.db, rotated(1))).toMatchObject({
    failures: [],
    counts: { users: { updated: COUNT } },
  });
  expect(
    await rows(
      `select count(*)::int as n from users where email = 'u' || ("pterodactylId" % ${COUNT}) || '@example.net'`,
    ),
  ).toEqual([{ n: COUNT }]);
  expect(await mergeHand(database.db, HAND_PANEL, { allowMassPrune: true })).toMatchObject({ status: 'merged' });
});
