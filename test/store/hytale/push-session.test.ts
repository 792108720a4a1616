/** The push of a session's tokens: what arrives at the (simulated) panel, what the row says then, and what is waited for. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FaultAction } from '../../../simulators/panel/http/faults.ts';
import type { PanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createPanelClient, type PanelClient } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type PushDeps, type PushStep, pushSession } from '../../../src/services/hytale/push-session.ts';
import { budgetKey, createHytaleBudget } from '../../../src/services/inventory/client-budget.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { clientOf, startPanel } from '../../support/panel.ts';

const NOW = Date.UTC(2026, 0, 1);
const MINUTE = 60_000;
const NAMES = {
  session: ['HYTALE_SESSION_TOKEN', 'HYTALE_SERVER_SESSION_TOKEN'],
  identity: ['HYTALE_IDENTITY_TOKEN', 'HYTALE_SERVER_IDENTITY_TOKEN'],
};
const [SESSION = '', SERVER_SESSION = ''] = NAMES.session;
const [IDENTITY = '', SERVER_IDENTITY = ''] = NAMES.identity;
/** The generated panel is only scenery: each test makes a server of its own. */
const SMALL = {
  ...{ locations: 1, nodes: 1, allocations: 20, nests: 1, eggs: 1, variables: 1, users: 4, servers: 1 },
  ...{ databases: 0, databaseHosts: 1, subusers: 0, limit: 0, clientLimit: 0 },
};
/** No token may be found where it does not belong: each has this in it. */
const MARKER = 'token-marker';
const token = (kind: string, version: number) => `eyJ.${MARKER}-${kind}-${version}.${'x'.repeat(300)}`;
const encryption = createEncryption({ key: new Secret('01'.repeat(32)) });

let database: TestDatabase;
let sim: PanelSimulator;
let client: PanelClient;
let closePanel: () => Promise<void>;
const logged: string[] = [];
const answers: string[] = [];

beforeAll(async () => {
  database = await createTestDatabase({ max: 6 });
  const panel = await startPanel(SMALL);
  ({ sim } = panel);
  // A key that may write.
  client = clientOf(sim, { apiKey: new Secret(sim.keys.second) });
  closePanel = panel.close;
});
afterAll(async () => {
  await client.close();
  await closePanel();
  await database.drop();
});
beforeEach(async () => {
  sim.reset();
  // As after a first answer of this panel, which announces no limit.
  await database.db('usage_budget').insert({ panel: budgetKey(access()), request_limit: 0 });
});
afterEach(async () => {
  const rows = await database.db.raw(`select push_reason, pushed_variables, reason from hytale_game_sessions`);
  const events = await database.db.raw(`select * from outbox`);
  expect(JSON.stringify([rows.rows, events.rows, logged, answers])).not.toContain(MARKER);
  logged.length = 0;
  answers.length = 0;
  await database.db.raw(
    `delete from hytale_game_sessions; delete from servers; delete from nests; delete from usage_budget`,
  );
});

interface Variable {
  name: string;
  viewable?: boolean;
  editable?: boolean;
  rules?: string;
  /** Not at the panel any more. */
  gone?: boolean;
  /** What the last sync saw, if it was something else. */
  seen?: { viewable: boolean; editable: boolean } | 'nothing';
}
const both: Variable[] = [{ name: SESSION }, { name: IDENTITY }];

