/** Purges delete expired rows in batches, and no other rows. */
import { randomBytes, randomUUID } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMaintenanceActivities } from '../../../src/activities/maintenance.ts';
import type { SyncLauncher } from '../../../src/services/sync/launcher.ts';
import { issueToken, lockToken, purgeTokens, rememberUsed } from '../../../src/store/accounts/one-time-token-store.ts';
import { insertPending, purgePendingAccounts } from '../../../src/store/accounts/pending-account-store.ts';
import { insertSession, purgeSessions } from '../../../src/store/accounts/session-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { execute } from '../../../src/store/db/query.ts';
import { takeTokens } from '../../../src/store/rate-limit-store.ts';
import { queueDeliveries } from '../../../src/store/webhooks/delivery-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { account, message, queueEmail, storedEmail } from '../../support/email.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
let user: string;
beforeEach(async () => {
  database = await createTestDatabase({ max: 10 });
  user = await account(database.db, 'reader@example.net');
});
afterEach(() => database.drop());

/** Inserts a session that expires after the interval `expires`, which is also its name. A test runs less than a minute. */
const session = async (expires: string): Promise<string> => {
  const refreshToken = randomBytes(32).toString('hex');
  const issuedAt = Math.floor(Date.now() / 1000);
  await insertSession(database.db, { userId: user, refreshToken, lifetimeSeconds: 60, issuedAt, familyId: expires });
  await query(
    database.db,
    `update sessions set expires = (now() at time zone 'utc') + ?::interval where "familyId" = ?`,
    [expires, expires],
  );
  return expires;
};
const sessions = async () =>
  (await query(database.db, 'select s."familyId" as name from sessions s order by s.expires')).map(
    (row) => row['name'],
  );
/** Issues a token to a new account, because a newer token of the same account would replace it. */
const token = async (expires: string): Promise<string> => {
  const owner = await account(database.db, `${randomUUID()}@example.net`);
  const issued = await issueToken(database.db, owner, 'magic_link');
  await query(
    database.db,
    `update verification_tokens set expires = (now() at time zone 'utc') + ?::interval where identifier = ?`,
    [expires, owner],
  );
  return issued.token;
};
const tokenCount = async () =>
  (await query(database.db, 'select count(*)::int as n from verification_tokens'))[0]?.['n'];

describe('sessions', () => {
  test('are deleted after they have expired, the oldest first, in batches', async () => {
    for (const expires of ['-3 days', '-1 day', '-1 minute', '1 minute', '30 days']) await session(expires);
    expect(await purgeSessions(database.db, 2)).toBe(2);
    expect(await sessions()).toEqual(['-1 minute', '1 minute', '30 days']);
    expect(await purgeSessions(database.db, 2)).toBe(1);
    expect(await purgeSessions(database.db, 2)).toBe(0);
    expect(await sessions()).toEqual(['1 minute', '30 days']);
  });

  test('that a request has locked are deleted by the next purge', async () => {
    await session('-1 day');
    await session('-2 days');
    await inTransaction(database.db, async (trx) => {
      await execute(trx, `select s.id from sessions s where s."familyId" = '-1 day' for update`);
      expect(await purgeSessions(database.db, 10)).toBe(1);
    });
    expect(await sessions()).toEqual(['-1 day']);
    expect(await purgeSessions(database.db, 10)).toBe(1);
  });
});

test('one-time tokens are deleted a week after they have expired; until then a late click gets token_expired', async () => {
  for (const expires of ['-30 days', '-8 days', '-7 days -1 minute']) await token(expires);
  const late = await token('-7 days 1 minute');
  const good = await token('1 minute');
  expect(await purgeTokens(database.db, 2)).toBe(2);
  expect(await purgeTokens(database.db, 2)).toBe(1);
  expect(await purgeTokens(database.db, 2)).toBe(0);
  expect(await tokenCount()).toBe(2);
  expect(await lockToken(database.db, late, 'magic_link')).toMatchObject({ expired: true });
  expect(await lockToken(database.db, good, 'magic_link')).toMatchObject({ expired: false });
});

test('unused accounts are removed a week after their registration, and no others (S4)', async () => {
  const { db } = database;
  await query(db, 'create table site_orders (buyer text references users (id))');
  await query(db, 'create table "site\\?notes" ("userId" text)');
  const owned: Record<string, string> = {
    proven: `update users set "emailVerified" = now() where id = ?`,
    'signed in to': `update users set "lastLoginAt" = now() where id = ?`,
    'of a panel user': 'update users set "pterodactylId" = 7 where id = ?',
    'with a role': `update users set roles = '{MEMBER,PARTNER}' where id = ?`,
    'with a balance': 'update users set "accountBalance" = 1 where id = ?',
    'with a session': `insert into sessions (id, "sessionToken", "userId", expires) values ('s', 's', ?, now())`,
    'with an invoice': `insert into invoices (id, "invoiceNumber", "userId", amount, total) values ('i', 'i', ?, 1, 1)`,
    'with a row of the site': 'insert into site_orders (buyer) values (?)',
    'with a row of the site without a key': 'insert into "site\\?notes" ("userId") values (?)',
    'registered before the upgrade': 'delete from pending_accounts where user_id = ?',
    'registered six days ago': `update pending_accounts set registered_at = now() - interval '6 days 23 hours' where user_id = ?`,
  };
  const names = [...Object.keys(owned), 'unused 1', 'unused 2', 'unused 3'];
  for (const name of names) {
    const id = await account(db, `${names.indexOf(name)}@example.net`, { name });
    await insertPending(db, id);
    await query(db, `update pending_accounts set registered_at = now() - interval '7 days 1 hour' where user_id = ?`, [
      id,
    ]);
    await issueToken(db, id, 'email_verification');
    if (owned[name] !== undefined) await query(db, owned[name], [id]);
  }
  const left = async () =>
    (await query(db, `select u."firstName" as name from users u where u.id <> ? order by u.email`, [user])).map(
      (row) => row['name'],
    );
  // Somebody is proving the address of one of them at this moment.
  await inTransaction(db, async (trx) => {
    await execute(trx, `select u.id from users u where u."firstName" = 'unused 3' for no key update`);
    for (let due = 5; due === 5; ) due = await purgePendingAccounts(db, 5);
    expect(new Set(await left())).toEqual(new Set([...Object.keys(owned), 'unused 3']));
  });
  expect(await purgePendingAccounts(db, 5)).toBe(1);
  expect(new Set(await left())).toEqual(new Set(Object.keys(owned)));
  expect(await tokenCount()).toBe(Object.keys(owned).length);
  // An account that is due and in use is not looked at again.
  expect(await query(db, 'select count(*)::int as n from pending_accounts')).toEqual([{ n: 1 }]);
});

