/** What the live mirror decides by, read from log rows, and what it does about it. */
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { registerSyncCommands } from '../../../src/cli/sync.ts';
import { AppError } from '../../../src/domain/errors.ts';
import type { AutoSync } from '../../../src/domain/settings.ts';
import { mirrorStatus, tickMirror } from '../../../src/services/sync/live-mirror.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.raw('truncate sync_logs, config cascade');
});

/** A sync that began so many seconds ago. */
const began = (seconds: number, row: { type?: string; status?: string; metadata?: object } = {}) =>
  query(
    database.db,
    `insert into sync_logs (id, type, status, metadata, "startedAt")
     values (?, ?, ?, ?::jsonb, (now() at time zone 'utc') - make_interval(secs => ?))`,
    [
      randomUUID(),
      row.type ?? 'full',
      row.status ?? 'COMPLETED',
      JSON.stringify({ requested_by: 'scheduler', ...row.metadata }),
      seconds,
    ],
  );
const setting: AutoSync = { enabled: true, mode: 'auto', intervalSeconds: 3_600, budgetShare: 25 };
const deps = (change: Partial<AutoSync> = {}, requestsPerMinute?: number) => ({
  db: database.db,
  autoSync: async () => ({ ...setting, ...change }),
  requestsPerMinute,
});

describe('the age of the mirror', () => {
  test('counts from the start of the newest completed full sync with users, by the schedule or by hand', async () => {
    expect(await mirrorStatus(deps())).toMatchObject({ ageSeconds: null, requests: null, shareUsed: null });
    await began(900, { metadata: { requested_by: 'api' } });
    await began(500, { status: 'FAILED' });
    await began(400, { metadata: { dry_run: true } });
    await began(300, { metadata: { skip_users: true } });
    await began(200, { type: 'servers' });
    await began(100, { status: 'RUNNING' });
    const { ageSeconds } = await mirrorStatus(deps());
    expect(ageSeconds).toBeGreaterThanOrEqual(900);
    expect(ageSeconds).toBeLessThan(930);
  });

  test('says when it is renewed, and which part of the limit that takes', async () => {
    await began(100, { metadata: { requests: 700, limit: 240 } });
    const now = Date.parse('2026-01-01T00:10:00Z');
    const live = await mirrorStatus(deps(), now);
    expect(live).toMatchObject({ mode: 'auto', requests: 700, budgetShare: 25, shareUsed: 25 });
    const seconds = ((live.nextRunAt?.getTime() ?? 0) - now) / 1_000;
    expect(seconds).toBeGreaterThan(570);
    expect(seconds).toBeLessThanOrEqual(600);
    expect(await mirrorStatus(deps({ mode: 'interval' }), now)).toMatchObject({
      nextRunAt: new Date('2026-01-01T01:00:00Z'),
      shareUsed: 4.9,
    });
    expect(await mirrorStatus(deps({ enabled: false }))).toMatchObject({ nextRunAt: null, shareUsed: null });
  });
});

