/** Tokens of the existing service stand in clear: accounts and sessions go on without a person; a rotation loses none. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { advanceAccount } from '../../../src/services/hytale/advance-account.ts';
import { advanceSession } from '../../../src/services/hytale/advance-session.ts';
import { rotateKeys } from '../../../src/services/settings/rotate-keys.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { migrateLatest } from '../../../src/store/db/migrations.ts';
import { takeForeignRows } from '../../../src/store/hytale/account-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createScheduledAccount, type ScheduledAccount } from '../../support/hytale/schedules.ts';
import { LEGACY_CAMEL, LEGACY_SNAKE } from '../../support/legacy-schema.ts';

let source: TestDatabase;
let account: ScheduledAccount;
let close: () => Promise<void>;
beforeAll(async () => {
  source = await createTestDatabase();
  ({ account, close } = await createScheduledAccount(source.db));
});
afterAll(async () => {
  await close?.();
  await source?.drop();
});

const profile = () => account.sim.accounts()[0]?.profiles[0]?.uuid ?? '';
const look = { what: 'look' } as const;

/** The tokens of the account and of a session of it, in clear, as the existing service stored them. */
async function clearTokens() {
  const { deps, id } = account;
  await advanceAccount(deps, { accountId: id, wish: { what: 'refresh' } });
  const { rows } = await source.db.raw('select access_token, refresh_token from hytale_oauth_tokens');
  const clear = (text: string) => deps.encryption.decrypt(text) as { value: string };
  const access = clear(rows[0].access_token).value;
  const made = await deps.client.newSession(new Secret(access), profile());
  if (made.outcome !== 'ok') throw new Error(made.outcome);
  const { sessionToken, identityToken } = made.pair;
  const pair = { session: sessionToken.reveal(), identity: identityToken.reveal() };
  return { access, refresh: clear(rows[0].refresh_token).value, ...pair };
}

describe.each([
  ['camelCase', LEGACY_CAMEL, '"accountId", "accessToken", "refreshToken", "accessTokenExpiry"', '"serverId"'],
  ['snake_case', LEGACY_SNAKE, 'account_id, access_token, refresh_token, access_token_expiry', 'server_id'],
] as const)('a database of the existing service, %s', (spelling, sql, accountColumns, link) => {
  test('goes on with an account and a session that has the date zero', async () => {
    const database = await createTestDatabase({ empty: true });
    const { sim } = account;
    const tokens = await clearTokens();
    try {
      await database.db.raw(sql);
      await database.db.raw('delete from hytale_game_sessions; delete from hytale_oauth_tokens;');
      const [server] = (await database.db.raw('select id from servers limit 1')).rows;
      await database.db.raw(
        `insert into hytale_oauth_tokens (${accountColumns}) values (?, ?, ?, now() at time zone 'utc' - interval '1 day')`,
        [account.id, tokens.access, tokens.refresh],
      );
      const snake = spelling === 'snake_case';
      const columns = snake
        ? 'account_id, profile_uuid, session_token, identity_token, expires_at'
        : '"accountId", "profileUuid", "sessionToken", "identityToken", "expiresAt"';
      await database.db.raw(
        `insert into hytale_game_sessions (${columns}, ${link}) values (?, ?, ?, ?, '0001-01-01', ?)`,
        [account.id, profile(), tokens.session, tokens.identity, server.id],
      );
      await migrateLatest(database.db);
      await database.db.raw(`update hytale_oauth_tokens set created_at = created_at - interval '2 days'`);
      const deps = { ...account.deps, db: database.db };
      expect(await takeForeignRows(database.db, 'production')).toBe(2);
      const renewed = await advanceAccount(deps, { accountId: account.id, wish: look });
      expect(renewed).toMatchObject({ status: 'active', result: 'done', version: 2 });
      const [session] = (await database.db.raw('select id, server_id from hytale_game_sessions')).rows;
      expect(session.server_id).toBe(server.id);
      // It is renewed before the hour that it has from its creation is over.
      const waits = await advanceSession(deps, { sessionId: session.id, wish: look });
      expect(waits.ms).toBeLessThanOrEqual(3_300_000);
      const next = await advanceSession(deps, { sessionId: session.id, wish: { what: 'refresh' } });
      expect(next).toMatchObject({ status: 'active', result: 'done', version: 2, push: true });
      expect(sim.live(account.id).some(({ refreshes }) => refreshes > 0)).toBe(true);
      const stored = JSON.stringify(
        (await database.db.raw('select * from hytale_oauth_tokens, hytale_game_sessions')).rows,
      );
      expect(sim.secrets().filter((secret) => stored.includes(secret))).toEqual([]);
      // The account of the other database has lost its refresh token to this one: it gets the present one back.
      const [now] = (await database.db.raw('select access_token, refresh_token from hytale_oauth_tokens')).rows;
      await source.db.raw('update hytale_oauth_tokens set access_token = ?, refresh_token = ?', [
        now.access_token,
        now.refresh_token,
      ]);
    } finally {
      await database.drop();
    }
  });
});

test('a rotation of the key while tokens are renewed loses none', async () => {
  const [old, key] = [7, 8].map((byte) => new Secret(Buffer.alloc(32, byte).toString('base64')));
  if (old === undefined || key === undefined) throw new Error('no keys');
  account.sim.fault('token-refresh', { kind: 'slow', ms: 300 });
  // The renewing process has both keys, as a rotation demands.
  const deps = { ...account.deps, encryption: createEncryption({ key, previousKey: old }) };
  const renewal = advanceAccount(deps, { accountId: account.id, wish: { what: 'refresh' } });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const rotated = await rotateKeys({ db: source.db, keys: { key, previousKey: old } }, { actor: { type: 'cli' } });
  expect(rotated).toMatchObject({ changed: true });
  expect(await renewal).toMatchObject({ result: 'done' });
  const only = { ...deps, encryption: createEncryption({ key }) };
  expect(await advanceAccount(only, { accountId: account.id, wish: { what: 'refresh' } })).toMatchObject({
    result: 'done',
  });
  expect(account.sim.refreshTokens(account.id).filter(({ spent, reused }) => spent > 1 || reused > 0)).toEqual([]);
});
