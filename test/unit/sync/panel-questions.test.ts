/** What is asked of the panel about missing rows, and which of its answers are believed. */
import { ActivityFailure, ApplicationFailure, RetryState, TimeoutFailure, TimeoutType } from '@temporalio/common';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { PanelSimulator } from '../../../simulators/panel/contract.ts';
import { startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { type Asking, ask } from '../../../src/activities/sync/panel-questions.ts';
import { createPanelClient, type PanelClient } from '../../../src/clients/panel/client.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import type { ConfirmedEntity } from '../../../src/domain/sync/targets.ts';
import type { Question } from '../../../src/store/sync/missing-store.ts';
import { isNoAnswer } from '../../../src/workflows/panel-sync/confirm-deletions.ts';

let sim: PanelSimulator;
let client: PanelClient;
beforeAll(async () => {
  sim = await startPanelSimulator({
    locations: 3,
    nodes: 4,
    allocations: 60,
    nests: 3,
    users: 30,
    servers: 40,
    limit: 0,
  });
  client = createPanelClient({ url: sim.url, apiKey: new Secret(sim.keys.full), guard: 'environment' });
});
afterAll(async () => {
  await client?.close();
  await sim?.close();
});
beforeEach(() => sim.reset());

const GONE_UUID = 'dead0000-0000-4000-8000-000000000001';
const question = (panelId: number, values: Partial<Question> = {}): Question => ({
  panelId,
  uuid: null,
  parent: null,
  port: null,
  ...values,
});
const serverUuid = (id: number) => sim.world.servers.get(id)?.uuid ?? '';

async function asked(
  entity: ConfirmedEntity,
  questions: Question[],
  limits: { requests?: number; singly?: boolean } = {},
): Promise<Asking> {
  const { requests = 25, singly = false } = limits;
  const signal = new AbortController().signal;
  const until = Date.now() + 60_000;
  const asking: Asking = {
    client,
    entity,
    limits: { requests, until, signal },
    answers: new Map(),
    throttle: [],
    singly,
  };
  await ask(asking, questions);
  return asking;
}
const paths = () => sim.requests.map((r) => r.path.replace('/api/application', ''));

test('rows with a uuid are asked for together: those that the answer lacks are gone', async () => {
  const questions = [question(1, { uuid: serverUuid(1) }), question(9_001, { uuid: GONE_UUID })];
  const { answers } = await asked('servers', questions);
  expect([...answers]).toEqual([
    [1, true],
    [9_001, false],
  ]);
  expect(paths()).toEqual(['/servers']);
});

test('a row without a uuid is asked for by its id, and only a denial counts as gone', async () => {
  const { answers } = await asked('servers', [question(3), question(9_001), question(4, { uuid: 'half-a-uuid' })]);
  expect([...answers]).toEqual([
    [3, true],
    [9_001, false],
    // A text that is no uuid: another record may be meant.
    [4, null],
  ]);
  expect(paths()).toEqual(['/servers/3', '/servers/9001', '/servers/4']);
});

test('users are asked for like servers', async () => {
  const uuid = sim.world.users.get(5)?.uuid ?? '';
  const { answers } = await asked('users', [question(5, { uuid }), question(6), question(9_001, { uuid: GONE_UUID })]);
  expect(Object.fromEntries(answers)).toEqual({ 5: true, 6: true, 9001: false });
});

test('an answer with records that were not asked for is not believed: a living server stays, one by one', async () => {
  sim.faults.add({ action: { kind: 'no-filters' } });
  const questions = [question(39, { uuid: serverUuid(39) }), question(9_001, { uuid: GONE_UUID })];
  const asking = await asked('servers', questions);
  expect(Object.fromEntries(asking.answers)).toEqual({ 39: true, 9001: false });
  expect(asking.singly).toBe(true);
});

test('another record under the id, and a refusal, say nothing of the row', async () => {
  const other = await asked('servers', [question(7, { uuid: GONE_UUID })], { singly: true });
  expect([...other.answers]).toEqual([[7, null]]);
  sim.faults.add({ match: { path: /\/nests\/2$/ }, action: { kind: 'status', status: 403 } });
  const { answers } = await asked('nests', [question(1), question(2), question(900)]);
  expect(Object.fromEntries(answers)).toEqual({ 1: true, 2: null, 900: false });
});

test('the requests of one batch are limited, and what was answered before the limit counts', async () => {
  const { answers, throttle } = await asked('locations', [question(1), question(2), question(3)], { requests: 2 });
  expect([...answers.keys()]).toEqual([1, 2]);
  expect(throttle).toHaveLength(2);
  const spent: Asking = {
    ...(await asked('locations', [])),
    limits: { requests: 25, until: 0, signal: new AbortController().signal },
  };
  await ask(spent, [question(1)]);
  expect(spent.answers.size).toBe(0);
});

test('allocations are asked for by the ports of their node', async () => {
  const [first, second] = [...sim.world.allocations.values()].filter((a) => a.node_id === 1);
  if (first === undefined || second === undefined) throw new Error('node 1 has too few allocations');
  sim.delete('allocations', second.id);
  const questions = [first, second].map((a) => question(a.id, { parent: 1, port: a.port }));
  expect(Object.fromEntries((await asked('allocations', questions)).answers)).toEqual({
    [first.id]: true,
    [second.id]: false,
  });
  expect(paths()).toEqual(['/nodes/1/allocations']);

  sim.faults.add({ action: { kind: 'no-filters' } });
  expect(Object.fromEntries((await asked('allocations', questions)).answers)).toEqual({
    [first.id]: true,
    [second.id]: false,
  });

  // A panel that ignores the filter and caps its pages does not tell.
  sim.settings.perPageMax = 2;
  expect(Object.fromEntries((await asked('allocations', questions)).answers)).toEqual({
    [first.id]: null,
    [second.id]: null,
  });
  sim.settings.perPageMax = undefined;
});

test('allocations of a node with many addresses are asked for port by port where one page does not hold all ports', async () => {
  const node = sim.create('nodes', { location_id: 1 });
  const made = Array.from({ length: 12 }, (_, i) =>
    sim.create('allocations', { node_id: node.id, ip: `10.1.0.${i + 1}`, port: 25_565 + (i % 3) }),
  );
  const [first, second] = made as { id: number; port: number }[];
  if (first === undefined || second === undefined) throw new Error('nothing was made');
  sim.delete('allocations', second.id);
  sim.settings.perPageMax = 5;
  const questions = [first, second].map((a) => question(a.id, { parent: node.id, port: a.port }));
  const asking = await asked('allocations', questions);
  sim.settings.perPageMax = undefined;
  expect(Object.fromEntries(asking.answers)).toEqual({ [first.id]: true, [second.id]: false });
  expect(asking.singly).toBe(false);
});

test('allocations of a node that the panel does not have are gone', async () => {
  const { answers, singly } = await asked('allocations', [question(1, { parent: 9_001, port: 1 })]);
  expect([...answers]).toEqual([[1, false]]);
  expect(singly).toBe(false);
});

test('where the listing itself is not found or forbidden, a 404 of a record says nothing: no row is gone', async () => {
  for (const status of [401, 403] as const) {
    const remove = sim.faults.add({ match: { path: /\/users$/ }, action: { kind: 'status', status } });
    expect([...(await asked('users', [question(9_001, { uuid: GONE_UUID })])).answers]).toEqual([[9_001, null]]);
    remove();
  }
  const real = client;
  client = { ...real, list: () => Promise.reject(new AppError('PANEL_NOT_FOUND')) };
  try {
    expect([...(await asked('users', [question(9_001, { uuid: GONE_UUID })])).answers]).toEqual([[9_001, null]]);
  } finally {
    client = real;
  }
});

test('a record that the panel cannot print is kept, and those behind it are asked for; an outage ends the asking', async () => {
  sim.faults.add({ match: { path: /\/servers\/3$/ }, action: { kind: 'status', status: 500 } });
  const { answers } = await asked('servers', [question(2), question(3), question(9_001)]);
  expect(Object.fromEntries(answers)).toEqual({ 2: true, 3: null, 9001: false });
  sim.faults.clear();
  sim.faults.add({ action: { kind: 'status', status: 502 } });
  await expect(
    asked(
      'servers',
      [1, 2, 4, 5].map((id) => question(id)),
    ),
  ).rejects.toMatchObject({
    code: 'PANEL_UNAVAILABLE',
  });
});

test('questions that time out are no failure of the run, as an outage of the panel is none', () => {
  const failed = (cause: Error) =>
    new ActivityFailure('failed', 'confirmDeletions', '1', RetryState.TIMEOUT, undefined, cause);
  expect(isNoAnswer(failed(new TimeoutFailure('late', undefined, TimeoutType.START_TO_CLOSE)))).toBe(true);
  expect(isNoAnswer(failed(ApplicationFailure.nonRetryable('away', 'PANEL_UNAVAILABLE')))).toBe(true);
  expect(isNoAnswer(failed(ApplicationFailure.nonRetryable('closed', 'RUN_CLOSED')))).toBe(false);
});

test('ids that the panel prints as texts are ids, and a record without a readable one may be any of those that are asked for', async () => {
  const answered = async (ids: unknown[]) => {
    const items = ids.map((id) => ({ object: 'allocation', attributes: { id, port: '25565' } }));
    const pagination = { total: ids.length, count: ids.length, perPage: 100, currentPage: 1, totalPages: 1 };
    const stub = {
      ...client,
      list: async () => ({ items, pagination, throttle: {} }),
      get: async () => ({ item: { object: 'location', attributes: { id: ids[0] } }, throttle: {} }),
    };
    const limits = { requests: 25, until: Date.now() + 60_000, signal: new AbortController().signal };
    const asking = (entity: ConfirmedEntity): Asking => ({
      client: stub,
      entity,
      limits,
      answers: new Map(),
      throttle: [],
      singly: false,
    });
    const [allocations, locations] = [asking('allocations'), asking('locations')];
    await ask(allocations, [question(1, { parent: 3, port: 25_565 }), question(2, { parent: 3, port: 25_565 })]);
    await ask(locations, [question(1)]);
    return [Object.fromEntries(allocations.answers), Object.fromEntries(locations.answers)];
  };
  expect(await answered(['1'])).toEqual([{ 1: true, 2: false }, { 1: true }]);
  expect(await answered(['1', 'x'])).toEqual([{ 1: true, 2: null }, { 1: true }]);
});
