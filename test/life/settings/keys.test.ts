/**
 * kill -9 of `keys rotate` at many moments, from its start to its end, over many rows: all is rotated or nothing, every
 * value stays readable with the two keys, and the next run finishes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Secret } from '../../../src/domain/secret.ts';
import { SENSITIVE_SETTINGS } from '../../../src/domain/settings.ts';
import { inspectKeys } from '../../../src/services/settings/rotate-keys.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { encryptByHand, randomKey } from '../../support/encrypted.ts';
import { createJournal } from '../../support/journal.ts';
import { query } from '../../support/merge.ts';

const EMAILS = 20_000;
const TIMES = 20;
const ROUNDS = Array.from({ length: TIMES }, (_, i) => i);

const journal = createJournal();
let database: TestDatabase;
/** The key of all values now, and the one that the next rotation sets. */
let before = randomKey();
let after = randomKey();
/** Milliseconds that an undisturbed command takes. */
let tookMs = 0;
beforeAll(async () => {
  database = await createTestDatabase();
  for (const key of SENSITIVE_SETTINGS) {
    const value = encryptByHand(before, `${key}-value`);
    await query(database.db, `insert into config (id, key, value) values (?, ?, ?)`, [key, key, value]);
  }
  await query(
    database.db,
    `insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry)
     select gen_random_uuid(), ?, ?, now() from generate_series(1, 500)`,
    [encryptByHand(before, 'access'), encryptByHand(before, 'refresh')],
  );
  const content = encryptByHand(before, JSON.stringify({ html: 'x'.repeat(4_000) }));
  await query(
    database.db,
    `insert into emails (template, recipient, data, content, status)
     select 'message', 'a@example.net', ?, ?, 'queued' from generate_series(1, ?::int)`,
    [encryptByHand(before, '{"message":"one"}'), content, EMAILS],
  );
  const began = performance.now();
  expect(await ended(startRotation())).toBe(0);
  tookMs = performance.now() - began;
  journal.add('undisturbed', '', `${TOTAL} values`, tookMs);
  [before, after] = [after, randomKey()];
}, 300_000);
afterAll(async () => {
  journal.print();
  await database.drop();
});

/** Every value that is stored encrypted. */
const TOTAL = SENSITIVE_SETTINGS.length + 2 * 500 + 2 * EMAILS;

const startRotation = (): ChildProcess =>
  spawn(process.execPath, ['src/cli.ts', 'keys', 'rotate'], {
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'],
      DATABASE_URL: database.url,
      ENCRYPTION_KEY: after.reveal(),
      ENCRYPTION_KEY_PREVIOUS: before.reveal(),
    },
  });
const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.once('exit', (code) => resolve(code)));

/** How many values each key opens. */
const found = async (key: Secret, previousKey: Secret) =>
  (await inspectKeys({ db: database.db, keys: { key, previousKey } })).totals;

/** Number of rotations that are on record. */
async function rotations(): Promise<number> {
  const events = await query(database.db, `select a.id from audit_events a where a.action = 'keys-rotated'`);
  return events.length;
}

/** The server ends the transaction of a killed command by itself. */
const transactionGone = () =>
  expect
    .poll(
      () =>
        query(
          database.db,
          `select 1 as one from pg_stat_activity a where a.datname = current_database() and a.application_name = 'nodebyte-cli'`,
        ),
      { timeout: 60_000 },
    )
    .toEqual([]);

describe('a rotation that is killed', () => {
  test.each(ROUNDS)('(%i)', async (i) => {
    const moment = ((i + journal.random()) / TIMES) * tookMs;
    const child = startRotation();
    const exit = ended(child);
    await delay(moment);
    child.kill('SIGKILL');
    const code = await exit;
    const hit = performance.now();
    await transactionGone();
    const totals = await found(after, before);
    expect(totals.unreadable + totals.clear).toBe(0);
    expect([0, TOTAL]).toContain(totals.current);
    expect(totals.current + totals.previous).toBe(TOTAL);
    const recorded = await rotations();
    expect(await ended(startRotation())).toBe(0);
    expect(await found(after, before)).toMatchObject({ current: TOTAL, previous: 0, unreadable: 0 });
    // One event per rotation that was committed.
    expect((await rotations()) - recorded).toBe(totals.current === 0 ? 1 : 0);
    const where = totals.current === 0 ? 'rolled back' : code === null ? 'committed' : `ended with ${code}`;
    journal.add('keys rotate', `${Math.round(moment)} ms`, where, performance.now() - hit);
    [before, after] = [after, randomKey()];
  });
});