/** A server whose egg has these variables, at the panel and in the mirror, and its session with a pair that is not pushed. */
async function world(variables: Variable[], row: Record<string, unknown> = {}) {
  const egg = sim.create('eggs', { name: 'Hytale', nest: 1 });
  const all: Variable[] = [...variables, { name: 'PORT', rules: 'required|string' }];
  for (const { name, viewable = true, editable = true, rules = 'nullable|string', gone } of all) {
    const values = { env_variable: name, user_viewable: viewable, user_editable: editable, rules, default_value: '80' };
    if (gone !== true) sim.create('variables', { ...values, egg_id: egg.id });
  }
  sim.update('nodes', 1, { maintenance_mode: false });
  const server = sim.create('servers', { node: 1, egg: egg.id, current_state: 'running', values: { PORT: '5520' } });
  const { db } = database;
  await db.raw(`insert into nests (id, uuid, name) values (1, 'n', 'n') on conflict do nothing`);
  await db.raw(`insert into eggs (id, uuid, name, "nestId") values (?, ?, 'Hytale', 1)`, [egg.id, randomUUID()]);
  for (const [n, { name, viewable = true, editable = true, rules = 'nullable|string', seen }] of all.entries()) {
    if (seen === 'nothing') continue;
    const flags = seen ?? { viewable, editable };
    await db.raw(
      `insert into egg_variables (id, egg_id, name, env_variable, user_viewable, user_editable, rules) values (?, ?, ?, ?, ?, ?, ?)`,
      [egg.id * 100 + n, egg.id, name, name, flags.viewable, flags.editable, rules],
    );
  }
  await db.raw(`insert into servers (id, name, uuid, "pterodactylId", "eggId") values (?, 's', ?, ?, ?)`, [
    `server-${server.id}`,
    server.uuid,
    server.id,
    egg.id,
  ]);
  const id = await addSession({ server_id: `server-${server.id}`, ...row });
  return { id, server, egg, values: () => sim.world.servers.get(server.id)?.values ?? {} };
}

const pair = (version: number) => ({
  version,
  session_token: encryption.encrypt('hytale_game_sessions.session_token', token('session', version)),
  identity_token: encryption.encrypt('hytale_game_sessions.identity_token', token('identity', version)),
});

async function addSession(row: Record<string, unknown>): Promise<string> {
  const id = randomUUID();
  await database.db('hytale_game_sessions').insert({
    id,
    account_id: randomUUID(),
    profile_uuid: randomUUID(),
    environment: 'production',
    expires_at: new Date(NOW + 60 * MINUTE),
    status: 'active',
    push_status: 'pending',
    ...pair(1),
    ...row,
  });
  return id;
}

const set = (id: string, values: Record<string, unknown>) =>
  database.db('hytale_game_sessions').where({ id }).update(values);

async function row(id: string): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> | undefined = await database
    .db('hytale_game_sessions')
    .where({ id })
    .first('push_status', 'push_reason', 'pushed_version', 'pushed_variables', 'push_failures', 'restart_wanted');
  return found ?? {};
}

const access = () => ({ panelUrl: sim.url, panelClientApiKey: new Secret(sim.keys.client) });
const budgetRow = async (): Promise<Record<string, unknown>> =>
  (await database.db('usage_budget').first('request_limit', 'asked', 'hytale_asked', 'paused_until')) ?? {};
const endPause = () => database.db('usage_budget').update({ paused_until: null });

const log = pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) });

async function push(id: string, deps: Partial<PushDeps> = {}): Promise<PushStep> {
  const step = await pushSession(
    {
      db: database.db,
      encryption,
      environment: 'production',
      panel: async () => client,
      budget: createHytaleBudget({ db: database.db, settings: async () => access() }),
      random: () => 0,
      variables: NAMES,
      now: () => NOW,
      log,
      ...deps,
    },
    { sessionId: id },
  );
  answers.push(JSON.stringify(step));
  return step;
}

const DONE = { state: 'done' };
const wait = (ms: number) => ({ state: 'wait', ms });
const requests = () => sim.requests.map(({ method, path }) => `${method} ${path.replace(/^\/api\//, '')}`);
const fails = (action: FaultAction, match: { method?: string; path?: RegExp } = { method: 'PUT' }) =>
  sim.faults.add({ match, action });

/** Runs `work` while the panel handles the n-th request. */
function during(n: number, work: () => Promise<unknown>): void {
  const first = sim.requests.length;
  sim.on('before', async () => {
    if (sim.requests.length === first + n) await work();
  });
}

