/** What is read of Hytale: the audit of an account, and the accounts and sessions of the administration. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { fakeHytale } from '../../support/api/hytale.ts';

let harness: Harness;
let admin: Record<string, string>;
const forwarded: unknown[][] = [];
beforeAll(async () => {
  const note =
    (name: string) =>
    async (...given: unknown[]) =>
      void forwarded.push([name, ...given.slice(0, -1)]);
  harness = await startHarness({
    deps: {
      hytale: fakeHytale({
        startLogin: async (accountId) => {
          forwarded.push(['startLogin', accountId]);
          throw new Error('not expected');
        },
        selectProfile: note('selectProfile'),
        disconnect: note('disconnect'),
        refreshSession: note('refreshSession'),
        renewSession: note('renewSession'),
        linkSession: note('linkSession'),
        endSessionById: note('endSessionById'),
      }),
    },
    temporalUiUrl: 'https://ui.example',
  });
  admin = bearer((await makeUser(harness, { isSystemAdmin: true })).token);
});
afterAll(() => harness.close());

type Row = Record<string, unknown>;
async function get(path: string, headers: Record<string, string> = admin): Promise<{ status: number; body: Row }> {
  const response = await harness.get(path, { headers });
  return { status: response.status, body: (await response.json()) as unknown as Row };
}
async function post(path: string, body?: unknown, method = 'POST'): Promise<{ status: number; body: Row }> {
  const headers = { ...admin, 'Content-Type': 'application/json' };
  const response = await harness.get(path, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, body: (await response.json()) as unknown as Row };
}
const run = (sql: string, bindings: readonly unknown[] = []) => query(harness.database.db, sql, bindings);

describe('the audit of an account', () => {
  const account = randomUUID();
  const profile = randomUUID();
  const logs = (search: string) => get(`/api/v1/hytale/logs?account_id=${account}&${search}`, { 'X-API-Key': API_KEY });
  const idsOf = ({ body }: { body: Row }) => (body['logs'] as Row[]).map(({ details }) => details);
  beforeAll(async () => {
    // Entries 0 to 4, from old to new; 2 and 3 of one time.
    await run(
      `insert into hytale_audit_logs (id, account_id, profile_id, event_type, details, ip_address, user_agent, created_at)
       select ('00000000-0000-4000-8000-00000000000' || n)::uuid, ?, case when n = 1 then ?::uuid end,
         case when n = 4 then 'TOKEN_REFRESHED' else 'SESSION_CREATED' end, n::text,
         case when n = 0 then '192.0.2.7'::inet end, case when n = 0 then 'curl' end,
         timestamptz '2026-01-09 10:30:00.123456+00' + make_interval(mins => case when n = 3 then 2 else n end)
       from generate_series(0, 4) n`,
      [account, profile],
    );
    await run(`insert into hytale_audit_logs (account_id, event_type) values (?, 'TOKEN_CREATED')`, [randomUUID()]);
  });

  test('is read in snake case, newest first, by account; other rows and null columns survive', async () => {
    const { status, body } = await logs('');
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, count: 5 });
    expect(idsOf({ body })).toEqual(['4', '3', '2', '1', '0']);
    expect((body['logs'] as Row[]).at(-1)).toEqual({
      id: '00000000-0000-4000-8000-000000000000',
      account_id: account,
      profile_id: null,
      event_type: 'SESSION_CREATED',
      details: '0',
      ip_address: '192.0.2.7',
      user_agent: 'curl',
      created_at: '2026-01-09T10:30:00.123Z',
    });
    expect((await get(`/api/hytale/logs?account_id=${account.toUpperCase()}`)).body).toEqual(body);
    const none = await get(`/api/hytale/logs?account_id=${randomUUID()}`);
    expect(none.body).toEqual({ success: true, logs: [], count: 0 });
  });

  test.each([
    ['limit=2', ['4', '3']],
    ['limit=0', ['4', '3', '2', '1', '0']],
    ['limit=many', ['4', '3', '2', '1', '0']],
    ['limit=5000', ['4', '3', '2', '1', '0']],
    [`profile_id=${profile}`, ['1']],
    ['event_type=session_created&limit=2', ['3', '2']],
    ['since=2026-01-09T10:32:00Z', ['4', '3', '2']],
    ['until=2026-01-09T10:32:00Z', ['1', '0']],
    ['until=2026-01-09', ['4', '3', '2', '1', '0']],
    ['since=2026-01-10', []],
    ['before=00000000-0000-4000-8000-000000000003&limit=2', ['2', '1']],
    [`before=${randomUUID()}`, []],
  ])('is filtered by %s', async (search, expected) => {
    expect(idsOf(await logs(search))).toEqual(expected);
  });

  test('a filter that says nothing known is refused', async () => {
    const refused: [string, string][] = [
      ['profile_id=x', 'profile_id must be a UUID'],
      ['event_type=x', 'Invalid event_type'],
      ['since=yesterday', 'Invalid since'],
      ['until=2026-13-01', 'Invalid until'],
      ['before=1', 'before must be a UUID'],
    ];
    for (const [search, error] of refused) expect(await logs(search)).toMatchObject({ status: 400, body: { error } });
    expect(await get('/api/v1/hytale/logs')).toMatchObject({ status: 400, body: { error: 'account_id is required' } });
    expect(await get('/api/v1/hytale/logs?account_id=1')).toMatchObject({
      status: 400,
      body: { error: 'account_id must be a UUID' },
    });
  });
});

describe('accounts and sessions', () => {
  const [plain, several, foreign, dead] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  const [profile, other] = [randomUUID(), randomUUID()];
  const [bare, linked, hidden, odd] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
  beforeAll(async () => {
    const insert = `insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry, created_at`;
    const tokens = `'marker-a', 'marker-r', '2026-01-09 11:30:00', '2026-01-09 10:30:00'`;
    await run(`${insert}) values (?, ${tokens})`, [plain]);
    await run(
      `${insert}, environment, profiles, status, reason, next_at, failures) values
       (?, ${tokens}, 'production', ?::jsonb, 'active', 'it waits', '2026-01-09 11:25:00+00', 2)`,
      [
        several,
        JSON.stringify([
          { uuid: profile, username: 'Bea' },
          { uuid: other, username: 'Cid 100%' },
        ]),
      ],
    );
    await run(`${insert}, environment) values (?, ${tokens}, 'staging')`, [foreign]);
    await run(
      `${insert}, environment, profiles, profile_uuid, status) values (?, ${tokens}, 'production', '[]', ?, 'reauth_required')`,
      [dead, profile],
    );
    await run(`
      insert into locations (id, "shortCode") values (1, 'eu');
      insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (1, 'n-1', 'Node', 'n1.example', 1, 1, 1);
      insert into servers (id, uuid, name, "nodeId", memory, disk, cpu) values ('server-1', 'u-1', 'Alpha', 1, 1, 1, 1)`);
    await run(
      `insert into hytale_game_sessions (id, account_id, profile_uuid, session_token, identity_token, expires_at, status, created_at)
       values (?, ?, ?, '', '', '2026-01-09 11:30:00', null, '2026-01-09 10:30:00'),
         (?, ?, ?, 'marker-s', 'marker-i', '0001-01-01 00:00:00', 'odd', '2026-01-09 10:29:00')`,
      [bare, plain, profile, odd, plain, profile],
    );
    await run(
      `insert into hytale_game_sessions (id, account_id, profile_uuid, server_id, session_token, identity_token, expires_at, status,
         environment, version, wanted_version, push_status, push_reason, pushed_version, pushed_variables, pushed_at, next_at)
       values (?, ?, ?, 'server-1', 'marker-s', 'marker-i', '2026-01-09 11:30:00', 'limited', 'production', 3, 4, 'pushed', 'ok', 3,
         '{HYTALE_SESSION_TOKEN}', '2026-01-09 10:31:00+00', '2026-01-09 11:25:00+00'),
         (?, ?, ?, null, 'marker-s', 'marker-i', '2026-01-09 11:30:00', 'active', 'staging', 1, 1, 'none', null, null, null, null, null)`,
      [linked, several, profile, hidden, foreign, profile],
    );
  });
  const ids = (body: Row, list: string) => (body[list] as Row[]).map(({ id }) => id);

  test('accounts show what each waits for; those of the other environment are hidden', async () => {
    const { body } = await get('/api/admin/hytale/accounts');
    expect(new Set(ids(body, 'accounts'))).toEqual(new Set([plain, several, dead]));
    expect(body['pagination']).toEqual({ page: 1, pageSize: 25, total: 3, totalPages: 1 });
    const byId = new Map((body['accounts'] as Row[]).map((account) => [account['id'], account]));
    expect(byId.get(plain)).toMatchObject({
      state: 'profiles_unknown',
      environment: 'production',
      profiles: [],
      sessions: 2,
      activeSessions: 1,
    });
    expect(byId.get(dead)).toMatchObject({ status: 'reauth_required', state: 'reauth_required' });
    expect(byId.get(several)).toEqual({
      id: several,
      environment: 'production',
      status: 'active',
      state: 'profile_needed',
      reason: 'it waits',
      profiles: [
        { uuid: profile, username: 'Bea' },
        { uuid: other, username: 'Cid 100%' },
      ],
      profileUuid: null,
      profileName: null,
      version: 1,
      failures: 2,
      nextAt: '2026-01-09T11:25:00.000Z',
      accessExpiresAt: '2026-01-09T11:30:00.000Z',
      refreshExpiresAt: '2026-02-08T10:30:00.000Z',
      sessions: 1,
      activeSessions: 0,
      createdAt: '2026-01-09T10:30:00.000Z',
      updatedAt: expect.any(String),
      link: `https://ui.example/namespaces/name%20space%2F2/workflows/hytale-account%3A${several}`,
    });
    expect((await get(`/api/admin/hytale/accounts/${several.toUpperCase()}`)).body['account']).toEqual(
      byId.get(several),
    );
    for (const id of [foreign, randomUUID(), 'x']) {
      expect((await get(`/api/admin/hytale/accounts/${id}`)).status).toBe(404);
    }
  });

  test.each([
    ['status=reauth_required', [dead]],
    ['status=all&search=cid', [several]],
    ['search=100%25', [several]],
    ['search=%25%25', []],
    [`search=${plain.slice(0, 8).toUpperCase()}`, [plain]],
    [`search=${foreign}`, []],
    ['page=2&pageSize=2&search=', 1],
    ['page=0&pageSize=100000', 3],
  ])('accounts are filtered by %s', async (search, expected) => {
    const found = ids((await get(`/api/admin/hytale/accounts?${search}`)).body, 'accounts');
    expect(typeof expected === 'number' ? found.length : found).toEqual(expected);
  });

  test('sessions show their server, their next step and what was pushed', async () => {
    const { body } = await get('/api/admin/hytale/sessions');
    expect(ids(body, 'sessions')).toEqual([linked, bare, odd]);
    const [first, second, third] = body['sessions'] as Row[];
    expect(first).toMatchObject({
      profileName: 'Bea',
      server: { id: 'server-1', name: 'Alpha' },
      status: 'limited',
      version: 3,
      wantedVersion: 4,
      expiresAt: '2026-01-09T11:30:00.000Z',
      nextAt: '2026-01-09T11:25:00.000Z',
      push: {
        status: 'pushed',
        reason: 'ok',
        version: 3,
        variables: ['HYTALE_SESSION_TOKEN'],
        at: '2026-01-09T10:31:00.000Z',
        failures: 0,
        restartWanted: false,
      },
    });
    expect(second).toMatchObject({
      status: 'active',
      expiresAt: null,
      server: null,
      push: { variables: [], at: null },
    });
    expect(third).toMatchObject({ status: 'odd', expiresAt: '0001-01-01T00:00:00.000Z' });
    expect((await get(`/api/admin/hytale/sessions/${linked}`)).body['session']).toEqual(first);
    for (const id of [hidden, randomUUID(), 'x']) {
      expect((await get(`/api/admin/hytale/sessions/${id}`)).status).toBe(404);
    }
  });

  test.each([
    ['status=active', [bare]],
    ['status=limited', [linked]],
    [`account=${plain}`, [bare, odd]],
    [`account=${foreign}`, []],
    ['server=server-1', [linked]],
    ['search=alpha', [linked]],
    ['search=BEA', [linked]],
  ])('sessions are filtered by %s', async (search, expected) => {
    expect(ids((await get(`/api/admin/hytale/sessions?${search}`)).body, 'sessions')).toEqual(expected);
  });

  test('what is asked of an account or a session reaches its service, by a checked id', async () => {
    const account = `/api/admin/hytale/accounts/${several}`;
    const session = `/api/admin/hytale/sessions/${linked}`;
    expect((await post(`${account}/profile`, { profile_uuid: profile })).status).toBe(200);
    expect((await post(`${account}/profile`, {})).body['error']).toBe('profile_uuid is required');
    expect((await post(account, undefined, 'DELETE')).status).toBe(202);
    expect((await post(`${session}/refresh`)).status).toBe(200);
    expect((await post(`${session}/renew`, { restart: true })).status).toBe(200);
    expect((await post(`${session}/renew`)).status).toBe(200);
    expect((await post(`${session}/link`, { server_id: null })).status).toBe(200);
    expect((await post(`${session}/end`)).status).toBe(200);
    expect((await post('/api/admin/hytale/sessions/x/end')).status).toBe(404);
    expect((await post(`/api/admin/hytale/accounts/${foreign}/relogin`)).status).toBe(404);
    expect((await post('/api/admin/hytale/sessions?account=x')).body['error']).toBe('account_id is required');
    expect((await get('/api/admin/hytale/sessions?account=x')).body['error']).toBe('account must be a UUID');
    expect(forwarded).toEqual([
      ['selectProfile', several, profile],
      ['disconnect', several],
      ['refreshSession', { accountId: several, sessionId: linked }],
      ['renewSession', linked, { restart: true }],
      ['renewSession', linked, { restart: false }],
      ['linkSession', linked, null],
      ['endSessionById', linked],
    ]);
  });

  test('no answer and no log line has a token', async () => {
    const paths = ['accounts', `accounts/${several}`, 'sessions', `sessions/${linked}`];
    for (const path of paths)
      expect(JSON.stringify((await get(`/api/admin/hytale/${path}`)).body)).not.toContain('marker');
    expect(harness.logged()).not.toContain('marker');
  });
});
