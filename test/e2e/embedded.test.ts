import { expect, test } from 'vitest';
import { createTestDatabase } from '../support/database.ts';
import { createTestNamespace } from '../support/temporal.ts';

test('a run has a migrated template and a Temporal server', async () => {
  const t = await createTestDatabase();
  const result = await t.db.raw<{ rows: { n: string }[] }>('select count(*) as n from pg_catalog.pg_tables where schemaname = ?', ['public']);
  await t.drop();
  expect(Number(result.rows[0]?.n)).toBeGreaterThan(30);
  expect(await createTestNamespace()).toMatch(/^test-/);
});
