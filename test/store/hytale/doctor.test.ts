/** What `doctor` says about Hytale, and the counts that it and the metrics use. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type HytaleSimulator, startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import { checkHytale } from '../../../src/cli/doctor/hytale.ts';
import { loadConfig } from '../../../src/config.ts';
import { hytaleFigures } from '../../../src/store/hytale/figures.ts';
import { consoleFigures } from '../../../src/store/hytale/pull-reads.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
let sim: HytaleSimulator;
beforeAll(async () => {
  database = await createTestDatabase();
  sim = await startHytaleSimulator();
});
afterAll(async () => {
  await sim.close();
  await database.drop();
});

const account = (status: string, environment: string | null = 'production') =>
  database.db('hytale_oauth_tokens').insert({
    ...{ account_id: randomUUID(), access_token: 'marker', refresh_token: 'marker' },
    ...{ access_token_expiry: new Date(), environment, status },
  });
const session = (values: Record<string, unknown>) =>
  database.db('hytale_game_sessions').insert({
    ...{ account_id: randomUUID(), profile_uuid: randomUUID(), session_token: 'marker', identity_token: 'marker' },
    ...{ expires_at: new Date(), environment: 'production', ...values },
  });

test('rows by status, hosts and keys; the other environment is not counted', async () => {
  const { oauth, accountData, sessions } = sim.hosts;
  const { hytale } = loadConfig({
    ...{ HYTALE_OAUTH_BASE_URL: oauth, HYTALE_ACCOUNT_DATA_BASE_URL: accountData },
    HYTALE_SESSIONS_BASE_URL: sessions,
  });
  const doctor = async () => {
    const checks = await checkHytale(database.db, hytale);
    expect(JSON.stringify(checks)).not.toContain('marker');
    return checks.map(({ state, detail }) => `${state}: ${detail}`);
  };
  await account('active', 'staging');
  // Without an account nothing is called.
  expect(await doctor()).toEqual([]);
  expect(sim.requests()).toEqual([]);

  await account('active', null);
  await session({ status: null });
  expect(await doctor()).toEqual(['ok: production, 1 accounts, 1 sessions']);

  await account('reauth_required');
  for (const status of ['limited', 'lapsed', 'failed']) await session({ status });
  await database.db.raw(`insert into servers (id, name) values ('s', 's')`);
  await session({ server_id: 's', push_status: 'failed' });
  expect(await hytaleFigures(database.db, 'production')).toEqual({
    accounts: { active: 1, reauth_required: 1, misconfigured: 0, closing: 0 },
    sessions: { requested: 0, active: 2, limited: 1, lapsed: 1, failed: 1, ending: 0 },
    pushes: { none: 0, pending: 0, pushed: 0, failed: 1 },
  });
  const rows = await doctor();
  expect(rows).toEqual([
    'warning: 1 accounts must be signed in again',
    'warning: 1 sessions wait for the limit of their account',
    'warning: 1 sessions have expired: their account must be signed in again',
    'warning: 1 sessions cannot be created',
    'warning: 1 sessions have tokens that the panel refuses',
  ]);

  expect((await consoleFigures(database.db, 'production')).states).toEqual({ success: 0, pending: 0, failed: 0 });
  await database.db.raw(
    `update servers set uuid = 'u', "pterodactylId" = 1, status = 'running';
     insert into hytale_log_sync_state (server_uuid, sync_status, error_message) values ('u', 'failed', 'no right');
     insert into hytale_consoles (server_uuid, pulled_at, pushed_at) values ('u', now() - interval '10 minutes', now() - interval '1 day')`,
  );
  const figures = await consoleFigures(database.db, 'production');
  expect(figures).toMatchObject({ states: { success: 0, pending: 0, failed: 1 }, pushed: 0, problem: 'no right' });
  expect(Math.round(figures.oldestPullSeconds / 60)).toBe(10);
  rows.push('warning: the consoles of 1 servers cannot be read; most often: no right');
  expect(await doctor()).toEqual(rows);
  await database.db.raw(`update hytale_consoles set pushed_at = now()`);
  expect(await consoleFigures(database.db, 'production')).toMatchObject({ pushed: 1, oldestPullSeconds: 0 });
  expect((await consoleFigures(database.db, 'staging')).states.failed).toBe(0);

  await sim.close();
  const away = (await doctor()).slice(rows.length);
  expect(away).toHaveLength(3);
  for (const line of away) expect(line).toMatch(/^warning: .*Hytale/);
});
