/** Runs over the consoles of servers: which are read, in which order, at what cost, and what the rows say then. The daemons are of this test. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ServerConsole } from '../../../src/clients/panel/console-session.ts';
import { AppError, type ErrorCode } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { appendPushed } from '../../../src/services/hytale/append-lines.ts';
import { type PullDeps, pullConsoles } from '../../../src/services/hytale/pull-consoles.ts';
import { budgetKey, createHytaleBudget } from '../../../src/services/inventory/client-budget.ts';
import { query } from '../../../src/store/db/query.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

const MINUTE = 60_000;
const ACCESS = { panelUrl: 'https://panel.example', panelClientApiKey: new Secret('client') };
const MARKER = 'customers-line';

let database: TestDatabase;
let now = 0;
/** What the panel and the daemons do, by server. */
const daemons = new Map<string, Daemon>();
const asked: string[] = [];
const logged: string[] = [];

beforeAll(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterAll(() => database.drop());
beforeEach(() => {
  now = Date.now();
});
afterEach(async () => {
  expect(logged.join()).not.toContain(MARKER);
  for (const list of [asked, logged]) list.length = 0;
  daemons.clear();
  await database.db.raw(
    `delete from hytale_game_sessions; delete from servers; delete from hytale_consoles; delete from hytale_log_gaps;
     delete from usage_budget; delete from nodes; delete from locations`,
  );
});

interface Live {
  at: number;
  line: string;
}

/** A console: what it printed, and what is printed during a reading. */
interface Daemon {
  lines: string[];
  state: ServerConsole['state'];
  /** Lines that the daemon keeps. */
  keeps: number;
  /** Called before each reading, with its number. @returns lines that are printed during it: before how many lines of the tail each comes. */
  during?: ((reading: number) => Live[] | Promise<Live[]>) | undefined;
  /** What the panel, or the daemon, answers in place of a console. */
  fails?: (() => unknown) | undefined;
  closed: number;
  opened: number;
}

const line = (n: number | string) => `${MARKER} ${n}`;
const printed = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => line(from + n));

let lastPanelId = 0;
const panelId = (): number => {
  lastPanelId += 1;
  return lastPanelId;
};

async function addServer(values: Partial<Daemon> & { node?: number; row?: object; session?: object | null } = {}) {
  const { node = null, row = {}, session = {}, ...daemon } = values;
  const uuid = randomUUID();
  const id = `s-${uuid.slice(0, 8)}`;
  if (node !== null) {
    await database.db.raw(`insert into locations (id, "shortCode") values (1, 'l') on conflict do nothing`);
    await database.db.raw(
      `insert into nodes (id, uuid, name, fqdn, "locationId", memory, disk) values (?, ?, 'n', 'n', 1, 1, 1) on conflict do nothing`,
      [node, `node-${node}`],
    );
  }
  await database
    .db('servers')
    .insert({ id, name: id, uuid, pterodactylId: panelId(), status: 'running', nodeId: node, ...row });
  if (session !== null) {
    await database.db('hytale_game_sessions').insert({
      ...{ id: randomUUID(), account_id: randomUUID(), profile_uuid: randomUUID(), environment: 'production' },
      ...{
        session_token: '',
        identity_token: '',
        expires_at: new Date(now),
        status: 'active',
        server_id: id,
        ...session,
      },
    });
  }
  const made: Daemon = { lines: [], state: 'running', keeps: 20, closed: 0, opened: 0, ...daemon };
  daemons.set(uuid, made);
  return Object.assign(made, { uuid, id });
}

function open(uuid: string, signal: AbortSignal | undefined): ServerConsole {
  const daemon = daemons.get(uuid);
  if (daemon === undefined) throw new AppError('PANEL_NOT_FOUND');
  const failure = daemon.fails?.();
  if (failure !== undefined) throw failure;
  daemon.opened += 1;
  let readings = 0;
  return {
    state: daemon.state,
    async tail() {
      signal?.throwIfAborted();
      readings += 1;
      const tail = daemon.lines.slice(-daemon.keeps);
      const live = (await daemon.during?.(readings)) ?? [];
      daemon.lines.push(...live.map((one) => one.line));
      for (const [n, one] of live.entries()) tail.splice(one.at + n, 0, one.line);
      return { lines: tail, complete: true };
    },
    close() {
      daemon.closed += 1;
    },
  };
}

