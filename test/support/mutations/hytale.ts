/** Hytale for the recipes: the real service, whose workflows answer at once, and how its routes are called. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import type { HytaleClient } from '../../../src/clients/hytale/answers.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { createHytale } from '../../../src/services/hytale/create-hytale.ts';
import type { Hytale } from '../../../src/services/hytale/hytale.ts';
import type { Db } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { insertLogin, storeCode } from '../../../src/store/hytale/login-store.ts';
import type { HytaleEngine } from '../../../src/temporal/hytale-engine.ts';
import type { HytaleView } from '../../../src/workflows/contract.ts';
import { API_KEY, ENCRYPTION_KEY } from '../api/harness.ts';
import type { RouteRecipe } from './routes.ts';
import type { ApiRequest, World } from './world.ts';

const encryption = createEncryption({ key: new Secret(ENCRYPTION_KEY) });
const PROFILE = '0f8e6a10-2b51-4c52-9c9d-1f7c6f3f0a02';
const PROFILES = [{ uuid: PROFILE, username: 'Ada' }];

const viewOf = (id: string): HytaleView => ({ id, status: 'active', version: 1, result: 'done', why: '', until: null });

/** A code as Hytale gives it. */
const storeSomeCode = (db: Db, id: string): Promise<unknown> =>
  storeCode(db, encryption, id, {
    deviceCode: new Secret(`code-${id}`),
    userCode: 'AbCd1234',
    verificationUri: 'https://oauth.example/device',
    verificationUriComplete: null,
    intervalSeconds: 5,
    expiresInSeconds: 600,
    expiresAt: new Date(Date.now() + 600_000),
    nextAt: new Date(),
  });

/** The real service over a database. Its workflows do what a new session and a login need. */
export function hytaleAtOnce(db: Db): Hytale {
  const engine: HytaleEngine = {
    start: async () => true,
    wake: { account: async () => undefined, session: async () => undefined },
    async code(id) {
      await storeSomeCode(db, id);
      return viewOf(id);
    },
    async act(kind: 'account' | 'session', id: string) {
      if (kind === 'session') {
        await query(
          db,
          `update hytale_game_sessions set status = 'active', session_token = 's.s.s', identity_token = 'i.i.i', version = 1,
             expires_at = now() at time zone 'utc' + interval '1 hour' where id = ? and status <> 'ending'`,
          [id],
        );
      }
      return viewOf(id);
    },
    running: async () => new Set(),
  };
  const client = { profiles: async () => ({ outcome: 'ok', owner: PROFILE, profiles: PROFILES }) };
  const log = pino({ level: 'silent' });
  return createHytale({
    db,
    encryption,
    environment: 'production',
    client: client as unknown as HytaleClient,
    engine,
    log,
    now: Date.now,
  });
}

/** An account that is signed in. @returns its id. */
export async function signedIn(db: Db, options: { profile?: string | null } = {}): Promise<string> {
  const id = randomUUID();
  await query(
    db,
    `insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry, profiles, profile_uuid)
     values (?, 'access', 'refresh', now() at time zone 'utc' + interval '1 hour', ?::jsonb, ?)`,
    [id, JSON.stringify(PROFILES), options.profile === undefined ? PROFILE : options.profile],
  );
  return id;
}

/** A game session of a server. */
async function session(db: Db): Promise<{ id: string; accountId: string }> {
  const [id, accountId] = [randomUUID(), await signedIn(db)];
  await query(
    db,
    `insert into servers (id, uuid, name) values ('hytale-server', 'hytale-server', 'Server') on conflict do nothing`,
  );
  await query(
    db,
    `insert into hytale_game_sessions (id, account_id, profile_uuid, server_id, session_token, identity_token, expires_at, version, linked_at)
     values (?, ?, ?, 'hytale-server', 's.s.s', 'i.i.i', now() at time zone 'utc' + interval '1 hour', 1, now())`,
    [id, accountId, PROFILE],
  );
  return { id, accountId };
}

