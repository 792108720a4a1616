/** Staging: pages as they were read, whether they are whole and their sums for progress. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mapNests, mapNodeAllocations, mapNodes, mapUsers } from '../../../src/domain/panel/records.ts';
import { listingRef } from '../../../src/domain/sync/source-ref.ts';
import type { Entity } from '../../../src/domain/sync/targets.ts';
import { getSyncLog } from '../../../src/store/sync/log-store.ts';
import { writeProgress, writeProgressRow } from '../../../src/store/sync/progress-store.ts';
import { verifySource } from '../../../src/store/sync/source-check.ts';
import { flushPages, stagePage } from '../../../src/store/sync/staging-store.ts';
import { createTestDatabase, openTestDb, type TestDatabase, type TestDb } from '../../support/database.ts';
import { type HandRun, openTestRun, query } from '../../support/merge.ts';

let database: TestDatabase;
let run: HandRun;
beforeEach(async () => {
  database = await createTestDatabase({ max: 8 });
  run = await openTestRun(database.db);
});
afterEach(() => database.drop());

const item = (id: unknown, values: Record<string, unknown> = {}) => ({
  object: 'user',
  attributes: { id, email: `u${String(id)}@example.net`, ...values },
});
/** A page of users with these ids. */
const page = (
  number: number,
  ids: unknown[],
  options: { total?: number; perPage?: number; pass?: number; bad?: number[]; commitLater?: boolean } = {},
) =>
  stagePage(database.db, {
    logId: run.logId,
    source: listingRef('users'),
    pass: options.pass ?? 1,
    page: number,
    total: options.total ?? 5,
    perPage: options.perPage ?? 2,
    commitLater: options.commitLater ?? false,
    mapped: mapUsers(ids.map((id) => item(id, options.bad?.includes(Number(id)) ? { email: '' } : {}))),
  });
/** A page of two users. */
const at = (page: number) => ({ page, size: 2 });
const verdict = (pass = 1) => verifySource(database.db, { logId: run.logId, source: listingRef('users'), pass });

describe('a source is', () => {
  test('complete when the records of its pages are as many as the total; rejected records count', async () => {
    await page(1, [1, 2]);
    await page(3, [5]);
    await page(2, [3, 4], { bad: [4] });
    expect(await verdict()).toMatchObject({ complete: true, reason: 'complete', pages: 3, total: 5, distinct: 5 });
  });

  test('complete when it is empty', async () => {
    await page(1, [], { total: 0 });
    expect(await verdict()).toMatchObject({ complete: true, pages: 1, total: 0 });
  });

  test('missing pages that are not staged, and pages that were added since', async () => {
    await page(1, [1, 2]);
    expect(await verdict()).toMatchObject({ complete: false, reason: 'missing', missingPages: [at(2), at(3)] });
    await page(2, [3, 4]);
    await page(3, [5], { total: 7 });
    expect(await verdict()).toMatchObject({ complete: false, reason: 'missing', missingPages: [at(4)] });
  });

  test('moved, but read, when its total fell and no record is lacking', async () => {
    await page(1, [1, 2]);
    await page(2, [3, 4]);
    await page(3, [5], { total: 4 });
    expect(await verdict()).toMatchObject({ complete: false, reason: 'moved' });
  });

  test.each([
    ['a record is there twice', [1, 2], [2, 3], [5]],
    ['there are fewer records than the total says', [1, 2], [3, 4], []],
  ])('lacking records when %s and so another is not there', async (_, ...pages) => {
    for (const [i, ids] of pages.entries()) await page(i + 1, ids);
    expect(await verdict()).toMatchObject({ complete: false, reason: 'lacking' });
  });

  test('complete with records without a readable id: they are part of the sum (1.10)', async () => {
    await page(1, [1, 2]);
    await page(2, ['x', 'y']);
    await page(3, [5]);
    expect(await verdict()).toMatchObject({ complete: true, distinct: 3, unreadable: 2 });
  });

  test('complete when pages were read in parts, and missing where a part is', async () => {
    const part = (number: number, size: number, ids: unknown[]) => page(number, ids, { total: 10, perPage: size });
    await part(1, 4, [1, 2, 3, 4]);
    await part(3, 2, [5, 6]);
    await part(3, 4, [9, 10]);
    expect(await verdict()).toMatchObject({ reason: 'missing', missingPages: [{ page: 2, size: 4 }] });
    await part(7, 1, [7]);
    await part(8, 1, ['unreadable']);
    expect(await verdict()).toMatchObject({ complete: true, pages: 3, total: 10, distinct: 9, unreadable: 1 });
  });

  test('moved when pages have different lengths', async () => {
    await page(1, [1, 2]);
    await page(2, [3, 4, 5], { perPage: 3 });
    expect((await verdict()).complete).toBe(false);
  });

  test('ignored when the panel sends the same page again', async () => {
    await page(1, [1, 2]);
    await page(2, [1, 2]);
    await page(3, [1]);
    expect(await verdict()).toMatchObject({ complete: false, reason: 'ignored' });
  });

  test('judged by one pass: pages of an older pass do not count', async () => {
    await page(1, [1, 2]);
    await page(2, [3, 4]);
    await page(3, [5]);
    await page(1, [1, 2], { pass: 2, total: 3 });
    expect(await verdict(2)).toMatchObject({ reason: 'missing', missingPages: [at(2)] });
    await page(2, [3], { pass: 2, total: 3 });
    expect(await verdict(2)).toMatchObject({ complete: true, total: 3 });
  });
});