describe('the activity', () => {
  const launcher = new Proxy({} as SyncLauncher, {
    get: (_target, name) => () => Promise.reject(new Error(`${String(name)} is not called here`)),
  });
  const run = () => {
    const { purgeExpiredData } = createMaintenanceActivities({
      db: database.db,
      launcher,
      keepLiveMirror: async () => undefined,
      retentionDays: 30,
      auditRetentionDays: 365,
      hytaleLogRetentionDays: 30,
    });
    return new MockActivityEnvironment().run(purgeExpiredData);
  };
  const NO_ROWS = {
    sessions: 0,
    tokens: 0,
    networks: 0,
    usedTokens: 0,
    pendingAccounts: 0,
    serverUsage: 0,
    buckets: 0,
    lostEmails: 0,
    emailContents: 0,
    abandonedDeliveries: 0,
    webhookStates: 0,
  };

  test('deletes any number of expired rows, counts them, and finds none when it runs again', async () => {
    const { db } = database;
    await session('1 minute');
    await token('-1 day');
    // More rows than one batch of 500.
    await query(
      db,
      `insert into sessions (id, "sessionToken", "userId", expires, "createdAt")
       select 'old-' || n, 'old-' || n, ?, (now() at time zone 'utc') - interval '1 day', now() at time zone 'utc'
       from generate_series(1, 1201) n`,
      [user],
    );
    await query(
      db,
      `insert into verification_tokens (identifier, token, type, expires, "createdAt")
       select ?, 'old-' || n, 'magic_link', (now() at time zone 'utc') - interval '8 days', now() at time zone 'utc'
       from generate_series(1, 500) n`,
      [user],
    );
    await query(
      db,
      `insert into account_networks (user_id, digest, last_seen)
       select ?, 'network-' || n, now() - make_interval(days => n) from unnest(array[1, 179, 181]) n`,
      [user],
    );
    const bucket = { name: 'test', capacity: 5, windowSeconds: 3600 };
    await takeTokens(db, [{ ...bucket, identity: 'full again' }]);
    await query(db, `update rate_limits set updated_at = now() - interval '1 hour'`);
    await takeTokens(db, [{ ...bucket, identity: 'still filling' }]);
    const [lost, dead, waiting] = [
      await queueEmail(db, message('lost@example.net')),
      await queueEmail(db, message('dead@example.net')),
      await queueEmail(db, message('waiting@example.net')),
    ];
    await query(db, `update emails set updated_at = now() - interval '6 days' where id = ?`, [lost]);
    await query(db, `update emails set status = 'failed', updated_at = now() - interval '2 days' where id = ?`, [dead]);

    await queueDeliveries(db, [
      { webhookId: 'gone', webhookName: 'Gone', event: 'test', origin: 'request', data: {}, occurredAt: new Date() },
    ]);
    await query(db, `insert into webhook_states (webhook_id) values ('gone')`);
    await rememberUsed(db, user, 'used yesterday');
    await query(db, `update used_tokens set used_at = now() - interval '25 hours'`);
    await rememberUsed(db, user, 'used today');
    await insertPending(db, user);
    await query(db, `update pending_accounts set registered_at = now() - interval '8 days'`);

    expect(await run()).toEqual({
      sessions: 1201,
      tokens: 500,
      networks: 1,
      usedTokens: 1,
      pendingAccounts: 1,
      serverUsage: 0,
      buckets: 1,
      lostEmails: 1,
      emailContents: 1,
      abandonedDeliveries: 1,
      webhookStates: 1,
    });
    expect(await sessions()).toEqual(['1 minute']);
    expect(await tokenCount()).toBe(1);
    expect(await query(db, 'select count(*)::int as n from account_networks')).toEqual([{ n: 2 }]);
    expect(await query(db, 'select count(*)::int as n from rate_limits')).toEqual([{ n: 1 }]);
    // A failed email can be sent again for a day, so its data is kept.
    expect(await storedEmail(db, lost)).toMatchObject({ status: 'failed', data: expect.any(String) });
    expect(await storedEmail(db, dead)).toMatchObject({ status: 'failed', data: null });
    expect(await storedEmail(db, waiting)).toMatchObject({ status: 'queued', data: expect.any(String) });
    expect(await run()).toEqual(NO_ROWS);
  });

  test('deletes nothing in an empty database', async () => {
    expect(await run()).toEqual(NO_ROWS);
  });
});
