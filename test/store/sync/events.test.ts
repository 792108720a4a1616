/** Events of syncs: what a merge reports of servers, and which ended runs are reported. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { inTransaction } from '../../../src/store/db/db.ts';
import { mergeRun } from '../../../src/store/sync/merge/merge.ts';
import { closeRun, insertPendingLog, markCancelled, openRun } from '../../../src/store/sync/run-store.ts';
import { relayEvents } from '../../../src/temporal/delivery-relay.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, type HandPanel, mergeHand, openTestRun, query, stageHand } from '../../support/merge.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 8 });
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.raw('truncate outbox, sync_logs, sync_runs, locations, nodes, nests, users, servers cascade');
});

/** Events of servers in the outbox: name and data. */
const events = async () =>
  (await query(database.db, `select o.kind, o.payload from outbox o where o.kind like 'server.%' order by o.seq`)).map(
    ({ kind, payload }) => [kind, payload],
  );
const forget = () => query(database.db, 'truncate outbox');

const server = (id: number, values: Record<string, unknown> = {}) => ({
  id,
  name: `server ${String(id).padStart(3, '0')}`,
  user: 1,
  node: 1,
  egg: 1,
  nest: 1,
  ...values,
});
const panel = (servers: HandPanel['servers'], changes: Partial<HandPanel> = {}): HandPanel =>
  change({
    users: [
      { id: 1, username: 'anna' },
      { id: 2, username: 'bert' },
    ],
    allocations: [],
    databases: [],
    subusers: [],
    servers: servers ?? [],
    ...changes,
  });
/** The state before, whose own events are forgotten. */
async function mirror(servers: HandPanel['servers']): Promise<void> {
  await mergeHand(database.db, panel(servers));
  await forget();
}

describe('a merge reports', () => {
  test('each kind of change of a server, with the names of owners and nodes, also several of one server', async () => {
    await mirror([server(1), server(2), server(3, { suspended: true }), server(4), server(5), server(6)]);
    const after = panel(
      [
        server(1, { suspended: true }),
        server(2, { user: 2 }),
        server(3, { node: 2 }),
        server(5, { suspended: true, user: 3 }),
        server(6, { name: 'renamed only' }),
        server(7, { suspended: true, user: 3, node: 3 }),
      ],
      {
        // The owner and the node of a new server come with the same merge; the old node of another one goes with it.
        users: [
          { id: 1, username: 'anna' },
          { id: 2, username: 'bert' },
          { id: 3, username: 'cleo' },
        ],
        nodes: [
          { id: 1, location_id: 1 },
          { id: 2, location_id: 2 },
          { id: 3, location_id: 2, name: 'new node' },
        ],
      },
    );
    await mergeHand(database.db, after);
    expect(await events()).toEqual([
      ['server.suspended', { name: 'server 001', owner: 'anna' }],
      ['server.owner_changed', { name: 'server 002', owner: 'bert', previous_owner: 'anna' }],
      ['server.node_changed', { name: 'server 003', owner: 'anna', node: 'node 2', previous_node: 'node 1' }],
      ['server.unsuspended', { name: 'server 003', owner: 'anna' }],
      ['server.deleted', { name: 'server 004', owner: 'anna' }],
      ['server.owner_changed', { name: 'server 005', owner: 'cleo', previous_owner: 'anna' }],
      ['server.suspended', { name: 'server 005', owner: 'cleo' }],
      ['server.created', { name: 'server 007', owner: 'cleo', node: 'new node' }],
    ]);
  });

  test('nothing of the first sync of an empty mirror, of an unchanged panel, and of a preview', async () => {
    const servers = [server(1), server(2)];
    await mergeHand(database.db, panel(servers));
    expect(await events()).toEqual([]);
    await mergeHand(database.db, panel(servers));
    await mergeHand(database.db, panel([server(1, { suspended: true }), server(3)]), { dryRun: true });
    expect(await events()).toEqual([]);
  });

  test.each([25, 26, 100])('at most 25 of %i changes one by one, and a count of the others', async (changes) => {
    const servers = Array.from({ length: changes }, (_, n) => server(n + 1));
    await mirror(servers);
    await mergeHand(database.db, panel(servers.map((row) => ({ ...row, suspended: true }))));
    const reported = await events();
    expect(reported.slice(0, 25).map(([kind]) => kind)).toEqual(Array.from({ length: 25 }, () => 'server.suspended'));
    expect(reported.slice(25)).toEqual(changes === 25 ? [] : [['server.changes', { suspended: changes - 25 }]]);
  });

  test('nothing of a merge that is cancelled or undone, and nothing twice of one that is repeated', async () => {
    await mirror([server(1)]);
    const after = panel([server(1, { suspended: true })]);
    const run = await openTestRun(database.db);
    const plan = await stageHand(database.db, run, after);
    const merge = (key: string, hooks = {}) =>
      mergeRun(database.db, { logId: run.logId, key, dryRun: false, allowMassPrune: false, ...plan }, hooks);
    const fail = async () => {
      throw new Error('the worker ended');
    };
    await expect(merge('k', { onPlan: fail })).rejects.toThrow('ended');
    expect(await events()).toEqual([]);
    await merge('k');
    await merge('k');
    expect(await events()).toHaveLength(1);
    await closeRun(database.db, { ...run, outcome: 'COMPLETED', metadata: {} });

    const cancelled = await openTestRun(database.db);
    const again = await stageHand(database.db, cancelled, panel([server(1)]));
    await mergeRun(
      database.db,
      { logId: cancelled.logId, key: 'c', dryRun: false, allowMassPrune: false, ...again },
      { onPlan: async () => void (await markCancelled(database.db, cancelled.logId)) },
    );
    expect(await events()).toHaveLength(1);
  });

  test('a server that the database refuses is not reported, the others are', async () => {
    await mirror([server(1), server(2)]);
    await database.db.raw(
      `alter table servers add constraint refuses check (name <> 'server 001' or not "isSuspended") not valid`,
    );
    try {
      const { failures } = await mergeHand(
        database.db,
        panel([server(1, { suspended: true }), server(2, { suspended: true })]),
      );
      expect(failures).toMatchObject([{ entity: 'servers', panelId: '1', code: 'DB_REFUSED' }]);
    } finally {
      await database.db.raw('alter table servers drop constraint refuses');
    }
    expect(await events()).toEqual([['server.suspended', { name: 'server 002', owner: 'anna' }]]);
  });

  test('an owner without a name as unknown', async () => {
    await mirror([server(1)]);
    await database.db.raw(`update users set username = null, "firstName" = ' ', "emailVerified" = now()`);
    await mergeHand(database.db, { ...panel([]), users: [] }, { allowMassPrune: true, incomplete: ['users'] });
    await mergeHand(database.db, panel([server(1), server(2)], { users: [] }), { target: 'servers' });
    const data = (await events()).map(([, one]) => one);
    expect(data.length).toBeGreaterThan(0);
    for (const one of data) expect(one).toMatchObject({ owner: 'unknown' });
  });
});