describe('pages', () => {
  test('100,000 allocations over 200 nodes are stored whole', async () => {
    const nodes = Array.from({ length: 200 }, (_, n) => ({
      object: 'node',
      attributes: {
        id: n + 1,
        uuid: `u${n}`,
        name: 'n',
        location_id: 1,
        relationships: {
          allocations: {
            object: 'list',
            data: Array.from({ length: 500 }, (__, i) => ({
              object: 'allocation',
              attributes: { id: n * 500 + i + 1, ip: '1.1.1.1', port: i, assigned: false },
            })),
          },
        },
      },
    }));
    await stagePage(database.db, {
      logId: run.logId,
      source: listingRef('nodes'),
      pass: 1,
      page: 1,
      total: 200,
      perPage: 200,
      mapped: mapNodes(nodes, true),
    });
    expect(
      await query(
        database.db,
        `select count(*)::int as parts, sum(rows)::int as n from sync_pages where entity = 'allocations'`,
      ),
    ).toEqual([{ parts: 200, n: 100_000 }]);
  });

  test('are replaced when they are staged again', async () => {
    await page(1, [1, 2]);
    await page(1, [1]);
    expect(await query(database.db, 'select rows from sync_pages')).toEqual([{ rows: 1 }]);
  });

  test('a node that is read alone is judged by its own pages', async () => {
    const node = (n: number, ids: number[]) =>
      stagePage(database.db, {
        logId: run.logId,
        source: { kind: 'node', id: 7 },
        pass: 1,
        page: n,
        total: 3,
        perPage: 2,
        mapped: mapNodeAllocations(
          ids.map((id) => ({ object: 'a', attributes: { id, ip: '1.1.1.1', port: id } })),
          7,
        ),
      });
    const judge = () => verifySource(database.db, { logId: run.logId, source: { kind: 'node', id: 7 }, pass: 1 });
    await node(1, [1, 2]);
    expect(await judge()).toMatchObject({ complete: false, missingPages: [at(2)] });
    await node(2, [3]);
    expect(await judge()).toMatchObject({ complete: true });
  });
});

describe('progress', () => {
  const entities = ['users'] as const;
  const progress = async () => {
    const log = await getSyncLog(database.db, run.logId);
    return {
      version: Number(log?.metadata['version']),
      step: log?.metadata['step'],
      percentage: log?.metadata['percentage'],
      synced: log?.itemsSynced,
      total: log?.itemsTotal,
    };
  };

  test('is computed from staging, counts a page once, and is written at most four times per second', async () => {
    await page(1, [1, 2]);
    await writeProgress(database.db, { logId: run.logId, entities, unread: entities, force: true });
    await page(1, [1, 2]);
    await writeProgress(database.db, { logId: run.logId, entities, unread: entities, force: true });
    const first = await progress();
    expect(first).toMatchObject({ step: 'users', percentage: 40, synced: 2, total: 5 });
    for (let i = 0; i < 20; i += 1)
      await writeProgress(database.db, { logId: run.logId, entities, unread: entities, force: false });
    expect((await progress()).version).toBeLessThanOrEqual(first.version + 2);
  });

  test('a step is announced when all of it is read, once, however many report it; what was read in an earlier pass does not count', async () => {
    const message = async () => (await getSyncLog(database.db, run.logId))?.metadata['lastMessage'];
    const report = (unread: readonly Entity[]) =>
      writeProgress(database.db, { logId: run.logId, entities: ['servers', 'users'], unread, force: true });
    // The last page is staged before the first.
    await page(3, [5]);
    await report(['users']);
    expect(await message()).toBe('✓ Synced 0 servers');
    await report(['users']);
    expect(await message()).toMatch(/^Processing page .*\(1\/5 users\)$/);
    await page(1, [1, 2, 3], { perPage: 3, pass: 2 });
    await page(2, [4, 5], { perPage: 3, pass: 2 });
    const before = await progress();
    await Promise.all([report([]), report([]), report([])]);
    expect(await message()).toBe('✓ Synced 5 users');
    expect((await progress()).version).toBe(before.version + 1);
  });

  test('never goes back, and does not touch a cancelled or closed row', async () => {
    const at = (progress: number, runProcessed: number) =>
      writeProgressRow(
        database.db,
        run.logId,
        {
          step: 'users',
          progress,
          percentage: 1,
          itemsTotal: 1,
          itemsProcessed: 1,
          lastMessage: 'x',
          runTotal: 9,
          runProcessed,
        },
        0,
      );
    await at(75, 8);
    const before = await getSyncLog(database.db, run.logId);
    await at(60, 3);
    expect(await getSyncLog(database.db, run.logId)).toEqual(before);
    await database.db.raw('update sync_logs set "cancelledAt" = now()');
    const cancelled = await getSyncLog(database.db, run.logId);
    await at(92, 9);
    expect(await getSyncLog(database.db, run.logId)).toEqual(cancelled);
  });
});

