/** What the client writes at the panel, and what no error of a write holds. */
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { FaultAction } from '../../../simulators/panel/http/faults.ts';
import type { PanelSimulator } from '../../../simulators/panel/simulator.ts';
import type { ServerRow } from '../../../simulators/panel/world/rows.ts';
import { createPanelClient, type PanelClient } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { clientOf, panelExamples, startPanel, startRawServer } from '../../support/panel.ts';

const VALUE = 'marker-of-a-token';
const secret = new Secret(VALUE);

let sim: PanelSimulator;
let client: PanelClient;
let close: () => Promise<void>;
beforeAll(async () => {
  const panel = await startPanel({
    servers: 1,
    users: 4,
    subusers: 0,
    databases: 0,
    allocations: 40,
    limit: 0,
    clientLimit: 0,
  });
  ({ sim, close } = panel);
  client = clientOf(sim, { apiKey: new Secret(sim.keys.second) });
});
afterEach(() => sim.reset());
afterAll(async () => {
  await client.close();
  await close();
});

/** The error, which holds no token and no key in any part. */
async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${inspect(error)}`);
  const printed = inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error) + error.stack;
  for (const text of [VALUE, sim.keys.client, sim.keys.second]) expect(printed).not.toContain(text);
  return error;
}

function server(values: Record<string, string> = {}): ServerRow {
  const egg = sim.create('eggs', { nest: 1 });
  const add = (env_variable: string, rules: string, open = true) =>
    sim.create('variables', {
      ...{ egg_id: egg.id, env_variable, rules, default_value: 'unset' },
      ...{ user_viewable: open, user_editable: open },
    });
  add('OPEN', 'nullable|string');
  add('HIDDEN', 'nullable|string', false);
  add('PORT', 'required|numeric');
  sim.update('nodes', 1, { maintenance_mode: false });
  return sim.create('servers', { egg: egg.id, node: 1, values: { PORT: '5520', ...values } });
}
const valuesOf = ({ id }: ServerRow) => sim.world.servers.get(id)?.values;
const requests = () => sim.requests.map(({ method, path, key }) => `${key} ${method} ${path}`);

describe('variables', () => {
  test('one that users may edit is set by the client key', async () => {
    const row = server();
    const { throttle } = await client.setVariable(row.uuid, 'OPEN', secret);
    expect(throttle).toEqual({});
    expect(valuesOf(row)).toEqual({ PORT: '5520', OPEN: VALUE });
    expect(requests()).toEqual([`client PUT /api/client/servers/${row.uuid}/startup/variable`]);
  });

  test('without a client key nothing is sent', async () => {
    const without = createPanelClient({ url: sim.url, guard: 'environment', apiKey: new Secret(sim.keys.second) });
    const error = await failure(without.setVariable('u', 'OPEN', secret));
    expect([error.code, (await failure(without.power('u', 'start'))).code]).toEqual(
      Array(2).fill('PANEL_NOT_CONFIGURED'),
    );
    expect(requests()).toEqual([]);
    await without.close();
  });

  test('what the panel says about a refusal', async () => {
    const row = server();
    const put = (name: string, uuid = row.uuid) => failure(client.setVariable(uuid, name, secret));
    expect(await put('PORT')).toMatchObject({
      code: 'PANEL_CONTRACT',
      meta: { status: 422, panelCode: 'ValidationException' },
      details: [{ path: 'value', message: 'numeric' }],
    });
    expect(await put('HIDDEN')).toMatchObject({ code: 'PANEL_CONTRACT', meta: { status: 400 }, details: undefined });
    expect(await put('OPEN', '1234')).toMatchObject({ code: 'PANEL_NOT_FOUND', publicMessage: undefined });
    // Status 500, and the list of variables: which name it was.
    expect(await put('LOST')).toMatchObject({
      code: 'PANEL_NOT_FOUND',
      message: 'The egg of this server has no variable LOST at the panel: run a sync',
    });
    // The same status for a variable that is there is an outage; so it is when the list cannot be read either.
    sim.faults.add({ match: { method: 'PUT' }, action: { kind: 'status', status: 500 } });
    expect((await put('OPEN')).code).toBe('PANEL_UNAVAILABLE');
    sim.faults.add({ match: { method: 'GET' }, action: { kind: 'status', status: 503 } });
    expect((await put('LOST')).code).toBe('PANEL_UNAVAILABLE');
  });

  test('those that users may not edit, with all others as they were', async () => {
    const row = server({ HIDDEN: 'before' });
    await client.updateStartup(row.id, new Map([['HIDDEN', secret]]));
    // The panel stores each variable, so the default of one that was never set is now a value of its own.
    expect(valuesOf(row)).toEqual({ PORT: '5520', OPEN: 'unset', HIDDEN: VALUE });
    const path = `/api/application/servers/${row.id}`;
    expect(requests()).toEqual([`second GET ${path}`, `second PATCH ${path}/startup`]);
    const error = await failure(client.updateStartup(row.id, new Map([['PORT', secret]])));
    expect(error.details).toEqual([{ path: 'environment.PORT', message: 'numeric' }]);
    const lost = await failure(client.updateStartup(row.id, new Map([['LOST', secret]])));
    expect(lost.message).toBe('The egg of this server has no variable LOST at the panel: run a sync');
    expect(requests().filter((line) => line.includes('PATCH'))).toHaveLength(2);
    const reader = clientOf(sim);
    expect((await failure(reader.updateStartup(row.id, new Map([['HIDDEN', secret]])))).code).toBe('PANEL_AUTH');
    await reader.close();
  });

  test.each<FaultAction>([
    { kind: 'status', status: 401 },
    { kind: 'status', status: 429, retryAfter: 7 },
    { kind: 'reset' },
    { kind: 'truncate' },
    { kind: 'html' },
    { kind: 'gateway', status: 522 },
  ])('after $kind no error holds the token', async (action) => {
    const row = server();
    sim.faults.add({ action });
    await failure(client.setVariable(row.uuid, 'OPEN', secret));
    await failure(client.updateStartup(row.id, new Map([['HIDDEN', secret]])));
    expect(requests()).toHaveLength(2);
  });
});

describe('answers of other panels', () => {
  async function panel(answer: (method: string) => { status?: number; body: unknown }) {
    const bodies: unknown[] = [];
    const raw = await startRawServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on('end', () => {
        if (text !== '') bodies.push(JSON.parse(text));
        const { status = 200, body } = answer(request.method ?? '');
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      });
    });
    const url = `${raw.url}/under/a/path/`;
    const other = createPanelClient({
      url,
      guard: 'environment',
      apiKey: new Secret('a'),
      clientApiKey: new Secret('c'),
    });
    const end = () => Promise.all([raw.close(), other.close()]);
    return { other, bodies, raw, end };
  }

  test('the startup of a recorded server is sent as it was read', async () => {
    const recorded = panelExamples().find(({ name }) => name === 'app-server')?.body;
    const body = JSON.parse(JSON.stringify(recorded));
    Object.assign(body.attributes.container, { skip_scripts: true });
    Object.assign(body.attributes.container.environment, { COUNT: 7, FLAG: true, NOTHING: null, TOKEN: 'old' });
    const { other, bodies, raw, end } = await panel(() => ({ body }));
    await other.updateStartup(2, new Map([['TOKEN', secret]]));
    expect(bodies).toEqual([
      {
        startup: './run --port {{SERVER_PORT}} {{EXTRA}}',
        image: 'registry.lab.invalid/base:1',
        egg: 15,
        skip_scripts: true,
        environment: { EXTRA: '', COUNT: '7', FLAG: 'true', NOTHING: null, TOKEN: VALUE },
      },
    ]);
    expect(raw.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
      'GET /under/a/path/api/application/servers/2',
      'PATCH /under/a/path/api/application/servers/2/startup',
    ]);
    await end();
  });

  test('a server that is not understood is not written to', async () => {
    const { other, bodies, end } = await panel(() => ({
      body: { object: 'server', attributes: { egg: 1, container: {} } },
    }));
    const error = await failure(other.updateStartup(2, new Map([['TOKEN', secret]])));
    expect(error).toMatchObject({ code: 'PANEL_CONTRACT', meta: { at: 'container.startup_command' } });
    expect(bodies).toEqual([]);
    await end();
  });

  test('of a refusal only words of the panel are kept: it can quote what was sent', async () => {
    const entry = (source_field: unknown, rule: unknown) => ({
      ...{ code: 'ValidationException', status: '422', detail: `The value ${VALUE} is bad.` },
      meta: { source_field, rule, value: VALUE },
    });
    const errors = [
      entry('value', 'max'),
      entry(`value ${VALUE}`, 'max'),
      entry('value', `in:${VALUE}`),
      entry(1, null),
      7,
    ];
    const { other, end } = await panel(() => ({ status: 422, body: { errors: errors.slice(0, 4) } }));
    const error = await failure(other.setVariable('u', 'OPEN', secret));
    expect(error.details).toEqual([{ path: 'value', message: 'max' }]);
    await end();
  });
});

describe('power', () => {
  test('a signal is passed on', async () => {
    const row = server();
    await client.power(row.uuid, 'restart');
    expect(sim.powerLog).toMatchObject([{ uuid: row.uuid, signal: 'restart', environment: { PORT: '5520' } }]);
    expect(requests()).toEqual([`client POST /api/client/servers/${row.uuid}/power`]);
  });

  test('a node that does not answer, a state that forbids it, and a page in place of the answer', async () => {
    const row = server();
    const restart = () => failure(client.power(row.uuid, 'restart'));
    sim.update('nodes', row.node, { daemon_down: true });
    expect(await restart()).toMatchObject({
      code: 'PANEL_UNAVAILABLE',
      meta: { panelCode: 'DaemonConnectionException' },
    });
    sim.update('nodes', row.node, { daemon_down: false });
    sim.update('servers', row.id, { status: 'suspended' });
    expect((await restart()).code).toBe('PANEL_CONFLICT');
    sim.update('servers', row.id, { status: null });
    sim.faults.add({ action: { kind: 'gateway', status: 200 } });
    expect((await restart()).code).toBe('PANEL_UNAVAILABLE');
    expect(sim.powerLog).toEqual([]);
  });
});
