/** What the mapping stages of odd records, PostgreSQL can read: one page that it refuses would end the whole merge. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StagedEntity } from '../../../src/domain/sync/columns.ts';
import { recordColumns } from '../../../src/store/sync/merge/tables.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { query } from '../../support/merge.ts';
import { itemsOf, spoiledAnswer } from '../../support/odd-records.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

test('PostgreSQL reads each row that the mapping leaves of a spoiled answer', async () => {
  const rows = new Map<StagedEntity, Record<string, unknown>[]>();
  for (const { body, map } of fc.sample(spoiledAnswer, Number(process.env['ODD_RECORDS_RUNS'] ?? 1_000))) {
    for (const part of map(itemsOf(body) ?? []).parts) {
      const staged = rows.get(part.entity) ?? [];
      staged.push(...part.rows);
      rows.set(part.entity, staged);
    }
  }
  expect(rows.size).toBe(11);
  for (const [entity, staged] of rows) {
    // The column of sync_pages has the type json.
    const sql = `select count(*)::int as n, count(x) as read from json_to_recordset(?::json) as x (${recordColumns(entity)})`;
    const [found] = await query(database.db, sql, [JSON.stringify(staged)]);
    expect([entity, found?.['n']]).toEqual([entity, staged.length]);
  }
});