const budget = () => createHytaleBudget({ db: database.db, settings: async () => ACCESS });
const log = pino({ level: 'trace' }, { write: (text: string) => void logged.push(text) });

const pull = (deps: Partial<PullDeps> = {}, signal = new AbortController().signal) =>
  pullConsoles(
    {
      db: database.db,
      environment: 'production',
      panel: async () => ({
        async openConsole(uuid, options) {
          asked.push(uuid);
          return { console: open(uuid, options?.signal), throttle: { limit: 40_000, remaining: 30_000 } };
        },
      }),
      budget: budget(),
      now: () => now,
      log,
      rereadMs: 1,
      ...deps,
    },
    signal,
  );

const later = (minutes: number) => {
  now += minutes * MINUTE;
};
const stored = async ({ uuid }: { uuid: string }): Promise<string[]> =>
  (
    await query<{ line: string }>(
      database.db,
      `select log_line as line from hytale_server_logs where server_uuid = ? order by log_timestamp, id`,
      [uuid],
    )
  ).map((row) => row.line);
const gaps = ({ uuid }: { uuid: string }) =>
  query<{ after: string | null; before: string }>(
    database.db,
    `select a.log_line as after, b.log_line as before from hytale_log_gaps g left join hytale_server_logs a on a.id = g.after_id
       join hytale_server_logs b on b.id = g.before_id where g.server_uuid = ? order by g.id`,
    [uuid],
  );
async function state({ uuid }: { uuid: string }) {
  const [row] = await query<{ status: string; error: string | null; failures: number | null; wait: number | null }>(
    database.db,
    `select st.sync_status as status, st.error_message as error, c.failures,
            round(extract(epoch from c.next_pull_at - ?::timestamptz) / 60)::int as wait
       from hytale_log_sync_state st left join hytale_consoles c using (server_uuid) where server_uuid = ?`,
    [new Date(now), uuid],
  );
  return row;
}
const fails = (code: ErrorCode, options: ConstructorParameters<typeof AppError>[1] = {}) => ({
  fails: () => new AppError(code, options),
});
const nodeDown = fails('CONSOLE_UNAVAILABLE', {
  meta: { node: 'node:8080', kind: 'connect' },
  publicMessage: 'The node is down',
});

