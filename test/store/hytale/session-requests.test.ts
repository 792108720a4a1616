/** Which game session a caller means, and which sessions a server may have. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { HYTALE_HOSTS } from '../../../src/domain/hytale/environment.ts';
import { createHytale } from '../../../src/services/hytale/create-hytale.ts';
import type { Hytale, Requester } from '../../../src/services/hytale/hytale.ts';
import { chosenSession } from '../../../src/services/hytale/session-requests.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { insertSession } from '../../../src/store/hytale/session-store.ts';
import type { HytaleEngine } from '../../../src/temporal/hytale-engine.ts';
import type { HytaleView } from '../../../src/workflows/contract.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
let deps: Parameters<typeof createHytale>[0];
let hytale: Hytale;
const [first, second] = [randomUUID(), randomUUID()];
const [profile, other] = [randomUUID(), randomUUID()];
const WHO: Requester = { by: { actor: { type: 'cli' } }, ipAddress: null, userAgent: null };
const view = (id: string): HytaleView => ({ id, status: 'active', version: 1, result: 'done', why: '', until: null });

beforeAll(async () => {
  database = await createTestDatabase();
  const engine: HytaleEngine = {
    start: async () => true,
    wake: { account: async () => undefined, session: async () => undefined },
    code: async (id) => view(id),
    act: async (_kind, id) => view(id),
    running: async () => new Set(),
  };
  const encryption = createEncryption({});
  const client = createHytaleClient({ hosts: HYTALE_HOSTS.production });
  deps = { db: database.db, encryption, environment: 'production', client, engine, log: quiet, now: Date.now };
  hytale = createHytale(deps);
  await database.db.raw(`
    insert into locations (id, "shortCode") values (1, 'eu');
    insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (1, 'n-1', 'Node', 'n1.example', 1, 1, 1);
    insert into servers (id, uuid, name, "nodeId", memory, disk, cpu)
      values ('s1', 'u-1', 'Alpha', 1, 1, 1, 1), ('s2', 'u-2', 'Beta', 1, 1, 1, 1)`);
  for (const id of [first, second]) {
    await database.db.raw(
      `insert into hytale_oauth_tokens (account_id, environment, access_token, refresh_token, access_token_expiry, profile_uuid)
       values (?, 'production', 'a', 'r', now() at time zone 'utc' + interval '1 hour', ?)`,
      [id, profile],
    );
  }
});
afterAll(() => database?.drop());
beforeEach(() => database.db.raw('delete from hytale_game_sessions'));

const add = (accountId: string, serverId: string | null, profileUuid = profile) =>
  insertSession(database.db, {
    environment: 'production',
    accountId,
    profileUuid,
    serverId,
    ipAddress: null,
    userAgent: null,
  });
const meant = async (choice: Partial<Parameters<typeof chosenSession>[1]> = {}) =>
  (await chosenSession(deps, { accountId: first, ...choice })).id;

test('without a name, the session of no server is meant, else the only one, else none of them', async () => {
  await expect(meant()).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
  const linked = await add(first, 's1');
  await add(second, null);
  await add(first, 's2', other);
  expect(await meant()).toBe(linked);
  const beta = await add(first, 's2');
  await expect(meant()).rejects.toMatchObject({
    code: 'CONFLICT',
    details: [{ path: 'session_id' }, { path: 'server_id' }],
  });
  expect(await meant({ serverId: 's2', profileUuid: profile.toUpperCase() })).toBe(beta);
  expect(await meant({ sessionId: linked.toUpperCase() })).toBe(linked);
  const free = await add(first, null);
  expect(await meant()).toBe(free);
  await database.db.raw('update hytale_game_sessions set linked_at = now() where id = ?', [free]);
  // Its server is gone: it ends, and is never meant.
  await expect(meant()).rejects.toMatchObject({ code: 'CONFLICT' });
  await expect(meant({ sessionId: randomUUID() })).rejects.toMatchObject({ code: 'SESSION_NOT_FOUND' });
});

test('a server has the session of one account and profile, also if two are linked at the same time', async () => {
  const open = (accountId: string, profileUuid = profile) =>
    hytale.newSession({ accountId, profileUuid, serverId: 's1' }, WHO).then(
      () => 'opened',
      ({ code }: { code: string }) => code,
    );
  // The workflow brings no pair here: the one with the row gets HYTALE_ERROR.
  const answers = await Promise.all([open(first), open(second), open(first, other)]);
  expect(answers.toSorted()).toEqual(['CONFLICT', 'CONFLICT', 'HYTALE_ERROR']);
  const { rows } = await database.db.raw('select account_id, profile_uuid from hytale_game_sessions');
  expect(rows).toHaveLength(1);
  const [{ account_id: owner, profile_uuid: its }] = rows;
  expect(await open(owner, its)).toBe('HYTALE_ERROR');
  const loser = await add(owner === first ? second : first, 's2');
  await expect(hytale.linkSession(loser, 's1', WHO)).rejects.toMatchObject({ code: 'CONFLICT' });
  await hytale.linkSession(loser, null, WHO);
  await expect(hytale.linkSession(loser, 'gone', WHO)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
