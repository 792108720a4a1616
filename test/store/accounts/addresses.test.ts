/** Stored addresses that differ from the typed ones in case and in spaces around them: who is found, and by which index. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isKnownDigest } from '../../../src/store/accounts/network-store.ts';
import { findCreated, findUserId } from '../../../src/store/accounts/user-list.ts';
import { emailExists, findByEmail, insertUser, storeEmail } from '../../../src/store/accounts/user-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { lockRecipient } from '../../../src/store/email/email-store.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const ANN = 'ann@example.net';
const STORED = ' Ann@Example.net ';

async function user(email: string, createdAt = '2026-01-01'): Promise<string> {
  const id = randomUUID();
  await query(database.db, `insert into users (id, email, "createdAt") values (?, ?, ?::timestamp)`, [
    id,
    email,
    createdAt,
  ]);
  return id;
}
const NEW = { email: ANN, passwordHash: null, roles: ['MEMBER'], isSystemAdmin: false, emailVerified: false };
const recipient = (to: string, userId: string | null = null) =>
  inTransaction(database.db, async (trx) => (await lockRecipient(trx, { to, userId }))?.id);

describe('an address that is stored with spaces around it', () => {
  test('is found by the address without them, in any case', async () => {
    const { db } = database;
    const id = await user(STORED);
    await query(db, `insert into account_networks (user_id, digest, last_seen) values (?, 'home', now())`, [id]);
    for (const typed of [ANN, ANN.toUpperCase(), STORED]) {
      expect((await findByEmail(db, typed))?.id, typed).toBe(id);
      expect(await emailExists(db, typed), typed).toBe(true);
      expect(await findUserId(db, typed), typed).toBe(id);
      expect(await recipient(typed), typed).toBe(id);
    }
    expect(await isKnownDigest(db, ANN, 'home')).toBe(true);
    expect(await emailExists(db, ANN, id)).toBe(false);
    expect(await findByEmail(db, 'an n@example.net')).toBeUndefined();
  });

  test('is taken: it is neither registered nor changed to, and a statement of the site that inserts it is refused', async () => {
    const { db } = database;
    await user(STORED);
    const other = await user('other@example.net');
    await expect(insertUser(db, NEW)).rejects.toMatchObject({ code: 'EMAIL_EXISTS' });
    await expect(storeEmail(db, other, ANN)).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(user(ANN)).rejects.toMatchObject({ constraint: 'users_email_address_unique' });
  });
});

test('of several old accounts the exact spelling is found, then one that differs by spaces alone, then the oldest', async () => {
  const { db } = database;
  // As in a database that had such accounts before the migration.
  await query(db, 'drop index users_email_address_unique');
  const ids = {
    spaces: await user(STORED, '2026-01-02'),
    lower: await user(ANN, '2026-01-03'),
    upper: await user('ANN@example.net', '2026-01-01'),
  };
  const expected: [typed: string, id: string][] = [
    [ANN, ids.lower],
    ['ANN@example.net', ids.upper],
    ['Ann@Example.net', ids.spaces],
    [STORED, ids.spaces],
    ['aNN@example.net', ids.upper],
  ];
  for (const [typed, id] of expected) {
    expect((await findByEmail(db, typed))?.id, typed).toBe(id);
    expect(await recipient(typed), typed).toBe(id);
    // The email of an account goes to no other one.
    for (const one of Object.values(ids)) expect(await recipient(typed, one), typed).toBe(one);
  }
  await expect(findUserId(db, ANN)).rejects.toMatchObject({
    code: 'CONFLICT',
    publicMessage: expect.stringContaining([ids.upper, ids.spaces, ids.lower].join(', ')),
  });
});

test('every look-up by address uses the index', async () => {
  const id = await user(STORED);
  const sent: { sql: string; bindings: unknown[] }[] = [];
  const listen = (q: { sql: string; bindings: unknown[] }) => {
    if (q.sql.includes('.email)')) sent.push(q);
  };
  const trx = await openTransaction(database.db);
  try {
    database.db.on('query', listen);
    await findByEmail(trx, ANN);
    await emailExists(trx, ANN);
    await findUserId(trx, ANN);
    await isKnownDigest(trx, ANN, 'home');
    await findCreated(trx, NEW, { creatorId: id, withinSeconds: 1 });
    await lockRecipient(trx, { to: ANN, userId: null });
    await insertUser(trx, { ...NEW, email: 'new@example.net' });
    await storeEmail(trx, id, 'other@example.net');
    database.db.removeListener('query', listen);
    expect(sent).toHaveLength(8);
    // A table of a few rows is read whole unless that is forbidden; an index over another expression could not be used at all.
    await trx.raw('set local enable_seqscan = off');
    for (const { sql, bindings } of sent) {
      const plan = await query<Record<string, unknown>>(
        trx,
        `explain (costs off) ${sql.replaceAll(/\$\d+/g, '?')}`,
        bindings,
      );
      const lines = plan.map((row) => String(row['QUERY PLAN'])).join('\n');
      expect(lines, sql).toContain('users_email_address_unique');
      expect(lines, sql).not.toContain('Seq Scan on users');
    }
  } finally {
    database.db.removeListener('query', listen);
    await trx.rollback();
  }
});
