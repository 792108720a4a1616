/** The sync's workflow against mocked activities: what it requests, in which order, and how it ends. */
import { Context } from '@temporalio/activity';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ConfirmActivities } from '../../../src/activities/sync/confirm-deletions.ts';
import type { EggActivities } from '../../../src/activities/sync/eggs.ts';
import type { MergeActivities, MergeRunInput } from '../../../src/activities/sync/merge.ts';
import type { PageActivities, StagePagesInput, StagePagesResult } from '../../../src/activities/sync/read-pages.ts';
import type { RunActivities } from '../../../src/activities/sync/run.ts';
import type { WayActivities } from '../../../src/activities/sync/ways.ts';
import { lanesOf } from '../../../src/domain/sync/lanes.ts';
import { isListing, sourceName } from '../../../src/domain/sync/source-ref.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import {
  PANEL_SYNC_ID,
  type PanelSyncInput,
  type PanelSyncResult,
  QUEUE,
  SEARCH_ATTRIBUTES,
} from '../../../src/workflows/contract.ts';
import { allHistories, failedTasks } from '../../support/histories.ts';
import { temporalConfig } from '../../support/stack.ts';
import { createTestNamespace, KEYWORD, temporalAddress } from '../../support/temporal.ts';

type Mocks = RunActivities & PageActivities & EggActivities & WayActivities & ConfirmActivities & MergeActivities;

let gateway: TemporalGateway;
let connection: NativeConnection;
let workers: Worker[];
let running: Promise<unknown>;
/** The activities of the next run; each test replaces some. */
let mocks: Mocks;
let calls: {
  opened: boolean[];
  batches: StagePagesInput[];
  closed: Parameters<Mocks['closeRun']>[0][];
  merged: number;
  remembered: Parameters<Mocks['rememberWays']>[0]['ways'];
};

const page = (n: number, pages: number, rows = 10) => ({
  page: n,
  rows,
  total: rows * pages,
  perPage: rows,
  missingIncludes: [],
  rejected: 0,
  unprintable: 0,
});
const staged = (input: StagePagesInput, pages: number): StagePagesResult => ({
  pages: input.pages.map((n) => ({
    ...page(n, pages),
    ...(input.part ? { perPage: input.perPage, rows: input.perPage } : {}),
    ...(input.include === '' && /^n/.test(sourceName(input.source)) ? { ids: [n] } : {}),
  })),
  answers: lanesOf(input.pages, input.lanes ?? 1).map((lane) => lane.map(() => ({}))),
  retried: false,
  stopped: null,
  absent: null,
  warnings: [],
});
const unserved = (n: number) =>
  ApplicationFailure.create({
    type: 'PANEL_UNAVAILABLE',
    message: 'the panel answers 500',
    nonRetryable: true,
    details: [{ page: n, fallback: true }],
  });
/** The value of a payload in a history. */
const decode = (payload: { data?: Uint8Array | null } | null | undefined): unknown =>
  payload?.data == null ? undefined : JSON.parse(Buffer.from(payload.data).toString());
const closed = () => ApplicationFailure.nonRetryable('The sync run is closed', 'RUN_CLOSED');

beforeEach(() => {
  calls = { opened: [], batches: [], closed: [], merged: 0, remembered: [] };
  mocks = {
    async openRun() {
      return {
        result: 'opened',
        panel: 'fingerprint',
        subusers: true,
        clientKey: false,
        batchSize: 5,
        concurrency: 8,
        requestsPerMinute: null,
        ways: {},
      };
    },
    stagePages: async (input) => staged(input, 1),
    async verifySource() {
      return {
        complete: true,
        reason: 'complete',
        missingPages: [],
        pages: 2,
        total: 0,
        distinct: 0,
        unreadable: 0,
        missingIncludes: [],
        candidates: [],
      };
    },
    confirmDeletions: async () => ({
      alive: 0,
      gone: 0,
      unknown: 0,
      next: null,
      singly: false,
      answers: [],
      stopped: null,
    }),
    eggsToAsk: async () => [],
    stageEggs: async ({ eggs }) => ({
      rows: eggs.length,
      failed: [],
      left: [],
      answers: eggs.map(() => ({})),
      retried: false,
      stopped: null,
    }),
    rememberWays: async () => undefined,
    mergeRun: async () => ({ status: 'merged', counts: {}, warnings: [] }),
    closeRun: async ({ outcome }) => outcome,
  };
});

