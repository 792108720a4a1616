/** One batch of pages against a panel that misbehaves: when it is an outage, when a fallback, and what is staged. */
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { FaultAction } from '../../../simulators/panel/http/faults.ts';
import {
  createPageActivities,
  type StagePagesInput,
  type StagePagesResult,
} from '../../../src/activities/sync/read-pages.ts';
import type { PanelClient } from '../../../src/clients/panel/client.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { listingRef, type SourceRef } from '../../../src/domain/sync/source-ref.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import { panelFingerprint } from '../../../src/services/sync/panel-fingerprint.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { verifySource } from '../../../src/store/sync/source-check.ts';
import { stagedServers } from '../../../src/store/sync/staging-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { type HandRun, openTestRun, query } from '../../support/merge.ts';
import { startPanel } from '../../support/panel.ts';

let database: TestDatabase;
let run: HandRun;
let panel: Awaited<ReturnType<typeof startPanel>>;
beforeEach(async () => {
  database = await createTestDatabase({ max: 4 });
  run = await openTestRun(database.db);
  panel = await startPanel({ users: 230, servers: 240, allocations: 400, limit: 0 });
});
afterEach(async () => {
  await panel?.close();
  await database?.drop();
});

const servers = listingRef('servers');
/** Stages pages as the given attempt of the activity. */
async function stage(input: Partial<StagePagesInput>, attempt = 3, note?: object) {
  const { sim } = panel;
  const identity = { panelUrl: sim.url, panelApiKey: new Secret(sim.keys.full) };
  const stored = createSettings({ db: database.db, config: loadConfig({}), encryption: createEncryption({}) });
  const deps = {
    db: database.db,
    panel: async (): Promise<PanelClient> => panel.client,
    settings: async () => ({ ...(await stored.runtime()), ...identity }),
  };
  const env = new MockActivityEnvironment({ attempt, ...(note === undefined ? {} : { heartbeatDetails: note }) });
  const { stagePages } = createPageActivities(deps);
  const whole: StagePagesInput = {
    logId: run.logId,
    panel: panelFingerprint(await deps.settings()),
    target: 'full',
    skipUsers: false,
    subusers: true,
    source: servers,
    include: 'allocations',
    pass: 1,
    pages: [1],
    perPage: 100,
    part: false,
    total: 0,
    mayBeStaged: false,
    ...input,
  };
  return (await env.run(async () => stagePages(whole))) as StagePagesResult;
}
const fails = async (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error);
const isFallback = (error: unknown) =>
  error instanceof ApplicationFailure && (error.details?.[0] as { fallback?: boolean })?.fallback === true;
const SERVERS = /\/application\/servers$/;

describe('a failure of a page', () => {
  test.each<[string, FaultAction]>([
    ['500', { kind: 'status', status: 500 }],
    ['502', { kind: 'status', status: 502 }],
    ['524', { kind: 'gateway', status: 524 }],
  ])('with %s is an outage while the panel fails everything, else one of the page (F2)', async (_, action) => {
    const clear = panel.sim.faults.add({ action });
    expect(isFallback(await fails(stage({})))).toBe(false);
    expect(isFallback(await fails(stage({}, 7)))).toBe(false);
    clear();
    panel.sim.faults.add({ match: { path: SERVERS, page: 1 }, action });
    expect(isFallback(await fails(stage({}, 2)))).toBe(false);
    expect(isFallback(await fails(stage({})))).toBe(true);
  });

  test('is none when the panel recovers between the page and the look at something else', async () => {
    const { sim } = panel;
    sim.faults.add({ match: { path: SERVERS }, times: 1, action: { kind: 'status', status: 502 } });
    expect((await stage({})).pages).toMatchObject([{ page: 1, rows: 100 }]);
  });

  test('counts as one of the page after three attempts that were lost with their process (1.4)', async () => {
    expect(isFallback(await fails(stage({}, 4, { running: true, lost: 2 })))).toBe(true);
    expect(panel.sim.requests).toEqual([]);
    expect((await stage({}, 4, { running: false, lost: 0 })).pages).toHaveLength(1);
  });
});

describe('a record that the panel cannot print (F5)', () => {
  const broken = (query?: RegExp) =>
    panel.sim.faults.add({
      match: { path: SERVERS, place: 57, ...(query === undefined ? {} : { query }) },
      action: { kind: 'status', status: 500 },
    });

  test('is rejected by its id where the panel prints it without includes', async () => {
    broken(/include=/);
    const { pages, warnings } = await stage({ pages: [57], perPage: 1, part: true, total: 240 }, 1);
    const [{ ids }] = (await query(database.db, `select ids from sync_pages where entity = 'servers'`)) as [
      { ids: number[] },
    ];
    expect(pages).toMatchObject([{ unprintable: 1, rows: 1, total: 240 }]);
    expect(ids).toEqual([
      panel.sim
        .dump()
        .servers.map((s) => s.id)
        .sort((a, b) => a - b)[56],
    ]);
    expect(warnings[0]?.message).toContain(`the record ${ids[0]} of servers`);
  });

  test('is named by its place where it cannot be printed at all; the listing counts as whole with it', async () => {
    broken();
    for (const page of [2, 3]) await stage({ pages: [page], total: 240 });
    await stage({ pages: [1], perPage: 50, part: true, total: 240 });
    for (const size of [50, 25, 5])
      expect(
        isFallback(await fails(stage({ pages: [Math.ceil(57 / size)], perPage: size, part: true, total: 240 }, 1))),
      ).toBe(true);
    await stage({ pages: [4], perPage: 25, part: true, total: 240 });
    await stage({ pages: [11, 13, 14, 15], perPage: 5, part: true, total: 240 });
    const verdict = () => verifySource(database.db, { logId: run.logId, source: servers, pass: 1 });
    expect(await verdict()).toMatchObject({ reason: 'missing', missingPages: [{ page: 1, size: 100 }] });
    const singles = await stage({ pages: [56, 57, 58, 59, 60], perPage: 1, part: true, total: 240 }, 1);
    expect(singles.warnings.map((w) => w.message)).toEqual([
      'the panel cannot print the record at place 57 of servers; what is stored of it was kept',
    ]);
    expect(await verdict()).toMatchObject({
      complete: true,
      distinct: 239,
      unreadable: 1,
    });
  });
});

