/** The outbox: rows are written with their transaction, dispatched in order, and postponed when they fail. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import {
  dueRows,
  enqueue,
  lockRelay,
  markDispatched,
  outboxBacklog,
  postpone,
  purgeOutbox,
} from '../../../src/store/outbox-store.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';
import { query } from '../../support/merge.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 10 });
});
afterEach(() => database.drop());

const put = (key: string, kind = 'test') =>
  inTransaction(database.db, (trx) => enqueue(trx, { kind, dedupeKey: key, payload: { key } }));
const due = async (kinds = ['test'], limit = 100) =>
  (await dueRows(database.db, kinds, limit)).map((row) => String(row.payload['key']));
const idOf = async (key: string): Promise<string> => {
  const [row] = await query(database.db, 'select o.id from outbox o where o.dedupe_key = ?', [key]);
  return String(row?.['id']);
};
const stateOf = async (key: string) =>
  (
    await query(
      database.db,
      `select o.status, o.attempts, o.last_error as error, extract(epoch from o.available_at - now())::float8 as wait,
         o.dispatched_at is not null as dispatched
       from outbox o where o.dedupe_key = ?`,
      [key],
    )
  )[0];
const makeDue = () => query(database.db, 'update outbox set available_at = now()');

describe('writing', () => {
  test('a second row with the same key is not written, also by a concurrent transaction', async () => {
    await Promise.all(Array.from({ length: 5 }, () => put('once')));
    await put('once');
    expect(await due()).toEqual(['once']);
  });

  test('a transaction that is rolled back leaves no row and no notification', async () => {
    const notifications: string[] = [];
    const listener = createListener({ connectionString: database.url, log: quiet });
    try {
      listener.on('outbox', (payload) => notifications.push(payload));
      await expect.poll(listener.connected).toBe(true);
      const undone = inTransaction(database.db, async (trx) => {
        await enqueue(trx, { kind: 'test', dedupeKey: 'undone', payload: {} });
        throw new Error('undone');
      });
      await expect(undone).rejects.toThrow('undone');
      await inTransaction(database.db, async (trx) => {
        await enqueue(trx, { kind: 'test', dedupeKey: 'kept', payload: { key: 'kept' } });
        // The transaction is open: no listener is notified, and no other connection sees the row.
        expect(await due()).toEqual([]);
        expect(notifications).toEqual([]);
      });
      await expect.poll(() => notifications).toEqual(['']);
      expect(await due()).toEqual(['kept']);
    } finally {
      await listener.close();
    }
  });
});

describe('dispatch', () => {
  test('reads due rows in the order of writing, of the given kinds, up to the limit', async () => {
    for (const key of ['c', 'a', 'b']) await put(key);
    await put('other', 'other');
    expect(await due()).toEqual(['c', 'a', 'b']);
    expect(await due(['test'], 2)).toEqual(['c', 'a']);
    expect(await due(['other', 'test'])).toEqual(['c', 'a', 'b', 'other']);
    expect(await due([])).toEqual([]);
  });

  test('one relay has the lock, until its transaction ends by commit or rollback', async () => {
    const first = await openTransaction(database.db);
    expect(await lockRelay(first)).toBe(true);
    expect(await inTransaction(database.db, (trx) => lockRelay(trx))).toBe(false);
    await first.rollback();
    expect(await inTransaction(database.db, (trx) => lockRelay(trx))).toBe(true);
    expect(await inTransaction(database.db, (trx) => lockRelay(trx))).toBe(true);
  });

  test('a dispatched row is no longer due, and its last error is cleared', async () => {
    await put('a');
    await put('b');
    await postpone(database.db, await idOf('a'), 'TypeError');
    await makeDue();
    await markDispatched(database.db, [await idOf('a')]);
    await markDispatched(database.db, []);
    expect(await stateOf('a')).toMatchObject({ status: 'dispatched', attempts: 2, error: null, dispatched: true });
    expect(await due()).toEqual(['b']);
  });
});

describe('a row that fails', () => {
  test('waits longer each time, at most ten minutes, and is failed after its last attempt', async () => {
    await put('bad');
    await put('good');
    const id = await idOf('bad');
    const waits: number[] = [];
    for (let i = 0; i < 19; i += 1) {
      await postpone(database.db, id, 'TypeError');
      const state = await stateOf('bad');
      expect(state).toMatchObject({ status: 'pending', attempts: i + 1, error: 'TypeError' });
      waits.push(Number(state?.['wait']));
      expect(await due()).toEqual(['good']);
    }
    // The time between the two statements shortens each wait.
    expect(waits.map((wait) => Math.ceil(wait))).toEqual(Array.from({ length: 19 }, (_, i) => Math.min(600, 2 ** i)));
    await postpone(database.db, id, 'TypeError');
    await makeDue();
    expect(await stateOf('bad')).toMatchObject({ status: 'failed', attempts: 20 });
    expect(await due()).toEqual(['good']);
  });

  test('is counted in the backlog by kind', async () => {
    for (const key of ['a', 'b', 'c']) await put(key);
    await put('x', 'other');
    await query(database.db, `update outbox set created_at = now() - interval '90 s' where dedupe_key = 'b'`);
    await query(database.db, `update outbox set status = 'failed' where dedupe_key = 'x'`);
    await markDispatched(database.db, [await idOf('a')]);
    const backlog = await outboxBacklog(database.db);
    expect(backlog.map((row) => ({ ...row, oldestSeconds: Math.floor(row.oldestSeconds / 30) * 30 }))).toEqual([
      { kind: 'other', pending: 0, failed: 1, oldestSeconds: 0 },
      { kind: 'test', pending: 2, failed: 0, oldestSeconds: 90 },
    ]);
  });
});

test('old rows are deleted in batches, also pending ones', async () => {
  for (const key of ['a', 'b', 'c', 'young']) await put(key);
  await markDispatched(database.db, [await idOf('a')]);
  await query(
    database.db,
    `update outbox set created_at = now() - interval '31 days' where dedupe_key in ('a', 'b', 'c')`,
  );
  expect(await purgeOutbox(database.db, 30, 2)).toBe(2);
  expect(await purgeOutbox(database.db, 30, 2)).toBe(1);
  expect(await purgeOutbox(database.db, 30, 2)).toBe(0);
  expect(await due()).toEqual(['young']);
});