describe('`sync status`', () => {
  async function status(...args: string[]): Promise<string> {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    // The command reads the database alone: nothing listens at this address.
    const env = { DATABASE_URL: database.url, TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const program = new Command('nodebyte').exitOverride();
    registerSyncCommands(program, { stdin: new PassThrough(), stdout, stderr, env });
    await program.parseAsync(['sync', 'status', ...args], { from: 'user' });
    stdout.end();
    stderr.end();
    expect([await text(stderr), process.exitCode ?? 0]).toEqual(['', 0]);
    return text(stdout);
  }
  const lastLine = async (...args: string[]) => (await status(...args)).trimEnd().split('\n').at(-1);
  const set = (key: string, value: string) =>
    query(
      database.db,
      `insert into config (id, key, value) values (?, ?, ?) on conflict (key) do update set value = excluded.value`,
      [key, key, value],
    );

  test('ends with the age of the mirror, when it is renewed, and the share of the limit that this takes', async () => {
    await began(100, { type: 'servers' });
    expect(await lastLine()).toBe('The panel was never mirrored whole; automatic syncs are off');
    await began(900, { metadata: { requests: 700, limit: 240 } });
    expect(await lastLine()).toMatch(/^The mirror is \d+ s old; automatic syncs are off$/);

    await set('auto_sync_enabled', 'true');
    await set('auto_sync_mode', 'interval');
    await set('auto_sync_interval', '3600');
    const due = String.raw`^The mirror is \d+ s old; the next sync is due at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
    expect(await lastLine()).toMatch(new RegExp(`${due}, 4\\.9 % of the panel's limit$`));
    await set('auto_sync_mode', 'auto');
    await set('auto_sync_budget_share', '25');
    expect(await lastLine()).toMatch(new RegExp(`${due}, 25 % of the panel's limit \\(at most 25 %\\)$`));
    expect(JSON.parse(await status('--json'))).toMatchObject({
      type: 'servers',
      mirror: { enabled: true, mode: 'auto', budgetShare: 25, shareUsed: 25, requests: 700 },
    });
  });

  test('of one sync says nothing of the mirror, whose age belongs to the present', async () => {
    await began(100);
    const [log] = await query(database.db, 'select id from sync_logs');
    const id = String(log?.['id']);
    expect(await status(id)).toContain(`COMPLETED full sync ${id}`);
    expect(await status(id)).not.toMatch(/mirror/i);
    expect(JSON.parse(await status(id, '--json'))).not.toHaveProperty('mirror');
  });
});

describe('a look of the live mirror', () => {
  /** One look. @returns what it did, and which syncs it requested. */
  async function look(change: Partial<AutoSync> = {}, request?: () => Promise<never>) {
    const requested: { target: string; requester?: string | undefined; id?: string | undefined }[] = [];
    const launcher = {
      async requestSync(wanted: (typeof requested)[number]) {
        requested.push(wanted);
        await request?.();
        return { syncLogId: wanted.id ?? '', taskId: '', status: 'PENDING', joined: false } as const;
      },
    };
    const { did, waitMs } = await tickMirror({ ...deps(change), launcher }, 'wanted');
    return { did, waitMs, requested };
  }

  test('starts a full sync at once when none is known, and when the share has paid for the last one', async () => {
    expect(await look()).toEqual({
      did: 'started',
      waitMs: 20_000,
      requested: [{ target: 'full', requestedBy: 'scheduler', requester: 'scheduler', id: 'wanted' }],
    });
    await began(701, { metadata: { requests: 700, limit: 240 } });
    expect(await look()).toMatchObject({ did: 'started', waitMs: 700_000, requested: [{ id: 'wanted' }] });
  });

  test('waits until then, also for what somebody else requested, and longer after failures', async () => {
    await began(100, { metadata: { requests: 700, limit: 240, requested_by: 'api' } });
    const { did, waitMs, requested } = await look();
    expect([did, requested]).toEqual(['waited', []]);
    expect(waitMs).toBeGreaterThan(570_000);
    expect(waitMs).toBeLessThanOrEqual(600_000);
    await began(0, { status: 'FAILED', metadata: { requests: 0 } });
    expect((await look()).waitMs).toBeLessThanOrEqual(40_000);
    await began(0, { status: 'FAILED', metadata: { requests: 0 } });
    expect((await look()).waitMs).toBeGreaterThan(50_000);
  });

  test('skips while a sync runs, of any target, and when one begins meanwhile', async () => {
    await began(3_000, { status: 'PENDING', type: 'users' });
    expect(await look()).toEqual({ did: 'skipped', waitMs: 30_000, requested: [] });
    await database.db.raw('truncate sync_logs cascade');
    const busy = async () => {
      throw new AppError('SYNC_RUNNING');
    };
    expect(await look({}, busy)).toMatchObject({ did: 'skipped', requested: [{ id: 'wanted' }] });
  });

  test('ends the live mirror when the settings do not want it', async () => {
    expect(await look({ enabled: false })).toMatchObject({ did: 'ended', requested: [] });
    expect(await look({ mode: 'interval' })).toMatchObject({ did: 'ended', requested: [] });
  });
});
