/** A table is written by one folder of the store, so that its rules stand in one place. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ENTITIES } from '../../../src/domain/sync/targets.ts';
import { ENCRYPTED_TABLE_NAMES } from '../../../src/store/db/encrypted-columns.ts';
import { OWN_TABLES, UNITS } from '../../../src/store/db/migrations.ts';
import { MIRROR } from '../../../src/store/sync/merge/tables.ts';

const STORE = fileURLToPath(new URL('../../../src/store/', import.meta.url));
/** The merge takes its table names from a specification: `update ${table}`. */
const MERGE = 'sync';

/** The rotation of the encryption key takes its table names from a table, too. */
const ROTATION = 'db';

/** Tables that two folders write, and why. */
const ROTATED = 'the rotation stores the same values again with another key';
const SHARED: Readonly<Record<string, string>> = {
  config: ROTATED,
  discord_webhooks: ROTATED,
  emails: ROTATED,
  hytale_game_sessions: ROTATED,
  hytale_logins: ROTATED,
  hytale_oauth_tokens: ROTATED,
  nodes: 'inventory writes the maintenance mode that an administrator sets, the merge writes what the panel knows',
  users: 'accounts writes what a person and an administrator change, the merge writes what the panel knows of a user',
};

const sources = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file));

const TABLES = new Set([...UNITS.flatMap((unit) => unit.tables), ...Object.values(OWN_TABLES).flat()]);

/** The slice of a file: its folder below the store, or the file itself where it stands alone. */
const sliceOf = (file: string): string => {
  const folder = dirname(relative(STORE, file)).split('/')[0] ?? '.';
  return folder === '.' ? relative(STORE, file) : folder;
};

function writers(): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  const note = (table: string, slice: string) => {
    if (TABLES.has(table)) found.set(table, (found.get(table) ?? new Set()).add(slice));
  };
  for (const file of sources(STORE)) {
    const text = readFileSync(file, 'utf8');
    for (const [, table] of text.matchAll(/\b(?:insert into|update|delete from) "?([a-z_]+)"?[\s\\(]/g)) {
      note(table ?? '', sliceOf(file));
    }
  }
  for (const entity of ENTITIES) note(MIRROR[entity].table, MERGE);
  for (const table of ENCRYPTED_TABLE_NAMES) note(table, ROTATION);
  return found;
}

test('the schema and its writers are found', () => {
  expect(TABLES).toContain('users');
  expect([...writers().keys()]).toEqual(
    expect.arrayContaining(['users', 'sessions', 'config', 'emails', 'outbox', 'sync_logs', 'servers']),
  );
});

test('each table has one writer, but for the exceptions, which are real', () => {
  const shared = [...writers()].filter(([, slices]) => slices.size > 1).map(([table]) => table);
  expect(shared.sort()).toEqual(Object.keys(SHARED).sort());
});
