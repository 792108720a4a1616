/** `db migrate` can refuse a table or function of the site only when the migration says what it creates (ADR 11). */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ownObjects } from '../../../src/store/db/migration-steps.ts';
import { OWN_TABLES } from '../../../src/store/db/migrations.ts';

const FOLDER = new URL('../../../migrations/', import.meta.url);
const own = readdirSync(FOLDER).filter((file) => /^\d{14}_(?!schema_)\w+\.ts$/.test(file));

test.each(own)('%s names the tables and functions that it creates (A1)', async (file) => {
  const source = readFileSync(new URL(file, FOLDER), 'utf8');
  const created = [...source.matchAll(/defineTable\(\s*'(\w+)'|\bcreate table (?:if not exists )?"?(\w+)/g)];
  expect(OWN_TABLES[file] ?? []).toEqual(created.map(([, defined, plain]) => defined ?? plain));
  const { tables, functions } = await ownObjects(file, OWN_TABLES[file] ?? []);
  for (const table of tables)
    expect(table.columns?.length, `${table.name} is not in the exported TABLES`).toBeGreaterThan(0);
  const names = [...source.matchAll(/\bcreate (?:or replace )?function (\w+)/g)].map(([, name]) => name);
  expect(functions.map(({ signature }) => signature.replace(/\(.*/, ''))).toEqual(names);
});

test.each(own)('%s is rolled back by what was recorded (A3)', (file) => {
  const source = readFileSync(new URL(file, FOLDER), 'utf8');
  const down = source.slice(source.indexOf('function down'));
  expect(down).not.toMatch(/\bdrop (?:table|column|index|function|trigger|constraint)\b/);
});
