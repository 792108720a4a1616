/** The audit table only grows: the database itself refuses to change a row, or to delete one of the last 30 days. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { AuditEvent } from '../../../src/domain/audit.ts';
import { insertAuditEvent, purgeAuditEvents } from '../../../src/store/audit/audit-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { execute, query } from '../../../src/store/db/query.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { account } from '../../support/email.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterEach(async () => {
  // The owner of the table may switch the trigger off: that is a change of the schema, which no code of the service makes.
  await execute(
    database.db,
    'alter table audit_events disable trigger user; delete from audit_events; alter table audit_events enable always trigger audit_events_append_only; alter table audit_events enable always trigger audit_events_no_truncate',
  );
});
afterAll(() => database.drop());

const event = (userId: string): AuditEvent => ({
  action: 'sign-in',
  outcome: 'success',
  actor: { type: 'user', id: userId },
  target: { type: 'user', id: userId },
  network: 'digest',
  requestId: 'request-1',
  details: { method: 'password' },
});
const targets = async (): Promise<unknown[]> =>
  (await query<{ target_id: string }>(database.db, 'select a.target_id from audit_events a order by a.id')).map(
    (row) => row.target_id,
  );

test.each([
  // First, while the triggers are as the migration made them.
  ['a session that switches triggers off', `set session_replication_role = replica; delete from audit_events`],
  ['an update', `update audit_events set outcome = 'refused'`],
  ['an update that changes nothing', 'update audit_events set outcome = outcome'],
  ['a deletion', 'delete from audit_events'],
  ['a truncation', 'truncate audit_events'],
  [
    'an insertion that replaces a row',
    `insert into audit_events (id, action, outcome, actor_type) overriding system value
     select a.id, 'sign-out', 'success', 'user' from audit_events a on conflict (id) do update set action = 'sign-out'`,
  ],
])('the database refuses %s: the table is append-only (S14)', async (_what, statement) => {
  await insertAuditEvent(database.db, event('user-1'));
  await expect(
    inTransaction(database.db, (trx) => execute(trx, statement.replace('set session', 'set local session'))),
  ).rejects.toThrow('audit_events is append-only');
  expect(
    await query(
      database.db,
      'select a.action, a.outcome, a.actor_id, a.network, a.request_id, a.details from audit_events a',
    ),
  ).toEqual([
    {
      action: 'sign-in',
      outcome: 'success',
      actor_id: 'user-1',
      network: 'digest',
      request_id: 'request-1',
      details: { method: 'password' },
    },
  ]);
});

test('the events of a user stay when the user is deleted (S14)', async () => {
  const userId = await account(database.db, 'leaver@example.net');
  await insertAuditEvent(database.db, event(userId));
  await execute(database.db, 'delete from users where id = ?', [userId]);
  expect(await targets()).toEqual([userId]);
});

test('events are deleted when their retention is over, in batches, and not before; 0 days keep them', async () => {
  for (const age of ['400 days', '91 days', '89 days', '31 days', '29 days', '0 days']) {
    await execute(
      database.db,
      `insert into audit_events (at, action, outcome, actor_type, target_type, target_id)
       values (now() - ?::interval, 'sign-in', 'success', 'user', 'user', ?)`,
      [age, age],
    );
  }
  expect(await purgeAuditEvents(database.db, 0, 10)).toBe(0);
  expect(await purgeAuditEvents(database.db, 365, 10)).toBe(1);
  expect(await purgeAuditEvents(database.db, 30, 1)).toBe(1);
  expect(await targets()).toEqual(['89 days', '31 days', '29 days', '0 days']);
  expect(await purgeAuditEvents(database.db, 30, 10)).toBe(2);
  expect(await purgeAuditEvents(database.db, 30, 10)).toBe(0);
  expect(await targets()).toEqual(['29 days', '0 days']);
  // Whatever the variable says, the database keeps the last 30 days.
  await expect(purgeAuditEvents(database.db, 1, 10)).rejects.toThrow('audit_events is append-only');
});