describe('what is stored', () => {
  test('each line once and in order, run after run, whatever is printed between the readings and in them', async () => {
    const server = await addServer({ lines: printed(1, 5) });
    expect(await pull()).toMatchObject({ first: 1, lines: 5, failed: 0 });
    expect(await state(server)).toMatchObject({ status: 'success', error: null, failures: 0, wait: null });

    later(5);
    expect(await pull()).toMatchObject({ unchanged: 1, lines: 0 });
    later(5);
    server.lines.push(...printed(6, 12));
    // One line comes in the middle of each reading.
    server.during = (reading) => (reading > 2 ? [] : [{ at: reading * 3, line: line(12 + reading) }]);
    await pull();
    later(5);
    server.during = undefined;
    await pull();
    expect(await stored(server)).toEqual(printed(1, 14));
    expect(await gaps(server)).toEqual([]);
    expect(server.closed).toBe(server.opened);
  });

  test('a console that lost lines between two runs, or began again, has a named gap and no line twice', async () => {
    const server = await addServer({ lines: printed(1, 10) });
    await pull();
    later(5);
    server.lines.push(...printed(11, 60));
    expect(await pull()).toMatchObject({ gap: 1, lines: 20 });
    expect(await gaps(server)).toEqual([{ after: line(10), before: line(41) }]);
    // The server is restarted: its console begins again.
    later(5);
    server.lines = ['boot', 'listening'].map(line);
    expect(await pull()).toMatchObject({ gap: 1, lines: 2 });
    later(5);
    server.lines.push(...printed(61, 62));
    expect(await pull()).toMatchObject({ joined: 1, lines: 2 });
    expect(await stored(server)).toEqual([
      ...[...printed(1, 10), ...printed(41, 60)],
      ...[line('boot'), line('listening'), ...printed(61, 62)],
    ]);
    expect((await gaps(server))[1]).toEqual({ after: line(60), before: line('boot') });
    expect(await state(server)).toMatchObject({ status: 'success', failures: 0 });
  });

  test('one agreement that does not meet the stored lines is not believed; the next one decides', async () => {
    const server = await addServer({ lines: printed(1, 10) });
    await pull();
    later(5);
    // For two readings the daemon shows something else.
    const shown = server.lines;
    server.lines = printed(70, 80);
    server.during = (reading) => {
      if (reading === 2) server.lines = [...shown, line(11)];
      return [];
    };
    // The third reading differs from the second one, the fourth agrees with it.
    expect(await pull()).toMatchObject({ joined: 1, lines: 1 });
    expect(await stored(server)).toEqual(printed(1, 11));
  });

  test('a console about which no two readings agree is a failure, and nothing is stored', async () => {
    const server = await addServer();
    let n = 0;
    server.during = () => {
      n += 20;
      server.lines = printed(n, n + 19);
      return [];
    };
    server.lines = printed(1, 20);
    expect(await pull()).toMatchObject({ unsettled: 1, failed: 1, lines: 0 });
    expect(await stored(server)).toEqual([]);
    expect(await state(server)).toMatchObject({ status: 'failed', error: expect.stringContaining('push its lines') });
  });

  test('a server that does not run is read when it does; a quiet one is in order', async () => {
    const server = await addServer({ state: 'offline', lines: printed(1, 2) });
    const quiet = await addServer();
    expect(await pull()).toMatchObject({ offline: 1, unchanged: 1, failed: 0 });
    expect(await state(server)).toMatchObject({ status: 'pending', error: expect.stringContaining('does not run') });
    expect(await state(quiet)).toMatchObject({ status: 'success' });
    later(5);
    server.state = 'starting';
    expect(await pull()).toMatchObject({ first: 1, lines: 2 });
    expect(await state(server)).toMatchObject({ status: 'success', error: null });
  });

  test('a push at the same time: its lines are stored once, and the console is left to the daemon for 15 minutes', async () => {
    const server = await addServer({ lines: printed(1, 8) });
    await pull();
    later(5);
    server.lines.push(...printed(9, 12));
    const push = (from: number, to: number) =>
      appendPushed(
        database.db,
        {
          serverUuid: server.uuid,
          accountId: 'a',
          lines: printed(from, to).map((text, n) => ({ line: text, at: new Date(now + n) })),
        },
        new Date(now),
      );
    // The daemon pushes between the two readings.
    server.during = async (reading) => {
      if (reading === 2) await push(5, 12);
      return [];
    };
    expect(await pull()).toMatchObject({ pushed: 1, lines: 0 });
    server.during = undefined;
    expect(await stored(server)).toEqual(printed(1, 12));
    later(5);
    await pull();
    expect(asked).toHaveLength(2);
    later(10.1);
    server.lines.push(...printed(13, 14));
    expect(await pull()).toMatchObject({ joined: 1, lines: 2 });
    expect(await stored(server)).toEqual(printed(1, 14));
  });
});

