/** What ends sessions, and what reads an access token, stand in one place each. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SOURCE = fileURLToPath(new URL('../../../src/', import.meta.url));

/** Files whose code calls the function, but for the one that defines it. */
const callersOf = (call: RegExp): string[] =>
  readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && call.test(readFileSync(join(SOURCE, file), 'utf8')))
    .map((file) => relative(SOURCE, join(SOURCE, file)))
    .toSorted();

test('the sessions of a user are ended by a logout and by endEverything alone (S1)', () => {
  expect(callersOf(/await endSessions\(/)).toEqual([
    'services/accounts/end-everything.ts',
    'services/accounts/sessions.ts',
  ]);
});

test('access tokens are verified where the database is asked as well (S1)', () => {
  expect(callersOf(/tokens\.verify\(/)).toEqual(['services/accounts/callers.ts']);
});