describe('what arrives', () => {
  test('variables that users may edit are set one by one, and a second call sends nothing', async () => {
    const { id, values, server } = await world(both);
    expect(await push(id)).toEqual(DONE);
    expect(values()).toEqual({ PORT: '5520', [SESSION]: token('session', 1), [IDENTITY]: token('identity', 1) });
    expect(await row(id)).toEqual({
      push_status: 'pushed',
      push_reason: null,
      pushed_version: 1,
      pushed_variables: [SESSION, IDENTITY],
      push_failures: 0,
      restart_wanted: false,
    });
    expect(requests()).toEqual(Array(2).fill(`PUT client/servers/${server.uuid}/startup/variable`));
    expect(await push(id)).toEqual(DONE);
    expect(requests()).toHaveLength(2);
    expect(sim.powerLog).toEqual([]);

    await set(id, { ...pair(2), push_status: 'pending' });
    expect(await push(id)).toEqual(DONE);
    expect(values()).toMatchObject({ [SESSION]: token('session', 2), [IDENTITY]: token('identity', 2) });
    expect(await row(id)).toMatchObject({ push_status: 'pushed', pushed_version: 2 });
  });

  test('of both families of names, those that the egg defines, in exactly this spelling', async () => {
    const game = await world([{ name: SERVER_SESSION }, { name: SERVER_IDENTITY }, { name: 'hytale_session_token' }]);
    expect(await push(game.id)).toEqual(DONE);
    expect(game.values()).toEqual({
      PORT: '5520',
      [SERVER_SESSION]: token('session', 1),
      [SERVER_IDENTITY]: token('identity', 1),
    });
    const every = await world([...both, { name: SERVER_SESSION }, { name: SERVER_IDENTITY }]);
    expect(await push(every.id)).toEqual(DONE);
    expect(Object.keys(every.values())).toHaveLength(5);
    expect((await row(every.id))['pushed_variables']).toHaveLength(4);
  });

  test.each([
    ['hidden', { viewable: false, editable: false }],
    ['read-only', { viewable: true, editable: false }],
  ])('a %s variable is set as an administrator, in one request with the other', async (_kind, flags) => {
    const { id, values, server } = await world([{ name: SESSION, ...flags }, { name: IDENTITY }]);
    const before = sim.world.servers.get(server.id);
    expect(await push(id)).toEqual(DONE);
    const path = `application/servers/${server.id}`;
    expect(requests()).toEqual([`GET ${path}`, `PATCH ${path}/startup`]);
    // The other variables, the command and the image stay as they are.
    expect(values()).toEqual({ PORT: '5520', [SESSION]: token('session', 1), [IDENTITY]: token('identity', 1) });
    const { startup, image, egg } = sim.world.servers.get(server.id) ?? {};
    expect({ startup, image, egg }).toEqual({ startup: before?.startup, image: before?.image, egg: before?.egg });
    expect(await row(id)).toMatchObject({ push_status: 'pushed', pushed_variables: [SESSION, IDENTITY] });
  });

  test.each([
    ['hidden', { viewable: false, editable: false }],
    ['read-only', { viewable: true, editable: false }],
  ])('a variable that became %s since the last sync is set as an administrator', async (_kind, flags) => {
    const { id, values } = await world([
      { name: SESSION },
      { name: IDENTITY, ...flags, seen: { viewable: true, editable: true } },
    ]);
    expect(await push(id)).toEqual(DONE);
    expect(values()).toMatchObject({ [SESSION]: token('session', 1), [IDENTITY]: token('identity', 1) });
    expect(requests()).toHaveLength(4);
  });

  test('an egg without a variable for one of the tokens, or for both', async () => {
    const half = await world([{ name: SESSION }]);
    expect(await push(half.id)).toEqual(DONE);
    expect(half.values()).toHaveProperty(SESSION);
    expect(await row(half.id)).toMatchObject({
      push_status: 'pushed',
      push_reason: expect.stringContaining(`no variable for the identity token: add ${IDENTITY} or ${SERVER_IDENTITY}`),
    });
    const none = await world([], { restart_wanted: true });
    expect(await push(none.id)).toEqual(DONE);
    expect(await row(none.id)).toMatchObject({
      push_status: 'none',
      push_reason: expect.stringContaining(SERVER_SESSION),
      pushed_version: null,
      restart_wanted: false,
    });
    expect(sim.powerLog).toEqual([]);
  });

  test.each([
    ['unlinked', { server_id: null }],
    ['not active', { status: 'lapsed' }],
    ['of the other environment', { environment: 'staging' }],
    ['without a pair', { version: 0, session_token: '', identity_token: '' }],
  ])('a session that is %s is left alone', async (_what, values) => {
    const { id } = await world(both, values);
    expect(await push(id)).toEqual(DONE);
    expect(requests()).toEqual([]);
    expect(await push(randomUUID())).toEqual(DONE);
  });

  test('clear tokens of the earlier service are pushed as they are', async () => {
    const clear = { session_token: token('session', 7), identity_token: token('identity', 7), environment: null };
    const { id, values } = await world(both, clear);
    expect(await push(id)).toEqual(DONE);
    expect(values()).toMatchObject({ [SESSION]: token('session', 7), [IDENTITY]: token('identity', 7) });
  });
});