describe('which consoles', () => {
  test('of servers with a session that goes on, unless the panel would refuse them', async () => {
    const due = await addServer({ session: { status: 'lapsed', environment: null } });
    await addServer({ session: null });
    await addServer({ session: { status: 'ending' } });
    await addServer({ session: { environment: 'staging' } });
    for (const row of [
      { isSuspended: true },
      { status: 'installing' },
      { status: 'transferring' },
      { uuid: null },
      { uuid: '' },
      { panelType: 'virtfusion' },
      { pterodactylId: null },
    ]) {
      await addServer({ row });
    }
    const { id } = due;
    // A second session of the same server, of another account.
    await database.db('hytale_game_sessions').insert({
      ...{ id: randomUUID(), account_id: randomUUID(), profile_uuid: randomUUID(), environment: 'production' },
      ...{ session_token: '', identity_token: '', expires_at: new Date(now), status: 'failed', server_id: id },
    });
    await pull();
    expect(asked).toEqual([due.uuid]);
  });

  test('the one that was asked for longest ago comes first, as many as there are requests', async () => {
    const servers = await Promise.all(Array.from({ length: 8 }, () => addServer({ lines: printed(1, 3) })));
    const oldest = servers.map(({ uuid }) => uuid).sort();
    let left = 3;
    const scarce = {
      ...budget(),
      take: async () => {
        left -= 1;
        return left < 0 ? { granted: false as const, ms: 10 * MINUTE, paused: false } : { granted: true as const };
      },
    };
    const rounds: string[][] = [];
    for (let round = 0; round < 3; round += 1) {
      left = 3;
      asked.length = 0;
      expect(await pull({ budget: scarce })).toMatchObject({ left: 5 });
      rounds.push([...asked].sort());
      later(5);
    }
    expect(rounds).toEqual([
      oldest.slice(0, 3),
      oldest.slice(3, 6),
      [...oldest.slice(0, 1), ...oldest.slice(6)].sort(),
    ]);
  });

  test('a console that somebody has just asked for is passed by; two runs at once ask once', async () => {
    const servers = await Promise.all(Array.from({ length: 4 }, () => addServer({ lines: printed(1, 3) })));
    await Promise.all([pull(), pull()]);
    expect(asked.sort()).toEqual(servers.map(({ uuid }) => uuid).sort());
    for (const server of servers) expect(await stored(server)).toEqual(printed(1, 3));
    expect(await pull()).toMatchObject({ passed: 0, unchanged: 0 });
    expect(asked).toHaveLength(4);
  });

  test('servers of which nothing was heard for 15 minutes are pending, unless it is said why', async () => {
    const never = await addServer({ row: { isSuspended: true } });
    const heard = await addServer({ row: { isSuspended: true } });
    const failed = await addServer({ row: { isSuspended: true } });
    const sync = (server: { uuid: string }, status: string) =>
      database.db('hytale_log_sync_state').insert({
        ...{ server_uuid: server.uuid, sync_status: status, last_sync_time: new Date(now) },
        error_message: status === 'failed' ? 'why' : null,
      });
    await sync(heard, 'success');
    await sync(failed, 'failed');
    expect(await pull()).toMatchObject({ silent: 1 });
    expect((await state(never))?.status).toBe('pending');
    later(14);
    await pull();
    expect((await state(heard))?.status).toBe('success');
    later(2);
    expect(await pull()).toMatchObject({ silent: 1 });
    expect((await state(heard))?.status).toBe('pending');
    expect(await state(failed)).toMatchObject({ status: 'failed', error: 'why' });
  });
});

