/** Pulls over HTTP and WebSockets of the simulated panel and its daemon, beside pushes of tokens. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createPanelClient, type PanelClient } from '../../../src/clients/panel/client.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type PullDeps, type PullTotals, pullConsoles } from '../../../src/services/hytale/pull-consoles.ts';
import { pushSession } from '../../../src/services/hytale/push-session.ts';
import { createHytaleBudget } from '../../../src/services/inventory/client-budget.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { addGameServer, IDENTITY_VARIABLE, SCENERY, SESSION_VARIABLE } from '../../support/hytale/game-server.ts';
import { clientOf, startPanel } from '../../support/panel.ts';

const MINUTE = 60_000;
/** The daemon is on this machine, so its lines come at once. */
const QUICK = { quietMs: 250, leastMs: 250, mostMs: 5_000, firstMs: 3_000 };
const encryption = createEncryption({ key: new Secret('01'.repeat(32)) });
const log = pino({ level: 'silent' });

let database: TestDatabase;
let sim: PanelSimulator;
let client: PanelClient;
let closePanel: () => Promise<void>;
let now = Date.now();

beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
  const panel = await startPanel({ ...SCENERY, allocations: 200 });
  ({ sim } = panel);
  client = clientOf(sim, { apiKey: new Secret(sim.keys.second) });
  closePanel = panel.close;
});
afterAll(async () => {
  await client?.close();
  await closePanel?.();
  await database?.drop();
});

const budget = () =>
  createHytaleBudget({
    db: database.db,
    settings: async () => ({ panelUrl: sim.url, panelClientApiKey: new Secret(sim.keys.client) }),
  });

function pull(deps: Partial<PullDeps> = {}, panel = client): Promise<PullTotals> {
  const openConsole: PanelClient['openConsole'] = (uuid, options) =>
    panel.openConsole(uuid, { ...options, limits: QUICK });
  const all = { db: database.db, environment: 'production', budget: budget(), now: () => now, log } as const;
  return pullConsoles({ ...all, panel: async () => ({ openConsole }), ...deps }, new AbortController().signal);
}

/** A server with a session, at the panel and here. */
async function addServer() {
  const { id } = await addGameServer(sim, database.db);
  await database.db('servers').where({ id }).update({ status: 'running' });
  const [row] = await query<{ uuid: string }>(database.db, 'select uuid from servers where id = ?', [id]);
  const uuid = row?.uuid ?? '';
  const sessionId = randomUUID();
  await database.db('hytale_game_sessions').insert({
    ...{ id: sessionId, account_id: randomUUID(), profile_uuid: randomUUID(), environment: 'production' },
    ...{ expires_at: new Date(now + 60 * MINUTE), status: 'active', push_status: 'pending', version: 1, server_id: id },
    session_token: encryption.encrypt('hytale_game_sessions.session_token', 's'),
    identity_token: encryption.encrypt('hytale_game_sessions.identity_token', 'i'),
  });
  return { uuid, sessionId, console: sim.console(uuid) };
}

const stored = (uuid: string) =>
  query<{ id: string; line: string }>(
    database.db,
    'select id::text, log_line as line from hytale_server_logs l where server_uuid = ? order by l.log_timestamp, l.id',
    [uuid],
  );
const texts = async (uuid: string): Promise<string[]> => (await stored(uuid)).map(({ line }) => line);
const gapsOf = async (uuid: string): Promise<(string | undefined)[]> => {
  const rows = await query<{ before: string }>(
    database.db,
    'select before_id::text as before from hytale_log_gaps where server_uuid = ? order by before_id',
    [uuid],
  );
  const lines = await stored(uuid);
  return rows.map(({ before }) => lines.find(({ id }) => id === before)?.line);
};
const lines = (name: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `[${name}] ${from + n}`);
const syncState = async (uuid: string) =>
  (
    await query(database.db, 'select sync_status, error_message from hytale_log_sync_state where server_uuid = ?', [
      uuid,
    ])
  )[0];