beforeAll(async () => {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
  // ItemsSynced as an installation may have it from another program: every test here runs beside the wrong type.
  const namespace = await createTestNamespace('workflow', {
    SyncType: KEYWORD,
    RequestedBy: KEYWORD,
    ItemsSynced: KEYWORD,
  });
  gateway = createTemporalGateway({ ...temporalConfig(), namespace });
  connection = await NativeConnection.connect({ address: temporalAddress() });
  const codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  const activities: Mocks = {
    openRun(input) {
      calls.opened.push(input.reopen);
      return mocks.openRun(input);
    },
    stagePages(input) {
      calls.batches.push(input);
      return mocks.stagePages(input);
    },
    verifySource: (input) => mocks.verifySource(input),
    eggsToAsk: (input) => mocks.eggsToAsk(input),
    stageEggs: (input) => mocks.stageEggs(input),
    rememberWays(input) {
      calls.remembered.push(...input.ways);
      return mocks.rememberWays(input);
    },
    confirmDeletions: (input) => mocks.confirmDeletions(input),
    mergeRun(input) {
      calls.merged += 1;
      return mocks.mergeRun(input);
    },
    closeRun(input) {
      calls.closed.push(input);
      return mocks.closeRun(input);
    },
  };
  const options = { connection, namespace, activities, shutdownForceTime: '5s', maxHeartbeatThrottleInterval: '200ms' };
  workers = await Promise.all([
    Worker.create({ ...options, taskQueue: QUEUE.core, workflowBundle: { codePath } }),
    Worker.create({ ...options, taskQueue: QUEUE.panel }),
  ]);
  running = Promise.all(workers.map((w) => w.run()));
});
afterAll(async () => {
  for (const worker of workers) worker.shutdown();
  await running;
  await connection.close();
  await gateway.close();
});

const start = (input: Partial<PanelSyncInput> = {}) =>
  gateway.client.workflow.start('panelSync', {
    workflowId: PANEL_SYNC_ID,
    taskQueue: QUEUE.core,
    workflowRunTimeout: '40s',
    memo: { logId: 'log' },
    typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.syncType, value: 'full' }],
    args: [{ logId: 'log', target: 'full', dryRun: false, skipUsers: false, requestedBy: 'test', ...input }],
  });
async function run(input: Partial<PanelSyncInput> = {}): Promise<PanelSyncResult> {
  const result: PanelSyncResult = await (await start(input)).result();
  return result;
}
const failing = async (input: Partial<PanelSyncInput> = {}): Promise<string> => {
  const handle = await start(input);
  await handle.result().catch(() => undefined);
  return (await handle.describe()).status.name;
};
const batchesOf = (source: string) => calls.batches.filter((g) => sourceName(g.source) === source);

