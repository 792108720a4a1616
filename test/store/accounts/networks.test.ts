/** The networks that an account is known from: remembered, bounded, forgotten, purged. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import {
  createOriginReader,
  forgetNetworks,
  isKnownNetwork,
  recordSignInFrom,
  rememberNetwork,
} from '../../../src/services/accounts/networks.ts';
import { signInEvent } from '../../../src/services/audit/security-events.ts';
import { KEPT_NETWORKS, purgeNetworks } from '../../../src/store/accounts/network-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { account } from '../../support/email.ts';
import { query } from '../../support/merge.ts';

const EMAIL = 'reader@example.net';
const from = createOriginReader(new Secret('s'.repeat(40)));
const home = from('2001:db8:1:2::3');

let database: TestDatabase;
let user: string;
beforeAll(async () => {
  database = await createTestDatabase({ max: 4 });
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.db.raw('delete from users');
  user = await account(database.db, EMAIL);
});

const signIn = (address: string, id = user) =>
  inTransaction(database.db, (trx) =>
    recordSignInFrom(trx, id, signInEvent(id, 'password', from(address)), from(address)),
  );
const known = (address: string, email = EMAIL) => isKnownNetwork(database.db, email, from(address));
const pass = (days: number) =>
  query(database.db, 'update account_networks set last_seen = last_seen - make_interval(days => ?)', [days]);
const rows = () => query(database.db, 'select n.* from account_networks n order by n.last_seen, n.digest');

test('the first network of an account, one seen before and a further one are distinguished (S7)', async () => {
  expect(await known(home.address)).toBe(false);
  expect(await signIn(home.address)).toBe('first');
  expect(await signIn('2001:db8:1:ffff::9')).toBe('known');
  expect(await signIn('2001:db8:2::1')).toBe('new');
  expect(await signIn('192.0.2.1')).toBe('new');
  expect(await signIn('192.0.2.200')).toBe('known');
  const [row] = await query(database.db, 'select u."lastLoginAt" is not null as stored from users u');
  expect(row?.['stored']).toBe(true);
});

test('a network is known for its account alone, also after a change of address, and is stored as a digest', async () => {
  const other = await account(database.db, 'other@example.net');
  await signIn(home.address);
  expect(await known(home.address)).toBe(true);
  expect(await known('2001:db8:2::1')).toBe(false);
  expect(await known(home.address, 'other@example.net')).toBe(false);
  expect(await known(home.address, 'unknown@example.net')).toBe(false);
  expect(await signIn(home.address, other)).toBe('first');
  await query(database.db, `update users set email = 'New@Example.net' where id = ?`, [user]);
  expect(await known(home.address)).toBe(false);
  expect(await known(home.address, 'new@example.net')).toBe(true);
  expect(JSON.stringify(await rows())).not.toMatch(/2001:|db8:|20010db8/i);
});

test('a proof without a sign-in makes a network known', async () => {
  const remembered = () => inTransaction(database.db, (trx) => rememberNetwork(trx, user, home));
  expect([await remembered(), await remembered()]).toEqual(['first', 'known']);
  expect(await known(home.address)).toBe(true);
});

test('networks of an account can be forgotten', async () => {
  await signIn(home.address);
  await inTransaction(database.db, (trx) => forgetNetworks(trx, user));
  expect(await known(home.address)).toBe(false);
});

test('only the latest networks of an account are kept', async () => {
  for (let i = 0; i < KEPT_NETWORKS + 3; i += 1) {
    expect(await signIn(`10.0.${i}.1`)).toBe(i === 0 ? 'first' : 'new');
    await pass(1);
  }
  expect(await rows()).toHaveLength(KEPT_NETWORKS);
  expect(await known('10.0.2.1')).toBe(false);
  expect(await known('10.0.3.1')).toBe(true);
  expect(await signIn('10.0.3.1')).toBe('known');
  await signIn('10.9.9.9');
  expect(await known('10.0.3.1')).toBe(true);
  expect(await known('10.0.4.1')).toBe(false);
});

test('networks lapse without a sign-in from them, and end with their account', async () => {
  await signIn('10.0.0.1');
  await pass(10);
  await signIn('10.0.1.1');
  await pass(1);
  expect(await purgeNetworks(database.db, 5, 500)).toBe(1);
  expect(await known('10.0.0.1')).toBe(false);
  expect(await known('10.0.1.1')).toBe(true);
  await query(database.db, 'delete from users where id = ?', [user]);
  expect(await rows()).toEqual([]);
});
