/** Which rows of Hytale get a workflow, in which order, and when each is to look at its row. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { watchHytale } from '../../../src/services/hytale/watch.ts';
import type { HytaleEngine } from '../../../src/temporal/hytale-engine.ts';
import { hytaleSessionId } from '../../../src/workflows/contract.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

const DUE = new Date('2030-01-01T00:00:00Z');
const DUE_LATER = new Date('2030-01-02T00:00:00Z');

/** Adds a session with a pair that is to be renewed later. @returns its id. */
async function addSession(accountId: string, values: Record<string, unknown> = {}): Promise<string> {
  const id = randomUUID();
  const row = {
    id,
    environment: 'production',
    account_id: accountId,
    profile_uuid: randomUUID(),
    session_token: 's',
    identity_token: 'i',
    expires_at: DUE,
    status: 'active',
    version: 3,
    wanted_version: 3,
    next_at: DUE_LATER,
    ...values,
  };
  const names = Object.keys(row);
  await database.db.raw(
    `insert into hytale_game_sessions (${names.join(', ')}) values (${names.map(() => '?').join(', ')})`,
    Object.values(row),
  );
  return id;
}

test('a workflow waits until its row is due, unless there may be something to do', async () => {
  const { db } = database;
  await db.raw(
    `insert into servers (id, uuid, name, "ownerId") select 'server-1', gen_random_uuid()::text, 'one', null`,
  );
  const accounts = [randomUUID(), randomUUID()];
  for (const [n, id] of accounts.entries()) {
    await db.raw(
      `insert into hytale_oauth_tokens (account_id, environment, access_token, refresh_token, access_token_expiry, status, next_at)
       values (?, 'production', 'a', 'r', now(), ?, ?)`,
      [id, n === 0 ? 'active' : 'reauth_required', DUE],
    );
  }
  const [accountId = ''] = accounts;
  const add = (values: Record<string, unknown> = {}) => addSession(accountId, values);
  const waits = await add();
  const first = await add({ next_at: DUE });
  const pushed = await add({ server_id: 'server-1', linked_at: DUE, push_status: 'pushed', pushed_version: 3 });
  const nothingToPush = await add({ server_id: 'server-1', linked_at: DUE, push_status: 'none' });
  const atOnce = [
    await add({ status: 'requested', session_token: '', identity_token: '', version: 0, wanted_version: 1 }),
    await add({ status: 'limited' }),
    await add({ status: null, next_at: null }),
    await add({ wanted_version: 4 }),
    await add({ restart_wanted: true }),
    await add({ linked_at: DUE }),
    await add({ server_id: 'server-1', linked_at: DUE, push_status: 'pending', pushed_version: 2 }),
    await add({ server_id: 'server-1', linked_at: DUE, push_status: 'failed', pushed_version: null }),
    await add({ identity_token: '' }),
  ];
  const runs = await add();
  await addSession(accountId, { environment: 'staging' });

  const started: [string, string, number | undefined][] = [];
  const engine = {
    running: async () => new Set([hytaleSessionId(runs)]),
    start: async (kind, id, dueAt) => started.push([kind, id, dueAt?.getTime()]) > 0,
  } satisfies Partial<HytaleEngine> as unknown as HytaleEngine;
  const watched = { db, environment: 'production', engine, log: quiet } as const;
  expect(await watchHytale(watched)).toEqual({ taken: 0, accounts: 2, sessions: 13, logins: 0 });

  expect(started.filter(([kind]) => kind === 'account')).toEqual([
    ['account', accounts[1], undefined],
    ['account', accounts[0], DUE.getTime()],
  ]);
  const sessions = started.filter(([kind]) => kind === 'session').map(([, id, dueAt]) => [id, dueAt]);
  expect(new Set(sessions.slice(0, atOnce.length))).toEqual(new Set(atOnce.map((id) => [id, undefined])));
  expect(sessions.slice(atOnce.length)).toEqual([
    [first, DUE.getTime()],
    ...[waits, pushed, nothingToPush].sort().map((id) => [id, DUE_LATER.getTime()]),
  ]);
});