describe('the outcome of a scheduled run', () => {
  const counts = (updated: number) => ({ servers: { created: 0, updated, unchanged: 3, pruned: 0, failed: 0 } });
  type End = {
    outcome?: 'COMPLETED' | 'FAILED' | 'CANCELLED';
    error?: string;
    updated?: number;
    warnings?: { code: string }[];
    by?: string;
    dryRun?: boolean;
  };
  /** One ended run. @returns whether it was reported. */
  async function ended({ outcome = 'COMPLETED', updated = 0, by = 'scheduler', dryRun = false, ...end }: End) {
    await forget();
    const run = { logId: randomUUID(), runId: randomUUID() };
    const request = { target: 'full', dryRun, skipUsers: false, requestedBy: by, requester: 'scheduler' } as const;
    await insertPendingLog(database.db, run.logId, request);
    await openRun(database.db, { ...run, reopen: false });
    const metadata = { counts: counts(updated), warnings: end.warnings ?? [] };
    await closeRun(database.db, {
      ...run,
      outcome,
      metadata,
      ...(end.error === undefined ? {} : { error: end.error }),
    });
    return (await query(database.db, `select kind from outbox`)).length === 1;
  }

  test('is reported unless it changed nothing and ended as the one before', async () => {
    const steps: [End, boolean][] = [
      [{}, true],
      [{}, false],
      [{ updated: 2 }, true],
      [{}, false],
      [{ by: 'api' }, true],
      [{ outcome: 'FAILED', error: 'the panel is away' }, true],
      [{ outcome: 'FAILED', error: 'the panel is away' }, false],
      [{ outcome: 'FAILED', error: 'the key was refused' }, true],
      [{ dryRun: true }, false],
      [{ outcome: 'FAILED', error: 'the key was refused' }, false],
      [{}, true],
      [{ warnings: [{ code: 'PRUNE_REFUSED' }] }, true],
      [{ warnings: [{ code: 'PRUNE_REFUSED' }, { code: 'PRUNE_REFUSED' }] }, false],
      [{ warnings: [{ code: 'PRUNE_REFUSED' }, { code: 'OTHER' }] }, true],
      [{}, true],
      [{ outcome: 'CANCELLED' }, true],
      [{ outcome: 'CANCELLED' }, true],
      [{}, true],
      [{}, false],
    ];
    for (const [n, [end, reported]] of steps.entries()) expect([n, await ended(end)]).toEqual([n, reported]);
  });

  test('keeps only the newest log row of those that changed nothing and reported nothing, which says how many they were', async () => {
    const rows = () =>
      query(
        database.db,
        `select status, coalesce((metadata->'counts'->'servers'->>'updated')::int, 0) as updated,
           (metadata->'repeats'->>'count')::int as repeats, metadata->'repeats'->>'since' =
             (select to_char(min(s."startedAt"), 'YYYY-MM-DD"T"HH24:MI:SS"Z"') from sync_logs s) as "sinceFirst"
         from sync_logs order by "startedAt"`,
      );
    await ended({ updated: 3 });
    for (let n = 0; n < 5; n += 1) await ended({});
    expect(await rows()).toEqual([
      { status: 'COMPLETED', updated: 3, repeats: null, sinceFirst: null },
      { status: 'COMPLETED', updated: 0, repeats: 5, sinceFirst: true },
    ]);
    // What others asked for, failed, was cancelled, changed something or warns of something else keeps its row.
    const kept: End[] = [
      { by: 'api' },
      { outcome: 'FAILED', error: 'the panel is away' },
      { outcome: 'FAILED', error: 'the panel is away' },
      { outcome: 'CANCELLED' },
      { updated: 1 },
      { dryRun: true },
      { warnings: [{ code: 'PRUNE_REFUSED' }] },
    ];
    for (const end of kept) await ended(end);
    for (let n = 0; n < 3; n += 1) await ended({ warnings: [{ code: 'PRUNE_REFUSED' }] });
    expect(await rows()).toHaveLength(2 + kept.length + 1);
    expect((await rows()).at(-1)).toMatchObject({ repeats: 3 });
    expect(await query(database.db, `select count(*)::int as n from sync_runs`)).toEqual([{ n: 2 + kept.length + 1 }]);
  });

  test('a row that a reset has opened again, or that changed something then, is not taken for one that says nothing', async () => {
    await ended({});
    await ended({});
    const [{ id } = { id: '' }] = await query(
      database.db,
      `select id from sync_logs where metadata->'repeats' is not null`,
    );
    await query(database.db, `update sync_logs set metadata = metadata || ?::jsonb where id = ?`, [
      JSON.stringify({ counts: counts(2) }),
      id,
    ]);
    await ended({});
    expect(await query(database.db, `select id from sync_logs where id = ?`, [id])).toHaveLength(1);
    expect(await openRun(database.db, { logId: String(id), runId: 'reset', reopen: false })).toBe('opened');
    const [{ metadata } = {}] = await query(database.db, `select metadata from sync_logs where id = ?`, [id]);
    expect(metadata).not.toHaveProperty('repeats');
  });
});

