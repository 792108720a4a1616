/** `/api/v1/queues/stats`: its shape, who may read it, and what it says without Temporal. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createQueueStats } from '../../../src/services/runs/queue-stats.ts';
import { type AllQueueFigures, NO_FIGURES } from '../../../src/temporal/task-queues.ts';
import { API_KEY, bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

const PATH = '/api/v1/queues/stats';
const FIGURES = {
  running: 3,
  failed: 1,
  backlog: 2,
  backlogAgeSeconds: 40,
  pollers: { workflow: 1, activity: 1 },
};
const all = (figures: AllQueueFigures['core']): AllQueueFigures => ({
  core: figures,
  panel: figures,
  outbound: figures,
});

let harness: Harness;
let reads = 0;
let read: () => Promise<AllQueueFigures>;
beforeAll(async () => {
  harness = await startHarness({
    deps: {
      queues: createQueueStats(() => {
        reads += 1;
        return read();
      }),
    },
  });
});
beforeEach(() => {
  reads = 0;
});
afterAll(() => harness.close());
const get = (headers: Record<string, string> = { 'X-API-Key': API_KEY }) => harness.get(PATH, { headers });

test('programs and administrators get the figures, the former names stay; others are refused', async () => {
  let release: (figures: AllQueueFigures) => void = () => undefined;
  read = () =>
    new Promise((resolve) => {
      release = resolve;
    });
  const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  const answers = [get(), get(bearer(admin.token)), get()];
  while (reads === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  const late = get();
  release(all(FIGURES));
  for (const answer of [...answers, late]) {
    const response = await answer;
    expect(response.status).toBe(200);
    const { data, ...rest } = await response.json();
    expect(rest).toEqual({ success: true, message: '' });
    const queue = { ...FIGURES, open: 3 };
    expect(data).toEqual({
      queues: ['critical', 'default', 'low'],
      stats: { core: queue, panel: queue, outbound: queue },
      note: expect.not.stringContaining('null'),
    });
  }
  expect(reads).toBe(1);
  const member = await makeUser(harness);
  expect([(await get({})).status, (await get(bearer(member.token))).status]).toEqual([401, 403]);
});

test('what Temporal does not say is null, and the note says so', async () => {
  read = async () => ({ ...all(FIGURES), outbound: NO_FIGURES });
  const other = await startHarness({
    database: harness.database,
    deps: { queues: createQueueStats(() => read()) },
  });
  try {
    const { data } = await (await other.get(PATH, { headers: { 'X-API-Key': API_KEY } })).json();
    expect(data).toMatchObject({
      stats: { core: { backlog: 2 }, outbound: { ...NO_FIGURES, open: null } },
      note: expect.stringContaining('Temporal cannot be reached'),
    });
  } finally {
    await other.close();
  }
});