describe('what does not arrive', () => {
  test('a server whose state forbids it is waited for, a minute each time, until it is ready', async () => {
    const { id, server } = await world(both);
    const ready = { status: null, transferring: false };
    const states = ['suspended', 'installing', 'install_failed', 'restoring_backup'] as const;
    let failures = 0;
    const refused = async (): Promise<void> => {
      failures += 1;
      expect(await push(id)).toMatchObject(wait(MINUTE));
      expect(await row(id)).toMatchObject({
        push_status: 'pending',
        push_failures: failures,
        pushed_version: null,
        push_reason: expect.stringMatching(/^The panel accepts no change of this server at present/),
      });
    };
    for (const state of [...states.map((status) => ({ status })), { transferring: true }]) {
      sim.update('servers', server.id, { ...ready, ...state });
      await refused();
    }
    sim.update('servers', server.id, ready);
    sim.update('nodes', server.node, { maintenance_mode: true });
    await refused();
    sim.update('nodes', server.node, { maintenance_mode: false });
    // This state forbids nothing.
    sim.update('servers', server.id, { status: 'reinstall_failed' });
    expect(await push(id)).toEqual(DONE);
    expect(await row(id)).toMatchObject({ push_status: 'pushed', push_reason: null, push_failures: 0 });
  });

  test('after an outage of any kind: 30 s, 60 s, then 5 minutes', async () => {
    const { id } = await world(both);
    const outages: FaultAction[] = [
      { kind: 'status', status: 500 },
      { kind: 'status', status: 502 },
      { kind: 'status', status: 504 },
      { kind: 'reset' },
      { kind: 'truncate' },
      { kind: 'html' },
      { kind: 'gateway', status: 403, challenge: true },
    ];
    for (const [n, action] of outages.entries()) {
      sim.faults.clear();
      fails(action);
      expect(await push(id)).toMatchObject(wait([30_000, MINUTE][n] ?? 5 * MINUTE));
      expect(await row(id)).toMatchObject({ push_status: 'pending', push_failures: n + 1, pushed_version: null });
    }
    sim.faults.clear();
    expect(await push(id)).toEqual(DONE);
  });

  test('the pause that the panel asks for is kept', async () => {
    const { id } = await world(both);
    const remove = fails({ kind: 'status', status: 429, retryAfter: 120 });
    expect(await push(id)).toMatchObject(wait(120_000));
    remove();
    // It is one of the key: nothing is sent meanwhile, and waiting for it is no failure.
    const sent = requests().length;
    expect(await push(id)).toMatchObject({ state: 'wait', ms: expect.toSatisfy((ms: number) => ms > 110_000) });
    expect(await row(id)).toMatchObject({
      push_failures: 1,
      push_reason: expect.stringContaining('asked for a pause'),
    });
    expect(requests()).toHaveLength(sent);
    await endPause();
    fails({ kind: 'status', status: 503, retryAfter: 400 });
    expect(await push(id)).toMatchObject(wait(400_000));
    // The second variable alone can fail, too: then both are sent again.
    sim.faults.clear();
    sim.faults.add({ match: { method: 'PUT' }, afterNth: 1, times: 1, action: { kind: 'status', status: 503 } });
    expect(await push(id)).toMatchObject({ state: 'wait' });
    expect(await row(id)).toMatchObject({ push_status: 'pending', pushed_version: null });
    expect(await push(id)).toEqual(DONE);
  });

  test('a rule that the token breaks is named, with the variable and what to change', async () => {
    const short = { name: IDENTITY, rules: 'required|string|max:191' };
    const { id, egg } = await world([{ name: SESSION }, short]);
    expect(await push(id)).toMatchObject(wait(30 * MINUTE));
    expect(await row(id)).toMatchObject({
      push_status: 'failed',
      push_reason: `The panel refuses the token for ${IDENTITY} by the rule "max" of this variable: change its rules in the egg (required|string|max:191), for example to "nullable|string"`,
    });
    // The same for one that only an administrator sets.
    const hidden = await world([{ name: SESSION, viewable: false }, short]);
    expect(await push(hidden.id)).toMatchObject(wait(30 * MINUTE));
    expect((await row(hidden.id))['push_reason']).toContain(`${IDENTITY} by the rule "max"`);
    expect(hidden.values()).toEqual({ PORT: '5520' });
    for (const variable of sim.world.variables.values()) {
      if (variable.egg_id === egg.id) sim.update('variables', variable.id, { rules: 'nullable|string' });
    }
    expect(await push(id)).toEqual(DONE);
  });

  test('a required variable of another kind that is empty stops the push as an administrator, and is named', async () => {
    const { id, server } = await world([{ name: SESSION, editable: false }, { name: IDENTITY }]);
    sim.update('servers', server.id, { values: { PORT: '' } });
    expect(await push(id)).toMatchObject(wait(30 * MINUTE));
    expect(await row(id)).toMatchObject({
      push_status: 'failed',
      push_reason: expect.stringContaining('its PORT breaks the rule "required"'),
    });
  });

  test('a variable that the egg has lost since the last sync is named', async () => {
    const { id } = await world([{ name: SESSION, gone: true }, { name: IDENTITY }]);
    expect(await push(id)).toMatchObject(wait(30 * MINUTE));
    const reason = `The egg of this server has no variable ${SESSION} at the panel: run a sync`;
    expect(await row(id)).toMatchObject({ push_status: 'failed', push_reason: reason });
    const hidden = await world([{ name: SESSION, gone: true, viewable: false }, { name: IDENTITY }]);
    expect(await push(hidden.id)).toMatchObject(wait(30 * MINUTE));
    expect(await row(hidden.id)).toMatchObject({ push_status: 'failed', push_reason: reason });
    expect(hidden.values()).toEqual({ PORT: '5520' });
  });

  test('a server that the panel does not know, and one that the mirror does not know', async () => {
    const { id, server } = await world(both);
    sim.delete('servers', server.id);
    expect(await push(id)).toMatchObject(wait(30 * MINUTE));
    expect(await row(id)).toMatchObject({
      push_status: 'failed',
      push_reason: expect.stringContaining('does not know this server'),
    });
    await database.db.raw(`update servers set uuid = null`);
    expect(await push(id)).toMatchObject(wait(5 * MINUTE));
    expect(await row(id)).toMatchObject({ push_status: 'pending', push_reason: expect.stringContaining('run a sync') });
  });

  test('keys: none, one that is refused, one without the right to write', async () => {
    const open = await world(both);
    const hidden = await world([{ name: SESSION, viewable: false }, { name: IDENTITY }]);
    const guard = 'environment' as const;
    const unconfigured = await push(open.id, { panel: () => Promise.reject(new AppError('PANEL_NOT_CONFIGURED')) });
    expect(unconfigured).toMatchObject(wait(5 * MINUTE));
    const noClientKey = createPanelClient({ url: sim.url, apiKey: new Secret(sim.keys.second), guard });
    expect(await push(open.id, { panel: async () => noClientKey })).toMatchObject(wait(5 * MINUTE));
    expect(await row(open.id)).toMatchObject({
      push_status: 'pending',
      push_reason: 'The panel client API key is not configured',
    });
    const reader = clientOf(sim, { clientApiKey: new Secret(sim.keys.full) });
    expect(await push(open.id, { panel: async () => reader })).toMatchObject(wait(30 * MINUTE));
    expect(await row(open.id)).toMatchObject({
      push_status: 'failed',
      push_reason: expect.stringContaining('refuses the client API key'),
    });
    expect(await push(hidden.id, { panel: async () => reader })).toMatchObject(wait(30 * MINUTE));
    expect(await row(hidden.id)).toMatchObject({
      push_status: 'failed',
      push_reason: expect.stringContaining('give the key the right to write servers'),
    });
    await Promise.all([noClientKey.close(), reader.close()]);
  });

  test('tokens that this process cannot read are not pushed', async () => {
    const { id } = await world(both);
    for (const other of [createEncryption({ key: new Secret('02'.repeat(32)) }), createEncryption({})]) {
      expect(await push(id, { encryption: other })).toMatchObject(wait(MINUTE));
    }
    expect(await row(id)).toMatchObject({ push_reason: expect.stringContaining('check ENCRYPTION_KEY') });
    expect(requests()).toEqual([]);
  });
});