describe('reading', () => {
  test('pages that fail side by side are requested in parts, each alone, the others whole', async () => {
    mocks.stagePages = async (input) => {
      const bad = input.part ? undefined : input.pages.find((n) => n === 7 || n === 8);
      if (bad !== undefined) throw unserved(bad);
      return staged(input, 10);
    };
    expect(await run({ target: 'users' })).toMatchObject({ status: 'COMPLETED' });
    const parts = batchesOf('users').filter((g) => g.part);
    expect(new Set(parts.map((g) => g.perPage))).toEqual(new Set([5]));
    expect(parts.flatMap((g) => g.pages).sort()).toEqual([13, 14, 15, 16]);
  });

  test('the panel counts the requests of several lanes in another order than it answers: what is left stays the lowest', async () => {
    // Of each lane the numbers fall; from lane to lane they do not.
    mocks.stagePages = async (input) => ({
      ...staged(input, 200),
      answers:
        input.pages[0] === 1
          ? [[{ limit: 240, remaining: 200 }]]
          : lanesOf(input.pages, input.lanes ?? 1).map((lane, i) =>
              lane.map((_, n) => ({ limit: 240, remaining: 50 + 30 * i - n - (i === 0 ? 5 : 0) })),
            ),
    });
    const handle = await start({ target: 'users' });
    await expect.poll(() => calls.batches.length).toBeGreaterThanOrEqual(4);
    // 30 are left after the first two batches of 64 pages, 24 of which are for the owner's other keys.
    expect(calls.batches.map(({ pages }) => pages.length).slice(0, 4)).toEqual([1, 64, 64, 6]);
    await handle.cancel();
    await handle.result().catch(() => undefined);
  });

  test('many pages that are not in a row are read in one batch, whose name is short enough for Temporal', async () => {
    mocks.stagePages = async (input) => staged(input, 2);
    const { verifySource } = mocks;
    let checks = 0;
    mocks.verifySource = async (input) => {
      checks += 1;
      const missingPages = Array.from({ length: 600 }, (_, i) => ({ page: 10_001 + 2 * i, size: 10 }));
      return {
        ...(await verifySource(input)),
        ...(checks === 1 ? { complete: false, reason: 'missing', missingPages } : {}),
      };
    };
    const handle = await start({ target: 'users' });
    await expect(handle.result()).resolves.toMatchObject({ status: 'COMPLETED' });
    expect(Math.max(...batchesOf('users').map(({ pages }) => pages.length))).toBeGreaterThanOrEqual(64);
    const { events } = await handle.fetchHistory();
    const names = (events ?? []).map(({ userMetadata }) => decode(userMetadata?.summary));
    expect(names).toContain('users, 64 pages from 10001 to 10127');
  });

  test('failed pages of a listing that was replaced meanwhile do not count for its replacement', async () => {
    mocks.stagePages = async (input) => {
      if (isListing(input.source, 'locations') && input.include !== '' && input.pages[0] !== 1) {
        // One after another, so that the second fails after the first was handled.
        await new Promise((resolve) => setTimeout(resolve, 200 * (input.pages[0] ?? 1)));
        throw unserved(input.pages[0] ?? 0);
      }
      return staged(input, isListing(input.source, 'locations') ? 4 : 1);
    };
    expect(await run()).toMatchObject({ status: 'COMPLETED', warnings: [] });
    expect(batchesOf('nodes').map((g) => g.include)).toEqual(['allocations']);
    const bare = batchesOf('locations').filter((g) => g.include === '');
    expect(bare.flatMap((g) => g.pages).sort()).toEqual([1, 2, 3, 4]);
    expect(new Set(bare.map((g) => g.pass))).toEqual(new Set([2]));
  });

  test('a target of nodes alone requests no single node, even when they are read again', async () => {
    let readings = 0;
    mocks.stagePages = async (input) => staged(input, 2);
    mocks.verifySource = async () => {
      readings += 1;
      const moved = readings < 3;
      return {
        complete: !moved,
        reason: moved ? 'lacking' : 'complete',
        missingPages: [],
        pages: 2,
        total: 0,
        distinct: 0,
        unreadable: 0,
        missingIncludes: [],
        candidates: [],
      };
    };
    expect(await run({ target: 'nodes' })).toMatchObject({ status: 'COMPLETED', warnings: [] });
    expect(new Set(calls.batches.map((g) => sourceName(g.source)))).toEqual(new Set(['nodes']));
  });

  /** A listing of two pages with missing rows; `moved`: it changed at each reading. */
  const withMissing = (entity: 'servers' | 'users', options: { moved?: boolean; refused?: boolean } = {}) => {
    mocks.stagePages = async (input) => staged(input, 2);
    mocks.verifySource = async () => ({
      complete: options.moved !== true,
      reason: options.moved === true ? 'moved' : 'complete',
      missingPages: [],
      pages: 2,
      total: 0,
      distinct: 0,
      unreadable: 0,
      missingIncludes: [],
      candidates: [{ entity, count: 30, refused: options.refused ?? false }],
    });
  };
  const answer = { alive: 0, gone: 0, unknown: 0, next: null, singly: false, answers: [], stopped: null };

  test('only a warning when the panel cannot confirm missing rows', async () => {
    withMissing('servers');
    mocks.confirmDeletions = async () => {
      throw unserved(1);
    };
    const result = await run({ target: 'servers' });
    expect(result.status).toBe('COMPLETED');
    expect(result.warnings.map((w) => w.code)).toEqual(['CONFIRM_FAILED']);
    expect(calls.merged).toBe(1);
  });

  test('a listing that moved at each reading is asked about as well, batch by batch, within the budget', async () => {
    withMissing('users', { moved: true });
    const batches: Parameters<Mocks['confirmDeletions']>[0][] = [];
    mocks.confirmDeletions = async (input) => {
      batches.push(input);
      return { ...answer, next: batches.length < 3 ? batches.length * 10 : null, singly: true };
    };
    const result = await run({ target: 'users' });
    expect(result.warnings.map((w) => w.code)).toEqual(['SOURCE_MOVED']);
    expect(batches.map(({ entity, after, singly }) => ({ entity, after, singly }))).toEqual([
      { entity: 'users', after: 0, singly: false },
      { entity: 'users', after: 10, singly: true },
      { entity: 'users', after: 20, singly: true },
    ]);
    expect(batches.every(({ requests }) => requests >= 1 && requests <= 25)).toBe(true);
  });

  test('rows that the prune guard keeps anyway are not asked for', async () => {
    withMissing('servers', { refused: true });
    let asked = 0;
    mocks.confirmDeletions = async () => {
      asked += 1;
      return answer;
    };
    const result = await run({ target: 'servers' });
    expect(result.warnings.map((w) => w.code)).toEqual(['PRUNE_REFUSED']);
    expect(asked).toBe(0);
  });

  test('a row that is closed while the panel is asked is opened again, and a cancel found by a question ends the run', async () => {
    withMissing('servers');
    mocks.confirmDeletions = async () => {
      if (calls.opened.length === 1) throw closed();
      return { ...answer, stopped: { kind: 'cancelled' } };
    };
    mocks.closeRun = async () => {
      await gateway.client.workflow.getHandle(PANEL_SYNC_ID).cancel();
      return 'CANCELLED';
    };
    expect(await failing({ target: 'servers' })).toBe('CANCELLED');
    expect(calls.opened).toEqual([false, true]);
    expect(calls.closed.map((c) => c.outcome)).toEqual(['CANCELLED']);
    expect(calls.merged).toBe(0);
  });
});