test('events that waited for more than a day are skipped at once, however many they are', async () => {
  await query(
    database.db,
    `insert into outbox (kind, dedupe_key, payload, created_at)
     select 'sync.completed', 'old ' || n, '{}'::jsonb, now() - interval '25 hours' from generate_series(1, 5000) n
     union all select 'sync.completed', 'new', '{"log_id": "x"}', now() - interval '23 hours'
     union all select 'email.send', 'email', '{}', now() - interval '25 hours'`,
  );
  const routed: string[] = [];
  const relay = {
    log: quiet,
    db: database.db,
    temporal: undefined as never,
    routeEvents: async (_trx: unknown, rows: readonly { payload: object }[]) => {
      routed.push(...rows.map(({ payload }) => JSON.stringify(payload)));
      return { failed: [] };
    },
  };
  expect(await inTransaction(database.db, (trx) => relayEvents(relay, trx, 50))).toBe(1);
  expect(routed).toEqual(['{"log_id":"x"}']);
  expect(
    await query(database.db, `select o.status, o.kind, count(*)::int as n from outbox o group by 1, 2 order by 1, 2`),
  ).toEqual([
    { status: 'dispatched', kind: 'sync.completed', n: 1 },
    { status: 'pending', kind: 'email.send', n: 1 },
    { status: 'skipped', kind: 'sync.completed', n: 5000 },
  ]);
});