describe('pairs', () => {
  test('a pair with less than ten minutes left is not handed out: a fresh one is asked for, or waited for', async () => {
    const { id } = await world(both, { expires_at: new Date(NOW + 10 * MINUTE - 1) });
    expect(await push(id)).toMatchObject({ state: 'stale' });
    await set(id, { wanted_version: 2 });
    expect(await push(id)).toMatchObject(wait(5 * MINUTE));
    expect(requests()).toEqual([]);
    await set(id, { ...pair(2), expires_at: new Date(NOW + 10 * MINUTE) });
    expect(await push(id)).toEqual(DONE);
    // What is pushed may grow old.
    expect(await push(id, { now: () => NOW + 9 * MINUTE })).toEqual(DONE);
  });

  test('a pair that was replaced while it was pushed is pushed again, in whatever order the two arrive', async () => {
    const { id, values } = await world(both);
    // The newer pair is pushed and noted between the two variables of the older one.
    during(2, async () => {
      await set(id, pair(2));
      expect(await push(id)).toEqual(DONE);
      expect(await row(id)).toMatchObject({ pushed_version: 2 });
    });
    expect(await push(id)).toMatchObject(wait(0));
    expect(values()).toMatchObject({ [IDENTITY]: token('identity', 1) });
    expect(await row(id)).toMatchObject({ push_status: 'pending', pushed_version: null });
    expect(await push(id)).toEqual(DONE);
    expect(values()).toMatchObject({ [SESSION]: token('session', 2), [IDENTITY]: token('identity', 2) });
  });

  test('a failure of an older pair says nothing about the newer one', async () => {
    const { id } = await world(both);
    fails({ kind: 'status', status: 503 });
    during(1, () => set(id, { ...pair(2), push_failures: 0 }));
    expect(await push(id)).toMatchObject(wait(0));
    expect(await row(id)).toMatchObject({ push_status: 'pending', push_reason: null, push_failures: 0 });
  });

  test('a session that was linked to another server meanwhile is pushed to that one', async () => {
    const first = await world(both);
    const second = await world(both);
    during(1, () => set(first.id, { server_id: `server-${second.server.id}` }));
    expect(await push(first.id)).toMatchObject(wait(0));
    expect(await push(first.id)).toEqual(DONE);
    expect(second.values()).toHaveProperty(SESSION);
  });

  test('a session that was ended or unlinked meanwhile stays as it is', async () => {
    const { id } = await world(both);
    during(1, () => set(id, { server_id: null, push_status: 'none' }));
    expect(await push(id)).toMatchObject(wait(0));
    expect(await row(id)).toMatchObject({ push_status: 'none' });
    expect(await push(id)).toEqual(DONE);
    const other = await world(both);
    during(1, () => database.db('hytale_game_sessions').where({ id: other.id }).delete());
    expect(await push(other.id)).toMatchObject(wait(0));
    expect(await push(other.id)).toEqual(DONE);
  });

  test('an attempt that ended before its note is repeated; two at once do no harm', async () => {
    const { id, values } = await world(both);
    const broken = new Proxy(database.db, {
      get: (target, key) =>
        key === 'raw'
          ? (sql: string, bindings: never) =>
              sql.includes("push_status = 'pushed'") ? Promise.reject(new Error('gone')) : target.raw(sql, bindings)
          : Reflect.get(target, key),
    });
    await expect(push(id, { db: broken })).rejects.toThrow('gone');
    expect(await row(id)).toMatchObject({ push_status: 'pending', pushed_version: null });
    expect(await Promise.all([push(id), push(id)])).toEqual([DONE, DONE]);
    expect(await row(id)).toMatchObject({ push_status: 'pushed', pushed_version: 1 });
    expect(values()).toMatchObject({ [SESSION]: token('session', 1), [IDENTITY]: token('identity', 1) });
  });
});