describe('an answer', () => {
  test.each<[SourceRef]>([[{ kind: 'node', id: 99_999 }], [{ kind: 'nest', id: 99_999 }]])(
    '404 for %o is an empty list: it was deleted meanwhile (e6)',
    async (source) => {
      const { pages } = await stage({ source, include: '' }, 1);
      expect(pages).toMatchObject([{ page: 1, rows: 0, total: 0 }]);
    },
  );

  test('404 or 403 for a listing says that it is absent, 401 that the key is refused (P-3)', async () => {
    const { sim } = panel;
    const clear = sim.faults.add({ match: { path: SERVERS }, action: { kind: 'status', status: 403 } });
    expect(await stage({}, 1)).toMatchObject({ absent: 'forbidden', pages: [] });
    clear();
    const off = sim.faults.add({ match: { path: SERVERS }, action: { kind: 'status', status: 404 } });
    expect(await stage({}, 1)).toMatchObject({ absent: 'missing', pages: [] });
    off();
    sim.faults.add({ match: { path: SERVERS }, action: { kind: 'status', status: 401 } });
    expect(await fails(stage({}, 1))).toMatchObject({ code: 'PANEL_AUTH' });
  });
});

describe('the lanes of a batch', () => {
  const batch = { pages: [1, 2, 3, 4, 5], perPage: 50, lanes: 2, total: 240 };
  const stagedPages = async () =>
    (await query(database.db, `select distinct page from sync_pages where entity = 'servers' order by page`)).map(
      (row) => row['page'],
    );
  test('read side by side, each with one request at a time, and answer for themselves', async () => {
    const { sim } = panel;
    sim.faults.add({ match: { path: SERVERS }, action: { kind: 'slow', ms: 50 } });
    const { pages, answers } = await stage(batch, 1);
    expect(sim.peakInFlight()).toBe(2);
    expect(answers.map((lane) => lane.length)).toEqual([3, 2]);
    expect(pages.map(({ page }) => page).sort()).toEqual([1, 2, 3, 4, 5]);
    expect(await stagedPages()).toEqual([1, 2, 3, 4, 5]);
    sim.clearRequests();
    await stage({ ...batch, lanes: 1 }, 1);
    expect(sim.peakInFlight()).toBe(1);
    // An activity of the release before has no lanes.
    const { lanes: _, ...before } = batch;
    expect((await stage(before, 1)).answers.map((lane) => lane.length)).toEqual([5]);
  });

  test('stop when one of them fails; what they read stays, and the next attempt reads the rest', async () => {
    const clear = panel.sim.faults.add({ match: { path: SERVERS, page: 1 }, action: { kind: 'status', status: 500 } });
    // The other lane is still at its first page when this one fails.
    const off = panel.sim.faults.add({ match: { path: SERVERS, page: 2 }, action: { kind: 'slow', ms: 300 } });
    expect(await fails(stage(batch, 1))).toMatchObject({ code: 'PANEL_UNAVAILABLE' });
    expect(await stagedPages()).toEqual([2]);
    clear();
    off();
    panel.sim.clearRequests();
    expect((await stage(batch, 2)).pages.map(({ page }) => page).sort()).toEqual([1, 2, 3, 4, 5]);
    expect(panel.sim.requests.length).toBe(4);
  });

  test('stop when the panel asks one of them to wait; the pages that were not read are missing from the result', async () => {
    panel.sim.faults.add({ match: { path: SERVERS, page: 1 }, action: { kind: 'status', status: 429, retryAfter: 7 } });
    panel.sim.faults.add({ match: { path: SERVERS, page: 2 }, action: { kind: 'slow', ms: 300 } });
    const { pages, stopped, answers } = await stage(batch, 1);
    expect(stopped).toEqual({ kind: 'throttled', retryAfterMs: 7_000 });
    expect(pages.map(({ page }) => page)).toEqual([2]);
    expect(answers.map((lane) => lane.length)).toEqual([0, 1]);
    expect(await stagedPages()).toEqual([2]);
  });

  test('store nothing more once the run is being cancelled', async () => {
    await query(database.db, `update sync_logs set "cancelledAt" = now() returning id`);
    const { stopped } = await stage(batch, 1);
    expect(stopped).toEqual({ kind: 'cancelled' });
    expect(await stagedPages()).toEqual([]);
    // Each lane asked for two pages at most: it begins one while the page before is being stored.
    expect(panel.sim.requests.length).toBeLessThanOrEqual(4);
  });
});

test('servers are read from staging page by page, each of them once (1.17)', async () => {
  await stage({ pages: [1, 2, 3] });
  const seen: number[] = [];
  let after: Parameters<typeof stagedServers>[1]['after'] = null;
  for (let batches = 0; batches < 20; batches += 1) {
    const batch: Awaited<ReturnType<typeof stagedServers>> = await stagedServers(database.db, {
      logId: run.logId,
      pass: 1,
      after,
      limit: 30,
    });
    if (batch.next === null) break;
    seen.push(...batch.servers.map((s) => s.panelId));
    after = batch.next;
  }
  expect(seen.sort((a, b) => a - b)).toEqual(
    panel.sim
      .dump()
      .servers.map((s) => s.id)
      .sort((a, b) => a - b),
  );
});