/** A login that waits for its person. */
async function login(db: Db): Promise<{ id: string; accountId: string }> {
  const [id, accountId] = [randomUUID(), randomUUID()];
  const by = { requestedBy: 'cli', ipAddress: null, userAgent: null };
  await insertLogin(db, { id, environment: 'production', accountId, ...by });
  await storeSomeCode(db, id);
  return { id, accountId };
}

type Body = Record<string, unknown>;
const API = { 'X-API-Key': API_KEY };
/** A request of a program. @param bodyOf makes its state. */
const program =
  (method: string, path: string, bodyOf: (db: Db) => Promise<Body>): RouteRecipe['prepare'] =>
  async ({ database }) => ({ method, path, headers: API, body: await bodyOf(database.db) });
/** A request of an administrator. */
const admin =
  (method: string, pathOf: (db: Db) => Promise<string>, body?: Body): RouteRecipe['prepare'] =>
  async ({ database }): Promise<ApiRequest> => ({
    method,
    path: `/api/admin/hytale/${await pathOf(database.db)}`,
    ...(body === undefined ? {} : { body }),
  });

const LONG = '/api/v1/hytale/oauth';
const SHORT = '/api/hytale';
const byAccount = async (db: Db): Promise<Body> => ({ account_id: await signedIn(db) });
const bySession = async (db: Db): Promise<Body> => ({ account_id: (await session(db)).accountId });
const unchosen = async (db: Db): Promise<Body> => ({
  account_id: await signedIn(db, { profile: null }),
  profile_uuid: PROFILE,
});
const poll = async (db: Db): Promise<Body> => {
  const { id, accountId } = await login(db);
  return { account_id: accountId, device_code: `code-${id}` };
};
const LOG_TABLES = ['hytale_server_logs', 'hytale_consoles', 'hytale_log_sync_state'];
const lines = async (db: Db): Promise<Body> => {
  const uuid = randomUUID();
  await query(db, `insert into servers (id, uuid, name) values (?, ?, 'Server')`, [uuid, uuid]);
  const logs = [{ line: 'a line', timestamp: '2026-01-01T00:00:00.000Z' }];
  return { server_uuid: uuid, account_id: PROFILE, logs };
};
const validation = async (): Promise<Body> => ({ token: 'a.b.c', token_type: 'session' });

const RENEWS = 'each renews';
const STARTS = 'each starts a sign-in';
const FRESH = 'each gives a fresh pair';

/** One recipe for both spellings of a route. */
const spelled = (
  name: string,
  paths: readonly [long: string, short: string],
  bodyOf: (db: Db) => Promise<Body>,
  facts: { repeats?: string; method?: string } = {},
): Record<string, RouteRecipe> => {
  const repeats = facts.repeats === undefined ? {} : { repeats: facts.repeats };
  return {
    [name]: { prepare: program('post', `${LONG}/${paths[0]}`, bodyOf), ...repeats },
    [`${name}Short`]: { prepare: program(facts.method ?? 'post', `${SHORT}/${paths[1]}`, bodyOf), ...repeats },
  };
};