describe('restart', () => {
  const power = { path: /power$/ };

  test('the server is restarted once, after the push', async () => {
    const { id, server } = await world(both, { restart_wanted: true });
    expect(await push(id)).toEqual(DONE);
    expect(sim.powerLog).toMatchObject([
      { uuid: server.uuid, signal: 'restart', environment: { [SESSION]: token('session', 1) } },
    ]);
    expect(await row(id)).toMatchObject({ push_status: 'pushed', restart_wanted: false });
    expect(await push(id)).toEqual(DONE);
    expect(sim.powerLog).toHaveLength(1);
  });

  test('it is tried again by itself, without another push, and waits for states', async () => {
    const { id, server } = await world(both, { restart_wanted: true });
    const remove = fails({ kind: 'status', status: 504 }, power);
    for (const ms of [30_000, MINUTE, 5 * MINUTE]) expect(await push(id)).toMatchObject(wait(ms));
    expect(await row(id)).toMatchObject({
      push_status: 'pushed',
      push_reason: expect.stringMatching(/^The tokens are pushed, but the server is not restarted yet\. /),
      restart_wanted: true,
    });
    remove();
    sim.update('servers', server.id, { status: 'suspended' });
    expect(await push(id)).toMatchObject(wait(MINUTE));
    sim.update('servers', server.id, { status: null });
    expect(await push(id)).toEqual(DONE);
    expect(await row(id)).toMatchObject({ push_reason: null, push_failures: 0, restart_wanted: false });
    expect(requests().filter((line) => line.startsWith('PUT'))).toHaveLength(2);
  });

  test('a fresh pair that is wanted is waited for, and the restart comes after it', async () => {
    const { id } = await world(both, {
      pushed_version: 1,
      push_status: 'pushed',
      restart_wanted: true,
      wanted_version: 2,
    });
    expect(await push(id)).toMatchObject(wait(5 * MINUTE));
    expect(requests()).toEqual([]);
    await set(id, pair(2));
    expect(await push(id)).toEqual(DONE);
    expect(sim.powerLog).toMatchObject([{ environment: { [SESSION]: token('session', 2) } }]);
  });

  test('a server is not restarted with a pair that has less than ten minutes left', async () => {
    const { id } = await world(both, { pushed_version: 1, push_status: 'pushed', restart_wanted: true });
    expect(await push(id, { now: () => NOW + 51 * MINUTE })).toMatchObject({ state: 'stale' });
    expect(sim.powerLog).toEqual([]);
  });

  test('a wish that comes during the restart is kept', async () => {
    const { id } = await world(both, { pushed_version: 1, push_status: 'pushed', restart_wanted: true });
    during(1, () => set(id, { wanted_version: 2, restart_wanted: true }));
    expect(await push(id)).toEqual(DONE);
    expect(await row(id)).toMatchObject({ restart_wanted: true });
  });
});

