/** The migration that renames the outbox kind of emails: rows that wait are started by the next release, and by the one before. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { down, up } from '../../../migrations/20260101002200_email_outbox_kind.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { dueRows, enqueue, markDispatched } from '../../../src/store/outbox-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { message, plainEmails } from '../../support/email.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const rows = () =>
  query(database.db, 'select o.kind, o.dedupe_key as key, o.payload, o.status from outbox o order by o.seq');

test('rows that wait or failed are renamed, up and down; dispatched rows and other kinds stay', async () => {
  const { db } = database;
  const ids: string[] = [];
  for (let i = 0; i < 3; i += 1)
    ids.push(await inTransaction(db, (trx) => plainEmails.queue(trx, message('a@b.example'))));
  await inTransaction(db, (trx) => enqueue(trx, { kind: 'other', dedupeKey: 'other:1', payload: { emailId: '1' } }));
  const due = await dueRows(db, ['email.send'], 10);
  await markDispatched(db, [due[2]?.id ?? '']);
  await query(db, `update outbox set status = 'failed' where id = ?`, [due[1]?.id ?? '']);
  const before = await rows();
  const email = (id: string | undefined, status: string) => ({
    kind: 'email.send',
    key: `email.send:${id}`,
    payload: { emailId: id },
    status,
  });
  const dispatched = email(ids[2], 'dispatched');
  const other = { kind: 'other', key: 'other:1', payload: { emailId: '1' }, status: 'pending' };
  expect(before).toEqual([email(ids[0], 'pending'), email(ids[1], 'failed'), dispatched, other]);

  await down(db);
  const old = (id: string | undefined, status: string) => ({
    kind: 'mail.send',
    key: `mail.send:${id}`,
    payload: { mailId: id },
    status,
  });
  expect(await rows()).toEqual([old(ids[0], 'pending'), old(ids[1], 'failed'), dispatched, other]);

  await up(db);
  expect(await rows()).toEqual(before);
});