export const HYTALE_ROUTES: Readonly<Record<string, RouteRecipe>> = {
  ...spelled('requestHytaleDeviceCode', ['device-code', 'device-code'], byAccount, { repeats: STARTS }),
  ...spelled('pollHytaleToken', ['token', 'token-poll'], poll),
  ...spelled('refreshHytaleToken', ['refresh', 'refresh-token'], byAccount, { repeats: RENEWS }),
  ...spelled('listHytaleProfiles', ['profiles', 'profiles'], byAccount),
  ...spelled('selectHytaleProfile', ['select-profile', 'select-profile'], unchosen),
  ...spelled('createHytaleGameSession', ['game-session/new', 'game-session'], byAccount, { repeats: FRESH }),
  ...spelled('refreshHytaleGameSession', ['game-session/refresh', 'game-session'], bySession, {
    repeats: RENEWS,
    method: 'patch',
  }),
  ...spelled('deleteHytaleGameSession', ['game-session/delete', 'game-session'], bySession, { method: 'delete' }),
  pushHytaleServerLogs: { prepare: program('post', '/api/v1/hytale/server-logs', lines), receives: LOG_TABLES },
  pushHytaleServerLogsShort: { prepare: program('post', `${SHORT}/server-logs`, lines), receives: LOG_TABLES },
  validateHytaleToken: { prepare: program('post', `${LONG}/validate-token`, validation) },
  refreshHytaleKeys: { prepare: async () => ({ method: 'post', path: `${LONG}/jwks/refresh`, headers: API }) },

  startHytaleLogin: { prepare: admin('post', async () => 'logins'), repeats: STARTS },
  cancelHytaleLogin: { prepare: admin('post', async (db) => `logins/${(await login(db)).id}/cancel`) },
  reloginHytaleAccount: {
    prepare: admin('post', async (db) => `accounts/${await signedIn(db)}/relogin`),
    repeats: STARTS,
  },
  refreshHytaleAccount: {
    prepare: admin('post', async (db) => `accounts/${await signedIn(db)}/refresh`),
    repeats: RENEWS,
  },
  chooseHytaleProfile: {
    prepare: admin('post', async (db) => `accounts/${await signedIn(db, { profile: null })}/profile`, {
      profile_uuid: PROFILE,
    }),
  },
  disconnectHytaleAccount: { prepare: admin('post', async (db) => `accounts/${await signedIn(db)}/disconnect`) },
  deleteHytaleAccount: { prepare: admin('delete', async (db) => `accounts/${await signedIn(db)}`) },
  startHytaleSession: {
    prepare: async (world) => ({
      method: 'post',
      path: '/api/admin/hytale/sessions',
      body: await byAccount(world.database.db),
    }),
    repeats: FRESH,
  },
  refreshHytaleSession: {
    prepare: admin('post', async (db) => `sessions/${(await session(db)).id}/refresh`),
    repeats: RENEWS,
  },
  renewHytaleSession: {
    prepare: admin('post', async (db) => `sessions/${(await session(db)).id}/renew`, { restart: true }),
    repeats: FRESH,
  },
  linkHytaleSession: {
    prepare: admin('post', async (db) => `sessions/${(await session(db)).id}/link`, { server_id: null }),
  },
  endHytaleSession: { prepare: admin('post', async (db) => `sessions/${(await session(db)).id}/end`) },
  deleteHytaleSession: { prepare: admin('delete', async (db) => `sessions/${(await session(db)).id}`) },
};

const LOG_READS = [
  ['listHytaleServerLogs', '/api/v1/hytale/server-logs'],
  ['listHytaleServerLogsShort', `${SHORT}/server-logs`],
  ['countHytaleServerLogs', '/api/v1/hytale/server-logs/count'],
  ['countHytaleServerLogsShort', `${SHORT}/server-logs/count`],
] as const;

/** Paths of the reads that need one. */
export async function hytalePaths({ database }: World): Promise<Record<string, string>> {
  const { id, accountId } = await session(database.db);
  return {
    getHytaleAccount: `/api/admin/hytale/accounts/${accountId}`,
    getHytaleLogin: `/api/admin/hytale/logins/${(await login(database.db)).id}`,
    getHytaleSession: `/api/admin/hytale/sessions/${id}`,
    listHytaleLogs: `${LONG.replace('/oauth', '')}/logs?account_id=${accountId}`,
    listHytaleLogsShort: `${SHORT}/logs?account_id=${accountId}`,
    ...Object.fromEntries(LOG_READS.map(([operationId, path]) => [operationId, `${path}?server_uuid=hytale-server`])),
  };
}
