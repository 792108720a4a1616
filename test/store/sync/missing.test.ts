/** Which mirrored rows a listing did not contain, and the answers of the panel about them. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { mapNodeAllocations, mapServers, mapUsers } from '../../../src/domain/panel/records.ts';
import { listingRef, type SourceRef } from '../../../src/domain/sync/source-ref.ts';
import type { ConfirmedEntity } from '../../../src/domain/sync/targets.ts';
import { findMissing, forgetRenumbered, nextQuestions, storeAnswers } from '../../../src/store/sync/missing-store.ts';
import { closeRun } from '../../../src/store/sync/run-store.ts';
import { stagePage } from '../../../src/store/sync/staging-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, type HandRun, handUuid, mergeHand, openTestRun, query } from '../../support/merge.ts';

let database: TestDatabase;
let run: HandRun;
beforeEach(async () => {
  database = await createTestDatabase({ max: 8 });
  const servers = Array.from({ length: 30 }, (_, i) => ({ id: i + 1, user: 1, node: 1, egg: 1, nest: 1 }));
  await mergeHand(database.db, change({ servers, databases: [], subusers: [] }));
  run = await openTestRun(database.db);
});
afterEach(() => database.drop());

const SERVERS = listingRef('servers');
const stage = (source: SourceRef, page: number, total: number, mapped: Parameters<typeof stagePage>[1]['mapped']) =>
  stagePage(database.db, { logId: run.logId, source, pass: 1, page, total, perPage: 2, mapped });
const server = (id: number, values: Record<string, unknown> = {}) => ({
  object: 'server',
  attributes: { id, uuid: handUuid.server(id), identifier: `s${id}`, name: `server ${id}`, ...values },
});
const find = (entity: ConfirmedEntity, source: SourceRef) =>
  findMissing(database.db, { logId: run.logId, source, pass: 1, entity });
const questions = (entity: ConfirmedEntity, after = 0, limit = 100) =>
  nextQuestions(database.db, { logId: run.logId, entity, after, limit });

test('a server is missing that a sync wrote and no page contains; rejected records and rows of others are not', async () => {
  await database.db.raw(`update servers set "panelType" = 'virtfusion' where "pterodactylId" = 30`);
  await stage(SERVERS, 1, 2, mapServers([server(1), server(2, { name: ['odd'] })], []));
  expect(await find('servers', SERVERS)).toEqual({ missing: 27, present: 29 });
  const first = await questions('servers', 0, 25);
  expect(first.map((q) => q.panelId)).toEqual(Array.from({ length: 25 }, (_, i) => i + 3));
  expect(first[0]).toEqual({ panelId: 3, uuid: handUuid.server(3), parent: null, port: null });
  expect((await questions('servers', 27)).map((q) => q.panelId)).toEqual([28, 29]);
});

test('what the panel said of a row is asked once, and forgotten when the listing is read again', async () => {
  await stage(
    SERVERS,
    1,
    28,
    mapServers(
      Array.from({ length: 28 }, (_, i) => server(i + 1)),
      [],
    ),
  );
  expect(await find('servers', SERVERS)).toMatchObject({ missing: 2 });
  await storeAnswers(database.db, { logId: run.logId, entity: 'servers', answers: [{ panelId: 29, alive: false }] });
  expect((await questions('servers')).map((q) => q.panelId)).toEqual([30]);
  expect(await find('servers', SERVERS)).toMatchObject({ missing: 2 });
  expect((await questions('servers')).map((q) => q.panelId)).toEqual([29, 30]);
});

test('a listing that moved while it was read does not keep missing rows from being found', async () => {
  // The total fell from 30 to 28 between the pages.
  await stage(SERVERS, 1, 30, mapServers([server(1), server(2)], []));
  await stage(SERVERS, 2, 28, mapServers([server(3), server(4)], []));
  expect(await find('servers', SERVERS)).toMatchObject({ missing: 26 });
});

test('servers whose ids have shifted against their uuids are not missing', async () => {
  await stage(
    SERVERS,
    1,
    30,
    mapServers(
      Array.from({ length: 29 }, (_, i) => server(i + 101, { uuid: handUuid.server(i + 1) })),
      [],
    ),
  );
  const key = { logId: run.logId, source: SERVERS, pass: 1, entity: 'servers' as const };
  expect(await findMissing(database.db, key)).toMatchObject({ missing: 30 });
  expect(await forgetRenumbered(database.db, key)).toBe(1);
  expect((await questions('servers')).map((q) => q.panelId)).toEqual([30]);
});

test('users that left the panel are missing, too, and are asked for by their uuid', async () => {
  const linked = await query(
    database.db,
    `select "pterodactylId" as id from users where "pterodactylId" is not null order by 1`,
  );
  await database.db.raw(
    `update users set "pterodactylUuid" = 'c0ffee00-0000-4000-8000-000000000002' where "pterodactylId" = 2`,
  );
  const listing = listingRef('users');
  await stage(listing, 1, 1, mapUsers([{ object: 'user', attributes: { id: 1, email: 'u1@example.net' } }]));
  expect(await find('users', listing)).toEqual({ missing: linked.length - 1, present: linked.length });
  expect((await questions('users'))[0]).toMatchObject({ panelId: 2, uuid: 'c0ffee00-0000-4000-8000-000000000002' });
});

test('allocations are missing of the node that was read by itself, each with its node and port', async () => {
  const stored = await query(database.db, `select id, port from allocations where "nodeId" = 1 order by id`);
  const [kept, ...rest] = stored;
  const node: SourceRef = { kind: 'node', id: 1 };
  await stage(
    node,
    1,
    3,
    mapNodeAllocations(
      [{ object: 'allocation', attributes: { id: kept?.['id'], ip: '10.0.0.1', port: kept?.['port'] } }],
      1,
    ),
  );
  expect(await find('allocations', node)).toEqual({ missing: rest.length, present: stored.length });
  expect(rest.length).toBeGreaterThan(0);
  expect(await questions('allocations')).toEqual(
    rest.map((row) => ({ panelId: row['id'], uuid: null, parent: 1, port: row['port'] })),
  );
});

test('the question which rows are missing is one pass over both sides, whatever the planner knows of the tables', async () => {
  await stage(SERVERS, 1, 30, mapServers([server(1), server(2)], []));
  let statement: { sql: string; bindings: unknown[] } | undefined;
  const listen = (q: { sql: string; bindings: unknown[] }) => {
    if (q.sql.includes('insert into sync_missing')) statement = q;
  };
  database.db.on('query', listen);
  await find('servers', SERVERS);
  database.db.removeListener('query', listen);
  const sql = statement?.sql.replaceAll(/\$\d+/g, '?') ?? '';
  const plan = await query(database.db, `explain (costs off) ${sql}`, (statement?.bindings ?? []) as never);
  const lines = plan.map((row) => String(row['QUERY PLAN'])).join('\n');
  expect(lines).toMatch(/(Hash|Group)Aggregate/);
  // An anti join or a set that is not hashed compares each row with each other one.
  expect(lines).not.toMatch(/Anti Join|SubPlan/);
});

test('nothing is noted for a run that was closed', async () => {
  await closeRun(database.db, { ...run, outcome: 'FAILED', metadata: {} });
  await expect(find('servers', SERVERS)).rejects.toMatchObject({ code: 'RUN_CLOSED' });
});