describe('failures', () => {
  test('a server that cannot be read costs itself only, and is asked ever more rarely; a success ends that', async () => {
    const bad = await addServer(
      fails('CONSOLE_REFUSED', { meta: { kind: 'server' }, publicMessage: 'The node does not know this server' }),
    );
    const good = await addServer({ lines: printed(1, 3) });
    expect(await pull()).toMatchObject({ failed: 1, first: 1 });
    expect(await state(bad)).toEqual({
      status: 'failed',
      error: 'The node does not know this server',
      failures: 1,
      wait: 4,
    });
    later(5);
    expect(await pull()).toMatchObject({ failed: 1, unchanged: 1 });
    expect(await state(bad)).toMatchObject({ failures: 2, wait: 9 });
    later(5);
    expect(await pull()).toMatchObject({ failed: 0, unchanged: 1 });
    await database.db('hytale_consoles').where({ server_uuid: bad.uuid }).update({ failures: 30 });
    later(5);
    await pull();
    expect(await state(bad)).toMatchObject({ failures: 31, wait: 59 });
    later(60);
    bad.fails = undefined;
    bad.lines = printed(1, 2);
    expect(await pull()).toMatchObject({ first: 1, unchanged: 1 });
    expect(await state(bad)).toMatchObject({ status: 'success', error: null, failures: 0, wait: null });
    expect(await stored(good)).toEqual(printed(1, 3));
  });

  test.each([
    ['no right', 'PANEL_AUTH', { meta: { status: 403 } }, 'failed', 'websocket.connect'],
    ['unknown', 'PANEL_NOT_FOUND', {}, 'failed', 'has no access to it'],
    ['busy', 'PANEL_CONFLICT', {}, 'pending', 'is suspended, being installed'],
    ['a bug of the panel', 'PANEL_UNAVAILABLE', { meta: { status: 500, panelCode: 'TypeError' } }, 'failed', ''],
    ['cut off', 'CONSOLE_UNAVAILABLE', { meta: { kind: 'closed' } }, 'failed', ''],
    ['throttled', 'CONSOLE_THROTTLED', {}, 'failed', ''],
  ] as const)('of one server: %s', async (_what, code, options, status, reason) => {
    const bad = await addServer({ node: 1, ...fails(code, options) });
    const good = await addServer({ node: 1, lines: printed(1, 3) });
    expect(await pull()).toMatchObject({ failed: 1, first: 1 });
    expect(await state(bad)).toMatchObject({ status, error: expect.stringContaining(reason), failures: 1 });
    expect(await state(good)).toMatchObject({ status: 'success' });
  });

  test('an error of ours about one server stands in the log only, and the others are read', async () => {
    const bad = await addServer({ fails: () => new TypeError('of ours') });
    const good = await addServer({ lines: printed(1, 3) });
    expect(await pull()).toMatchObject({ failed: 1, first: 1 });
    expect(await state(bad)).toMatchObject({ status: 'failed', error: expect.stringContaining('worker log') });
    expect(await stored(good)).toHaveLength(3);
    expect(logged.join()).toContain('of ours');
  });

  test('a node that does not answer is asked twice at most, and all of its servers say why; other nodes are read', async () => {
    const down = await Promise.all(Array.from({ length: 9 }, () => addServer({ node: 1, ...nodeDown })));
    const up = await Promise.all(Array.from({ length: 9 }, () => addServer({ node: 2, lines: printed(1, 3) })));
    expect(await pull()).toMatchObject({ first: 9, left: 9 - asked.length + 9 });
    expect(asked.filter((uuid) => down.some((server) => server.uuid === uuid)).length).toBeLessThanOrEqual(2);
    for (const server of down)
      expect(await state(server)).toMatchObject({ status: 'failed', error: 'The node is down' });
    for (const server of up) expect(await state(server)).toMatchObject({ status: 'success' });
    // It is back: the servers that were not asked wait for nothing.
    for (const server of down) Object.assign(server, { fails: undefined, lines: printed(1, 2) });
    later(5);
    expect(await pull()).toMatchObject({ first: 9 });
  });

  test('at most two consoles of one node are read at the same time', async () => {
    let reading = 0;
    let most = 0;
    const second = Promise.withResolvers<void>();
    // The first one waits for the second one.
    const slow = async (): Promise<void> => {
      reading += 1;
      most = Math.max(most, reading);
      if (reading === 2) second.resolve();
      await second.promise;
      await new Promise((resolve) => setTimeout(resolve, 20));
      reading -= 1;
    };
    await Promise.all(Array.from({ length: 6 }, () => addServer({ node: 1, lines: printed(1, 3) })));
    await pull({
      panel: async () => ({
        async openConsole(uuid, options) {
          await slow();
          return { console: open(uuid, options?.signal), throttle: {} };
        },
      }),
    });
    expect(most).toBe(2);
  });

  test('a 429 pauses everything that uses the key, and is no failure of a server', async () => {
    const servers = await Promise.all(Array.from({ length: 20 }, () => addServer({ lines: printed(1, 3) })));
    for (const server of servers) Object.assign(server, fails('PANEL_RATE_LIMITED', { retryAfterMs: 2 * MINUTE }));
    const totals = await pull({ runMs: MINUTE });
    expect(totals['failed']).toBeLessThanOrEqual(8);
    expect(asked.length).toBe(totals['failed']);
    for (const server of servers) expect(await state(server)).toMatchObject({ status: 'pending', error: null });
    const [pause] = await query<{ s: number }>(
      database.db,
      `select extract(epoch from paused_until - now())::int as s from usage_budget`,
    );
    expect(pause?.s).toBeGreaterThan(100);
    expect(await budget().take('push', 1)).toMatchObject({ granted: false, paused: true });
    // The next run finds the pause and asks nothing.
    for (const server of servers) server.fails = undefined;
    asked.length = 0;
    later(1.1);
    expect(await pull({ runMs: 1_000 })).toMatchObject({ left: 20, failed: 0 });
    expect(asked).toEqual([]);
  });

  test.each([
    ['is away', 'PANEL_UNAVAILABLE', { meta: { kind: 'connect' }, publicMessage: 'The panel cannot be reached' }, true],
    ['refuses the key', 'PANEL_AUTH', { meta: { status: 401 } }, true],
    [
      'has no client key',
      'PANEL_NOT_CONFIGURED',
      { publicMessage: 'The panel client API key is not configured' },
      false,
    ],
  ] as const)('a panel that %s ends the run, and every server says why', async (_what, code, options, paused) => {
    const servers = await Promise.all(Array.from({ length: 12 }, () => addServer(fails(code, options))));
    await pull();
    expect(asked.length).toBeLessThanOrEqual(8);
    for (const server of servers)
      expect(await state(server)).toMatchObject({ status: 'failed', error: expect.stringMatching(/panel/i) });
    const [row] = await query<{ n: number }>(
      database.db,
      'select count(*)::int as n from usage_budget where paused_until > now()',
    );
    expect(row?.n).toBe(paused ? 1 : 0);
    const failures = await query(database.db, 'select 1 from hytale_consoles where failures > 0');
    expect(failures).toEqual([]);
  });

  test('a run that is cancelled asks nothing more, closes what is open, and no server has failed', async () => {
    const cancel = new AbortController();
    const servers = await Promise.all(Array.from({ length: 30 }, () => addServer({ lines: printed(1, 3) })));
    for (const server of servers) {
      server.during = (reading) => {
        if (reading === 2) cancel.abort(new Error('cancelled'));
        return [];
      };
    }
    await expect(pull({}, cancel.signal)).rejects.toThrow('cancelled');
    expect(asked.length).toBeLessThan(30);
    for (const server of servers) expect(server.closed).toBe(server.opened);
    expect(await query(database.db, `select 1 from hytale_log_sync_state where sync_status = 'failed'`)).toEqual([]);
  });

  test('a run ends by itself when its time is over', async () => {
    await Promise.all(Array.from({ length: 5 }, () => addServer({ lines: printed(1, 3) })));
    expect(await pull({ runMs: 0 })).toMatchObject({ left: 5, first: 0 });
    expect(asked).toEqual([]);
  });
});

test('pulls take three quarters of the share of Hytale', async () => {
  await Promise.all(Array.from({ length: 60 }, () => addServer({ lines: printed(1, 2) })));
  await database.db('usage_budget').insert({ panel: budgetKey(ACCESS), request_limit: 240 });
  const panel = async () => ({
    async openConsole(uuid: string) {
      asked.push(uuid);
      return { console: open(uuid, undefined), throttle: { limit: 240, remaining: 200 } };
    },
  });
  expect(await pull({ panel, runMs: 30_000 })).toMatchObject({ first: 45, left: 15 });
  expect(asked).toHaveLength(45);
  expect(await budget().take('push', 15)).toEqual({ granted: true });
});