describe('the budget of the client key', () => {
  /** So many requests of Hytale were granted just now. */
  const spend = (spent: number, limit: number | null = 240) =>
    database.db.raw(
      `insert into usage_budget (panel, request_limit, hytale_asked) values (?, ?, array_fill(clock_timestamp(), array[?::int]))
       on conflict (panel) do update set request_limit = excluded.request_limit, hytale_asked = excluded.hytale_asked`,
      [budgetKey(access()) ?? '', limit, spent],
    );
  const spent = async () => ((await budgetRow())['hytale_asked'] as unknown[]).length;

  test('a push takes one request per variable, and a restart one more; what an administrator sets takes none', async () => {
    const { id } = await world(both, { restart_wanted: true });
    expect(await push(id)).toEqual(DONE);
    expect(await spent()).toBe(3);
    const hidden = await world([{ name: SESSION, viewable: false }, { name: IDENTITY }]);
    expect(await push(hidden.id)).toEqual(DONE);
    expect(await spent()).toBe(3);
    // Figures of servers have a share of their own.
    expect(await budgetRow()).toMatchObject({ request_limit: 0, asked: [] });
  });

  test('at a quarter of the limit nothing is sent: the push waits, without a failure, until requests are a minute old', async () => {
    const { id } = await world(both);
    await spend(59);
    const step = await push(id, { random: () => 0.5 });
    expect(step).toMatchObject({ state: 'wait', ms: expect.toSatisfy((ms: number) => ms > 60_000 && ms <= 70_000) });
    expect(requests()).toEqual([]);
    expect(await row(id)).toMatchObject({ push_status: 'pending', push_failures: 0, pushed_version: null });
    expect((await row(id))['push_reason']).toContain('raise the rate limit of the client API');
    await database.db.raw(
      `update usage_budget set hytale_asked = array(select a - interval '61 seconds' from unnest(hytale_asked) a)`,
    );
    expect(await push(id)).toEqual(DONE);
    expect(await spent()).toBe(2);
  });

  test('a restart that waits for the budget leaves the session pushed', async () => {
    const { id } = await world(both, { restart_wanted: true });
    await spend(58);
    expect(await push(id)).toMatchObject({ state: 'wait' });
    expect(await row(id)).toMatchObject({ push_status: 'pushed', pushed_version: 1, restart_wanted: true });
    expect(sim.powerLog).toEqual([]);
    await spend(0);
    expect(await push(id)).toEqual(DONE);
    expect(sim.powerLog).toHaveLength(1);
  });

  test('pulls have three quarters of the share and no request while pushes use it up; claims at once never exceed it', async () => {
    const { take } = createHytaleBudget({ db: database.db, settings: async () => access() });
    const granted = async (use: 'push' | 'pull', requests: number, tries: number): Promise<number> => {
      const taken = await Promise.all(Array.from({ length: tries }, () => take(use, requests)));
      return taken.filter((one) => one.granted).length;
    };
    await spend(0);
    expect(await granted('pull', 1, 50)).toBe(45);
    expect(await granted('push', 2, 10)).toBe(7);
    expect(await spent()).toBe(59);
    // One of the pulls leaves the window: that is for a push, not for another pull.
    await database.db.raw(`update usage_budget set hytale_asked[1] = clock_timestamp() - interval '61 seconds'`);
    expect(await take('pull', 1)).toMatchObject({ granted: false, paused: false });
    expect(await take('push', 2)).toEqual({ granted: true });
    expect(await spent()).toBe(60);

    // A limit whose quarter is less than a push: one push in a minute, and no pull.
    await spend(0, 4);
    expect(await take('pull', 1)).toMatchObject({ granted: false });
    expect(await granted('push', 2, 3)).toBe(1);
    // Not asked yet; announces no limit.
    await spend(0, null);
    expect(await granted('pull', 1, 15)).toBe(8);
    await spend(0, 0);
    expect(await granted('push', 1, 70)).toBe(60);
  });

  test('without a client key nothing is held back; a key of its own has a budget of its own', async () => {
    await spend(60);
    const { take } = createHytaleBudget({ db: database.db, settings: async () => ({ panelUrl: sim.url }) });
    expect(await take('push', 2)).toEqual({ granted: true });
    const other = createHytaleBudget({
      db: database.db,
      settings: async () => ({ ...access(), panelClientApiKey: new Secret('another') }),
    });
    expect(await other.take('pull', 1)).toEqual({ granted: true });
  });
});
