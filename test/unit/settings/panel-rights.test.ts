/** What the keys of a panel may read, as doctor, the wizard and the settings page find it out (F6). */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RIGHTS } from '../../../simulators/panel/api/kinds.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createPanelClient } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import {
  keysProblem,
  PANEL_RIGHTS,
  type PanelFindings,
  type PanelRight,
  readPanelRights,
} from '../../../src/services/settings/panel-rights.ts';

let sim: PanelSimulator;
beforeAll(async () => {
  sim = await startPanelSimulator({ servers: 5, users: 5 });
  // The first server has a database, so that the right to read hosts shows.
  const { databases } = sim.world;
  if (![...databases.values()].some(({ server }) => server === 1)) throw new Error('server 1 has no database');
});
beforeEach(() => sim.reset());
afterAll(() => sim.close());

async function read(apiKey = sim.keys.full, clientApiKey?: string, timeoutMs = 5_000): Promise<PanelFindings> {
  const client = createPanelClient({
    url: sim.url,
    guard: 'environment',
    apiKey: new Secret(apiKey),
    ...(clientApiKey === undefined ? {} : { clientApiKey: new Secret(clientApiKey) }),
  });
  try {
    return await readPanelRights(client, { clientKey: clientApiKey !== undefined, timeoutMs });
  } finally {
    await client.close();
  }
}
const statesOf = ({ rights }: PanelFindings) => Object.fromEntries(rights.map(({ right, state }) => [right, state]));
const keyWithout = (...lacking: PanelRight[]) =>
  sim.addKey({ rights: RIGHTS.filter((right) => !lacking.some((one) => one === right)) });

test('a key with all rights: each is granted, after four requests for one record each', async () => {
  const found = await read();
  expect(statesOf(found)).toEqual(Object.fromEntries(PANEL_RIGHTS.map((right) => [right, 'granted'])));
  expect(found).toMatchObject({ servers: 5, limit: 240, clientKey: null });
  expect(keysProblem(found)).toBeUndefined();
  expect(sim.requests).toHaveLength(4);
  for (const { query } of sim.requests) expect(query).toContain('per_page=1');
});

describe('a right that the key lacks', () => {
  test.each(PANEL_RIGHTS)('%s is named, and the others are still found out', async (right) => {
    const found = await read(keyWithout(right));
    expect(statesOf(found)[right]).toBe('missing');
    const others = Object.entries(statesOf(found)).filter(([name]) => name !== right);
    expect(others.filter(([, state]) => state === 'missing')).toEqual([]);
    const { label, needed } = found.rights.find((one) => one.right === right) ?? {};
    expect(keysProblem(found)).toBe(needed === true ? `The API key lacks the right to read: ${label}` : undefined);
    expect(sim.requests.length).toBeLessThanOrEqual(7);
  });

  test('a key that may read servers only lacks six', async () => {
    expect(statesOf(await read(sim.keys.fewRights))).toMatchObject({ servers: 'granted', users: 'missing' });
    expect(keysProblem(await read(sim.keys.fewRights))).toMatch(/read: Locations, Nodes, Allocations, Nests, Users$/);
  });

  test.each(['noRights', 'notAdmin', 'locked', 'expired', 'userClient'] as const)(
    'a key without any (%s) is refused as a whole',
    async (key) => {
      const error: unknown = await read(sim.keys[key]).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(AppError);
      expect(error).toMatchObject({ code: 'PANEL_AUTH' });
    },
  );
});

test('what cannot be found out is unknown, with the reason, and no failure', async () => {
  // Eggs that inherit their configuration break each answer that contains them.
  sim.faults.add({
    match: { path: /^\/api\/application\/nests\?.*include=eggs|^\/api\/application\/nests$/ },
    times: 1,
    action: { kind: 'status', status: 500 },
  });
  sim.faults.add({ match: { path: /\/users$/ }, action: { kind: 'hang' } });
  const found = await read(sim.keys.full, undefined, 400);
  expect(statesOf(found)).toMatchObject({ nests: 'granted', eggs: 'unknown', users: 'unknown', servers: 'granted' });
  const reasonOf = (right: PanelRight) => found.rights.find((one) => one.right === right)?.reason;
  expect(reasonOf('eggs')).toBe('The panel answers with an error of its own (status 500)');
  expect(reasonOf('users')).toBe('the panel did not answer in time');
  expect(keysProblem(found)).toBeUndefined();
});

test('a panel without servers: nodes tell the right to read allocations', async () => {
  const empty = await startPanelSimulator({ servers: 0, users: 1 });
  const client = (apiKey: string) =>
    createPanelClient({ url: empty.url, guard: 'environment', apiKey: new Secret(apiKey) });
  const statesWith = async (apiKey: string) => {
    const one = client(apiKey);
    const found = await readPanelRights(one, { clientKey: false, timeoutMs: 5_000 });
    await one.close();
    return statesOf(found);
  };
  try {
    expect(await statesWith(empty.keys.full)).toMatchObject({ allocations: 'granted', database_hosts: 'unknown' });
    const lacking = empty.addKey({ rights: RIGHTS.filter((right) => right !== 'allocations') });
    expect(await statesWith(lacking)).toMatchObject({ nodes: 'granted', allocations: 'missing' });
  } finally {
    await empty.close();
  }
});

describe('the client key', () => {
  test.each([
    ['client', 'administrator', undefined],
    ['userClient', 'not-administrator', undefined],
    ['full', 'refused', /must be an account API key/],
    ['expired', 'refused', /must be an account API key/],
  ] as const)('%s is known as %s', async (key, state, problem) => {
    const found = await read(sim.keys.full, sim.keys[key]);
    expect(found.clientKey?.state).toBe(state);
    if (problem === undefined) expect(keysProblem(found)).toBeUndefined();
    else expect(keysProblem(found)).toMatch(problem);
  });

  test('that cannot be tried is unknown, and no failure', async () => {
    sim.faults.add({ match: { path: /\/account$/ }, action: { kind: 'gateway', status: 522 } });
    const found = await read(sim.keys.full, sim.keys.client);
    expect(found.clientKey).toMatchObject({ state: 'unknown', message: expect.stringContaining('522') });
    expect(keysProblem(found)).toBeUndefined();
  });
});
