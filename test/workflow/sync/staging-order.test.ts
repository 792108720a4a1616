/** Late pages and repeated batches in staging: what the reader relies on. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listingRef } from '../../../src/domain/sync/source-ref.ts';
import { insertPendingLog, openRun } from '../../../src/store/sync/run-store.ts';
import { stagedPages, stagePage } from '../../../src/store/sync/staging-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

describe('staging', () => {
  const stage = (pass: number, rows: number) =>
    stagePage(database.db, {
      logId: 'log',
      source: listingRef('users'),
      pass,
      page: 1,
      total: rows,
      perPage: 100,
      mapped: {
        parts: [
          {
            entity: 'users',
            parent: null,
            gaps: false,
            rows: Array.from({ length: rows }, (_, i) => ({ panelId: i + 1 })),
          },
        ],
        rejected: [],
        rejectedWithoutId: [],
        missingIncludes: [],
      },
    });
  const staged = (pass: number) =>
    stagedPages(database.db, { logId: 'log', source: listingRef('users'), pass, pages: [1], size: 100, include: '' });

  test('a page of an earlier pass that comes late replaces nothing; one of the same or a later pass does', async () => {
    const { db } = database;
    await insertPendingLog(db, 'log', {
      target: 'full',
      dryRun: false,
      skipUsers: false,
      requestedBy: 'test',
      requester: 'api',
    });
    await openRun(db, { logId: 'log', runId: 'run', reopen: false });
    expect(await stage(2, 5)).toBe('staged');
    expect(await stage(1, 9)).toBe('staged');
    expect(await staged(1)).toEqual([]);
    expect(await staged(2)).toMatchObject([{ page: 1, rows: 5 }]);
    await stage(2, 6);
    expect(await staged(2)).toMatchObject([{ page: 1, rows: 6 }]);
    await stage(3, 7);
    expect(await staged(2)).toEqual([]);
    expect(await staged(3)).toMatchObject([{ page: 1, rows: 7 }]);
  });
});