describe('other ways to read', () => {
  const merged: MergeRunInput[] = [];
  beforeEach(() => {
    merged.length = 0;
    mocks.mergeRun = async (input) => {
      merged.push(input);
      return { status: 'merged', counts: {}, warnings: [] };
    };
  });
  const absent = (...listings: string[]) => {
    mocks.stagePages = async (input) =>
      listings.includes(sourceName(input.source))
        ? {
            ...staged(input, 1),
            pages: [],
            absent: input.source.kind === 'listing' ? (kinds[input.source.listing] ?? 'forbidden') : null,
          }
        : staged(input, 1);
  };
  const kinds: Record<string, 'missing' | 'forbidden'> = { locations: 'missing', nests: 'missing' };

  test('a listing that is not there costs itself only; nodes come by their own listing (P-3, 1.15)', async () => {
    absent('locations', 'nests');
    const result = await run();
    expect(result.status).toBe('COMPLETED');
    expect(result.warnings.map((w) => `${w.code}:${w.entity}`).sort()).toEqual([
      'LISTING_MISSING:locations',
      'LISTING_MISSING:nests',
    ]);
    expect(batchesOf('nodes').map((g) => g.include)).toEqual(['allocations']);
    expect([...(merged[0]?.entities ?? [])].sort()).toEqual(
      ['allocations', 'databases', 'nodes', 'servers', 'subusers', 'users'].sort(),
    );
    expect(merged[0]?.sources.map((s) => sourceName(s.source)).sort()).toEqual(['nodes', 'servers', 'users']);
  });

  test('a key without a right is named by the right, and the rest is synced (F8)', async () => {
    absent('users', 'servers');
    const result = await run();
    expect(result.status).toBe('COMPLETED');
    expect(result.warnings.map((w) => w.message).sort()).toEqual([
      expect.stringContaining('may not read servers (right "servers")'),
      expect.stringContaining('may not read users (right "users")'),
    ]);
    expect(merged[0]?.entities).not.toContain('servers');
    expect(merged[0]?.entities).not.toContain('users');
  });

  test('a key that may read no listing at all is refused', async () => {
    mocks.stagePages = async (input) => ({ ...staged(input, 1), pages: [], absent: 'forbidden' });
    expect(await failing()).toBe('FAILED');
    expect(calls.closed).toMatchObject([{ code: 'PANEL_AUTH', message: 'The panel refused the API key' }]);
    expect(merged).toEqual([]);
    expect(await failing({ target: 'users' })).toBe('FAILED');
    expect(calls.closed[1]?.message).toContain('lacks the right "users"');
  });

  test('eggs whose list fails are asked for one by one, after everything else was read; what is missing is said (F3)', async () => {
    const order: string[] = [];
    const listFailed = Promise.withResolvers<void>();
    mocks.stagePages = async (input) => {
      if (isListing(input.source, 'nests') && input.include !== '') throw unserved(1);
      if (input.source.kind === 'nest') {
        listFailed.resolve();
        throw unserved(1);
      }
      if (isListing(input.source, 'servers')) {
        await listFailed.promise;
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
      order.push(sourceName(input.source));
      return staged(input, 1);
    };
    mocks.eggsToAsk = async () => {
      order.push('eggs');
      return [1, 2, 3, 4, 5, 6, 7];
    };
    mocks.stageEggs = async ({ eggs }) => ({
      rows: eggs.length,
      failed: eggs.filter((id) => id === 3 || id === 6),
      left: [],
      answers: eggs.map(() => ({})),
      retried: false,
      stopped: null,
    });
    const { warnings } = await run();
    expect(order.at(-1)).toBe('eggs');
    expect(order).toContain('servers');
    expect(warnings.map((w) => w.message)).toEqual([
      'the panel cannot answer for eggs 3, 6 of nest 1; they were kept as they are',
    ]);
  });

  test('a way that worked is remembered, and a run that remembers it begins with it', async () => {
    mocks.stagePages = async (input) => {
      if (isListing(input.source, 'nests') && input.include !== '') throw unserved(1);
      return staged(input, 1);
    };
    await run({ target: 'nests' });
    expect(calls.remembered).toEqual([{ listing: 'nests', way: 'by-nest', total: 10, remembered: false }]);
    calls.batches.length = 0;
    const { openRun } = mocks;
    mocks.openRun = async (input) => ({ ...(await openRun(input)), ways: { nests: 'by-nest' } });
    await run({ target: 'nests' });
    expect(calls.batches.map((g) => `${sourceName(g.source)} ${g.include}`)).toEqual(['nests ', 'nest 1 ']);
    expect(calls.remembered[1]).toMatchObject({ way: 'by-nest', remembered: true });
  });

  test('a listing in which record after record cannot be printed cannot be read', async () => {
    mocks.stagePages = async (input) => {
      if (input.perPage > 1) throw unserved(input.pages[0] ?? 1);
      const one = { rows: 0, unprintable: 1, perPage: 1, failure: 'The panel answers with an error' };
      return { ...staged(input, 1), pages: input.pages.map((n) => ({ ...page(n, 10), ...one })) };
    };
    expect(await failing({ target: 'users' })).toBe('FAILED');
    expect(calls.closed).toMatchObject([{ code: 'PANEL_UNAVAILABLE', message: 'The panel answers with an error' }]);
  });
});

describe('a long history', () => {
  const chain = async () => {
    const runs = [];
    for await (const { runId, status } of gateway.client.workflow.list({ query: `WorkflowId = '${PANEL_SYNC_ID}'` }))
      runs.push({ runId, status: status.name });
    return runs;
  };

  test('goes on in a new run, which reads nothing twice and keeps the identity of the first', async () => {
    mocks.stagePages = async (input) => staged(input, 60);
    const handle = await start({ target: 'users', maxEvents: 30 });
    const result: PanelSyncResult = await handle.result();
    expect(result).toMatchObject({ status: 'COMPLETED', requests: 60 });
    const first = handle.firstExecutionRunId;
    const last = await gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
    expect(last.runId).not.toBe(first);
    expect(calls.opened).toEqual([false]);
    expect(calls.closed.map((c) => c.runId)).toEqual([first]);
    expect(
      batchesOf('users')
        .flatMap((g) => g.pages)
        .sort((a, b) => a - b),
    ).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    // By its memo, the watch knows that the run goes on.
    expect(last.memo).toMatchObject({ logId: 'log' });
    await expect.poll(async () => (await chain()).some((r) => r.status === 'CONTINUED_AS_NEW')).toBe(true);
  });

  test('does not keep a sync from being cancelled', async () => {
    mocks.stagePages = async (input) => {
      const { runId } = Context.current().info.workflowExecution ?? {};
      if (runId !== handle.firstExecutionRunId) await Context.current().sleep('1 minute');
      return staged(input, 60);
    };
    const handle = await start({ target: 'users', maxEvents: 30 });
    const current = () => gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
    await expect
      .poll(async () => (await current()).runId !== handle.firstExecutionRunId, { timeout: 10_000 })
      .toBe(true);
    await gateway.client.workflow.getHandle(PANEL_SYNC_ID).cancel();
    await expect.poll(async () => (await current()).status.name, { timeout: 10_000 }).toBe('CANCELLED');
    expect(calls.closed).toMatchObject([{ outcome: 'CANCELLED', runId: handle.firstExecutionRunId }]);
  });

  test('is one of a run that finds its row closed, as after a reset: it opens the row again and reads all of it', async () => {
    mocks.stagePages = async (input) => {
      const { runId } = Context.current().info.workflowExecution ?? {};
      if (calls.opened.length === 1 && runId !== handle.firstExecutionRunId) throw closed();
      return staged(input, 200);
    };
    const handle = await start({ target: 'users', maxEvents: 30 });
    expect(await handle.result()).toMatchObject({ status: 'COMPLETED' });
    expect(calls.opened).toEqual([false, true]);
    expect(new Set(calls.closed.map((c) => c.runId))).toEqual(new Set([handle.firstExecutionRunId]));
  });
});

describe('ending', () => {
  test('a search attribute of another type cannot fail a task, nor the sync after a terminated one (T-1)', async () => {
    const read = Promise.withResolvers<void>();
    mocks.stagePages = async (input) => {
      read.resolve();
      await Context.current().sleep('1 minute');
      return staged(input, 1);
    };
    const first = await start();
    await read.promise;
    await first.terminate('by hand');
    mocks.stagePages = async (input) => staged(input, 1);
    const second = await start();
    expect(await second.result()).toMatchObject({ status: 'COMPLETED' });
    const { events } = await second.fetchHistory();
    expect(failedTasks({ events: events ?? [] })).toEqual([]);
  });

  test('batches are called by what they read, for the timeline of the UI', async () => {
    mocks.stagePages = async (input) => staged(input, 30);
    const handle = await start({ target: 'users' });
    await handle.result();
    const { events } = await handle.fetchHistory();
    const names = (events ?? []).flatMap(({ activityTaskScheduledEventAttributes: planned, userMetadata }) =>
      planned == null ? [] : [`${planned.activityType?.name}: ${decode(userMetadata?.summary)}`],
    );
    expect(names).toContain('stagePages: users, page 1');
    expect(names.some((name) => /^stagePages: users, pages 2-\d+$/.test(name))).toBe(true);
    expect(names).toContain('verifySource: users');
  });

  test('the details of an ended run say how it ended: outcome, counts, warnings', async () => {
    const read = Promise.withResolvers<void>();
    const details = async (change: Partial<Mocks>, cancel = false) => {
      Object.assign(mocks, change);
      const handle = await start();
      if (cancel) await read.promise.then(() => handle.cancel());
      await handle.result().catch(() => undefined);
      const shown = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
      return shown.currentDetails ?? '';
    };
    const counts = { users: { created: 2, updated: 1, unchanged: 7, pruned: 0, failed: 1 } };
    const warnings = [{ code: 'PRUNE_REFUSED', message: 'kept' }];
    const completed = await details({ mergeRun: async () => ({ status: 'merged', counts, warnings }) });
    expect(completed).toContain('**COMPLETED**');
    expect(completed).toContain('| users | 2 | 1 | 7 | 0 | 1 |');
    expect(completed).toContain('- PRUNE_REFUSED: kept');
    const refused = ApplicationFailure.nonRetryable('The panel refused the API key', 'PANEL_AUTH');
    const failed = await details({ stagePages: () => Promise.reject(refused) });
    expect(failed).toMatch(/^\*\*FAILED\*\*\nat step \w+: The panel refused the API key/);
    const slow: Mocks['stagePages'] = async (input) => {
      read.resolve();
      await Context.current().sleep('1 minute');
      return staged(input, 1);
    };
    const cancelled = await details({ stagePages: slow }, true);
    expect(cancelled).toContain('**CANCELLED**');
  });

  test('the row gets the number of requests and the limit that the panel named', async () => {
    mocks.stagePages = async (input) => ({ ...staged(input, 1), answers: [[{ limit: 240, remaining: 200 }]] });
    const { requests } = await run({ target: 'users' });
    expect(requests).toBeGreaterThan(0);
    expect(calls.closed).toMatchObject([{ requests, limit: 240 }]);
  });

  test('a withdrawn row ends the run with nothing done', async () => {
    mocks.openRun = async () => ({
      result: 'withdrawn',
      panel: 'fingerprint',
      subusers: true,
      clientKey: false,
      batchSize: 5,
      concurrency: 8,
      requestsPerMinute: null,
      ways: {},
    });
    expect(await run()).toMatchObject({ status: 'WITHDRAWN' });
    expect(calls.batches).toEqual([]);
    expect(calls.closed).toEqual([]);
  });

  test('a closed row is reopened once, however many batches find it closed, and everything is read again', async () => {
    mocks.stagePages = async (input) => {
      const reopened = calls.opened.length > 1;
      if (!reopened && input.pages[0] !== 1) throw closed();
      return staged(input, 30);
    };
    expect(await run({ target: 'users' })).toMatchObject({ status: 'COMPLETED' });
    expect(calls.opened).toEqual([false, true]);
    expect(calls.closed.map((c) => c.outcome)).toEqual(['COMPLETED']);
  });

  test('a row that is closed again and again is not reopened any more in the end', async () => {
    mocks.stagePages = async () => {
      throw closed();
    };
    mocks.closeRun = async () => {
      throw closed();
    };
    expect(await failing({ target: 'users' })).toBe('FAILED');
    expect(calls.opened).toHaveLength(6);
  });

  test("an error in the workflow's own code ends row and run", async () => {
    // No such target: a TypeError in the workflow.
    expect(await failing({ target: 'nothing' as PanelSyncInput['target'] })).toBe('FAILED');
    expect(calls.closed).toMatchObject([{ outcome: 'FAILED', code: 'INTERNAL_ERROR' }]);
  });

  test('a run fails with the reason of its row, because the Temporal UI shows the outermost message only', async () => {
    mocks.stagePages = async () => {
      throw ApplicationFailure.nonRetryable('The answer is not understood', 'PANEL_PROTOCOL');
    };
    await expect(run({ target: 'users' })).rejects.toMatchObject({
      cause: { message: 'The answer is not understood', type: 'PANEL_PROTOCOL' },
    });
  });

  test('a cancel wins over a failure at the same time: row and run end as cancelled', async () => {
    mocks.stagePages = async () => {
      throw ApplicationFailure.nonRetryable('The panel refused the API key', 'PANEL_AUTH');
    };
    mocks.closeRun = async () => {
      // The row is marked; the cancel request arrives later.
      setTimeout(() => void gateway.client.workflow.getHandle(PANEL_SYNC_ID).cancel(), 300);
      return 'CANCELLED';
    };
    expect(await failing({ target: 'users' })).toBe('CANCELLED');
    expect(calls.closed).toMatchObject([{ code: 'PANEL_AUTH', message: 'The panel refused the API key' }]);
  });

  test('a cancel while the row is being closed as completed is too late for row and run', async () => {
    mocks.closeRun = async ({ outcome }) => {
      await gateway.client.workflow.getHandle(PANEL_SYNC_ID).cancel();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return outcome;
    };
    expect(await run({ target: 'users' })).toMatchObject({ status: 'COMPLETED' });
  });

  test('a cancel with both batches in flight cancels them and closes once', async () => {
    let off = 0;
    mocks.stagePages = async (input) => {
      if (input.pages[0] === 1) return staged(input, 50);
      const context = Context.current();
      const beat = setInterval(() => context.heartbeat(), 100);
      try {
        await context.cancelled;
      } catch (error) {
        if (error instanceof CancelledFailure) off += 1;
        throw error;
      } finally {
        clearInterval(beat);
      }
      return staged(input, 50);
    };
    const handle = await start({ target: 'users' });
    while (calls.batches.length < 3) await new Promise((resolve) => setTimeout(resolve, 20));
    await handle.cancel();
    await handle.result().catch(() => undefined);
    expect((await handle.describe()).status.name).toBe('CANCELLED');
    expect(calls.closed.map((c) => c.outcome)).toEqual(['CANCELLED']);
    await expect.poll(() => off, { timeout: 5_000 }).toBe(2);
  });

  test('no workflow task of all these failed', async () => {
    const runs = await allHistories(gateway.client);
    expect(runs.length).toBeGreaterThan(8);
    expect(runs.flatMap(failedTasks)).toEqual([]);
  });
});