test('records without an id are counted, each once, also where the page has several lists of their kind', async () => {
  const egg = (id: unknown) => ({ object: 'egg', attributes: { id, uuid: `e${String(id)}`, name: 'egg' } });
  const nest = (id: number, eggs: unknown[]) => ({
    object: 'nest',
    attributes: { id, uuid: `n${id}`, name: 'nest', relationships: { eggs: { object: 'list', data: eggs } } },
  });
  await stagePage(database.db, {
    logId: run.logId,
    source: listingRef('nests'),
    pass: 1,
    page: 1,
    total: 2,
    perPage: 100,
    mapped: mapNests([nest(1, [egg('x'), egg(1)]), nest(2, [egg(2), egg(null)])], true),
  });
  await page(1, [1, null, 'x', undefined], { total: 4, perPage: 4 });
  const counted = await query(
    database.db,
    'select entity, sum(unreadable)::int as n from sync_pages where unreadable > 0 group by 1 order by 1',
  );
  expect(counted).toEqual([
    { entity: 'eggs', n: 2 },
    { entity: 'users', n: 3 },
  ]);
});

describe('pages that need not wait for the disk', () => {
  let waiting: TestDb;
  // The tests' server waits for nothing.
  beforeEach(async () => {
    await query(database.db, `alter database ${new URL(database.url).pathname.slice(1)} set synchronous_commit = 'on'`);
    waiting = openTestDb({ connectionString: database.url, applicationName: 'test' });
  });
  afterEach(() => waiting.destroy());

  const stage = (number: number, commitLater: boolean) =>
    stagePage(waiting, {
      logId: run.logId,
      source: listingRef('users'),
      pass: 1,
      page: number,
      total: 3,
      perPage: 1,
      commitLater,
      mapped: mapUsers([item(number)]),
    });
  /** Where PostgreSQL goes on in its log, and whether it has flushed it up to there. */
  const placeInLog = async () => {
    const [row] = await query(database.db, 'select pg_current_wal_insert_lsn()::text as place');
    return String(row?.['place']);
  };
  const isFlushed = async (place: string) => {
    const [row] = await query(database.db, 'select pg_current_wal_flush_lsn() >= ?::pg_lsn as flushed', [place]);
    return row?.['flushed'];
  };

  test('are on it after the next page that waits, or after a flush', async () => {
    await stage(1, true);
    const afterFirst = await placeInLog();
    await stage(2, false);
    expect(await isFlushed(afterFirst)).toBe(true);
    await stage(3, true);
    const afterThird = await placeInLog();
    await flushPages(waiting, run.logId);
    expect(await isFlushed(afterThird)).toBe(true);
    expect(await verdict()).toMatchObject({ complete: true });
  });

  test('do not make later statements of their connection hurry', async () => {
    await stage(1, true);
    for (let i = 0; i < 4; i += 1)
      expect(await query(waiting, `select current_setting('synchronous_commit') as waits`)).toEqual([{ waits: 'on' }]);
  });
});

test('progress reads the staged pages once, also when the planner takes them for none', async () => {
  await query(database.db, 'analyze sync_pages');
  await page(1, [1, 2]);
  const seen: { sql: string; bindings: readonly unknown[] }[] = [];
  database.db.on('query', (sent: { sql: string; bindings: readonly unknown[] }) => seen.push(sent));
  await writeProgress(database.db, { logId: run.logId, entities: ['users'], unread: ['users'], force: true });
  const summary = seen.find(({ sql }) => sql.includes('sync_pages'));
  const { rows } = (await database.db.raw(`explain ${summary?.sql.replace(/\$\d+/g, '?')}`, [
    ...((summary?.bindings ?? []) as string[]),
  ])) as { rows: Record<string, string>[] };
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n');
  expect(plan.match(/on sync_pages/g)).toHaveLength(1);
  expect(plan).not.toContain('Nested Loop');
});
