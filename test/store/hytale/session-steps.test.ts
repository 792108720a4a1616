/** Steps of a game session that a whole life rarely meets. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { advanceAccount } from '../../../src/services/hytale/advance-account.ts';
import { advanceSession } from '../../../src/services/hytale/advance-session.ts';
import { findSession, insertSession } from '../../../src/store/hytale/session-store.ts';
import type { SessionWish } from '../../../src/workflows/contract.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { createScheduledAccount, type ScheduledAccount } from '../../support/hytale/schedules.ts';

let database: TestDatabase;
let account: ScheduledAccount;
let close: () => Promise<void>;
let sessionId: string;
beforeAll(async () => {
  database = await createTestDatabase();
  ({ account, close } = await createScheduledAccount(database.db));
  sessionId = await insertSession(database.db, {
    environment: 'production',
    accountId: account.id,
    profileUuid: account.sim.accounts()[0]?.profiles[0]?.uuid ?? '',
    serverId: null,
    ipAddress: null,
    userAgent: null,
  });
  await step({ what: 'look' });
});
afterAll(async () => {
  await close?.();
  await database?.drop();
});

/** A step, with the renewal of the account that it asks for, as the workflow does it. */
async function step(wish: SessionWish) {
  for (let n = 0; n < 3; n += 1) {
    const done = await advanceSession(account.deps, { sessionId, wish });
    if (done.renewAccount === undefined) return done;
    const { accountId, ifVersion } = done.renewAccount;
    await advanceAccount(account.deps, { accountId, wish: { what: 'refresh', ifVersion } });
  }
  throw new Error('the session asks for new tokens of its account again and again');
}
const row = async () => {
  const found = await findSession(database.db, 'production', sessionId);
  if (found === undefined) throw new Error('the session is gone');
  return found;
};

test.each([
  ['a licence', 'forbidden', () => account.sim.fault('session-new', refusal('no licence'), { times: 4 })],
  ['the limit', 'session_limit', () => account.sim.fault('session-new', refusal('session limit'), { times: 4 })],
  ['an unknown profile', 'no_profile', () => account.sim.fault('session-new', refusal('profile not found', 404))],
])(
  'a fresh pair that is refused for %s costs nothing: the present one lives, and is renewed as before',
  async (_why, result, disturb) => {
    const before = await row();
    disturb();
    expect(await step({ what: 'renew', ifVersion: before.version })).toMatchObject({ result, version: before.version });
    account.sim.clearFaults();
    expect(await row()).toMatchObject({ status: 'active', version: before.version, wantedVersion: before.version });
    // The replaced session was ended to make room at the limit: then a new one takes its place at the next renewal.
    const waits = await step({ what: 'look' });
    expect(waits).toMatchObject({ status: 'active', result: 'none' });
    account.sim.advance(waits.ms ?? 0);
    expect(await step({ what: 'look' })).toMatchObject({
      status: 'active',
      result: 'done',
      version: before.version + 1,
    });
    expect(account.sim.live(account.id)).toHaveLength(1);
  },
);

const refusal = (body: string, status = 403) => ({ kind: 'answer', status, body, type: 'text/plain' }) as const;

test('a refused access token does not cost the session that is to be replaced', async () => {
  const { version } = await row();
  account.sim.clearRequests();
  account.sim.fault('session-new', refusal('invalid token'));
  expect(await step({ what: 'renew', ifVersion: version })).toMatchObject({ result: 'done', version: version + 1 });
  const calls = account.sim.requests().map(({ call }) => call);
  expect(calls.filter((call) => call !== 'jwks')).toEqual([
    'session-new',
    'token-refresh',
    'session-new',
    'session-end',
  ]);
});