test('lines between those of a reading, a lost connection, a server that is off, a key without access: each line once', async () => {
  const servers = await Promise.all([addServer(), addServer()]);
  const [busy, cut] = servers;
  if (busy === undefined || cut === undefined) throw new Error('two servers');
  // A line is printed after the first 90 of each reading, so the readings agree about those 90.
  sim.daemon.faults.add({ kind: 'interleave', every: 90 }, { server: busy.uuid });
  for (const { console } of servers) console.print(lines('x', 1, 100));
  expect(await pull()).toMatchObject({ first: 2, failed: 0 });
  now += 5 * MINUTE;
  sim.daemon.faults.add({ kind: 'cut', after: 30 }, { server: cut.uuid, times: 1 });
  for (const { console } of servers) console.print(lines('x', 101, 130));
  expect(await pull()).toMatchObject({ unchanged: 1, failed: 1 });
  expect(await syncState(cut.uuid)).toMatchObject({
    sync_status: 'failed',
    error_message: expect.stringContaining('ended'),
  });
  now += 5 * MINUTE;
  sim.daemon.faults.clear();
  expect(await pull()).toMatchObject({ joined: 2, failed: 0 });
  for (const { uuid, console } of servers) {
    expect(await texts(uuid)).toEqual(console.all);
    expect(await gapsOf(uuid)).toEqual([]);
  }

  now += 5 * MINUTE;
  cut.console.stop();
  expect(await pull()).toMatchObject({ offline: 1, unchanged: 1 });
  expect(await syncState(cut.uuid)).toMatchObject({ sync_status: 'pending' });
  // The key is of somebody who has no access to these servers.
  now += 5 * MINUTE;
  const person = [...sim.world.users.values()].find(({ root_admin }) => !root_admin);
  const stranger = createPanelClient({
    ...{ url: sim.url, apiKey: new Secret(sim.keys.second), guard: 'environment' },
    clientApiKey: new Secret(sim.addKey({ kind: 'client', userId: person?.id ?? 0 })),
  });
  expect(await pull({}, stranger)).toMatchObject({ failed: 2 });
  expect(await syncState(busy.uuid)).toMatchObject({
    sync_status: 'failed',
    error_message: expect.stringContaining('access'),
  });
  await stranger.close();
  expect(await texts(busy.uuid)).toEqual(busy.console.all);
});

test('by the log of the panel, pulls and pushes together take a quarter of its limit, and pushes come first', async () => {
  await database.db.raw('delete from hytale_game_sessions; delete from usage_budget');
  const servers = await Promise.all(Array.from({ length: 60 }, () => addServer()));
  for (const { console } of servers) console.print(lines('x', 1, 3));
  Object.assign(sim.settings, { clientLimit: 240 });
  await budget().take('pull', 1);
  await budget().heed({ limit: 240, remaining: 239 });
  sim.clearRequests();
  const push = async (sessionId: string): Promise<string> => {
    const variables = { session: [SESSION_VARIABLE], identity: [IDENTITY_VARIABLE] };
    const { db } = database;
    const deps = {
      db,
      encryption,
      environment: 'production',
      panel: async () => client,
      budget: budget(),
      variables,
    } as const;
    return (await pushSession({ ...deps, now: () => now, random: () => 0, log }, { sessionId })).state;
  };
  // Pulls begin, and pushes come in between.
  const [totals, ...pushes] = await Promise.all([
    pull({ runMs: 20_000 }),
    ...servers.slice(0, 20).map(({ sessionId }) => push(sessionId)),
  ]);
  const done = pushes.filter((state) => state === 'done').length;
  // Of 60 requests one was taken above; a push needs two.
  expect(totals.first + 2 * done).toBeLessThanOrEqual(59);
  expect(totals.first).toBeLessThanOrEqual(44);
  expect(done).toBeGreaterThanOrEqual(7);
  const requests = sim.requests.filter(({ path }) => path.startsWith('/api/client/'));
  expect(requests).toHaveLength(totals.first + 2 * done);
  expect(totals.failed).toBe(0);
});
