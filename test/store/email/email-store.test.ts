/** Emails in their table and the services over it: encryption, states, links, copies, deletion. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../../src/domain/secret.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { copyOf, resendEmail } from '../../../src/services/email/resend-email.ts';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { ownerOfToken } from '../../../src/store/accounts/one-time-token-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { findEmail, heldEmails } from '../../../src/store/email/email-list.ts';
import {
  clearDeadEmails,
  createEmailStore,
  type EmailRequest,
  failLostEmails,
  markEmailFailed,
  markEmailSent,
  noteEmailFailure,
  purgeEmails,
} from '../../../src/store/email/email-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { account, message, storedEmail } from '../../support/email.ts';
import { query } from '../../support/merge.ts';

const key = () => new Secret(randomBytes(32).toString('base64'));
const KEY = key();
const emails = createEmailStore(createEncryption({ key: KEY }));
const TO = 'reader@example.net';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 10 });
});
afterEach(() => database.drop());

const queue = (request: EmailRequest) => inTransaction(database.db, (trx) => emails.queue(trx, request));
const start = (id: string, store = emails) => startAttempt({ db: database.db, emails: store }, id, 23 * 3_600_000);
const stored = (id: string) => storedEmail(database.db, id);
const sent = { transport: 'resend', providerId: 'p1' };
const ready = async (id: string) => {
  const email = await start(id);
  if (email.state !== 'ready') throw new Error(`the email is ${email.status}`);
  return email;
};
/** Sets a column to an SQL expression, e.g. to a time in the past. */
const set = (id: string, assignment: string) =>
  query(database.db, `update emails set ${assignment} where id = ?`, [id]);
const tokens = () => query(database.db, 'select v.identifier as "user" from verification_tokens v');

describe('at rest', () => {
  test('the data of an email is encrypted, its token too, and its outbox row holds only the id', async () => {
    await account(database.db, TO, { name: 'Confidentia' });
    const plain = await queue({ ...message(TO), data: { message: 'a private matter' } });
    const link = await queue({ template: 'magic-link', to: TO });
    const { data } = await ready(link);
    for (const id of [plain, link]) {
      const text = (await stored(id)).data ?? '';
      expect(Buffer.from(text, 'base64').toString('base64')).toBe(text);
      for (const clear of ['private', 'Confidentia', data['token'] ?? '?', '{']) {
        expect(text).not.toContain(clear);
        expect(Buffer.from(text, 'base64').toString('latin1')).not.toContain(clear.length > 1 ? clear : 'message');
      }
    }
    expect(await query(database.db, 'select o.kind, o.payload from outbox o order by o.seq')).toEqual(
      [plain, link].map((emailId) => ({ kind: 'email.send', payload: { emailId } })),
    );
  });

  test('a previous key still decrypts it; without the key the email waits and is not lost', async () => {
    const id = await queue(message(TO));
    const [next, other] = [key(), key()];
    for (const keys of [{ key: other }, {}]) {
      const stranger = createEmailStore(createEncryption(keys));
      await expect(start(id, stranger)).rejects.toMatchObject({ code: 'EMAIL_NOT_CONFIGURED' });
    }
    expect(await stored(id)).toMatchObject({ status: 'queued', attempts: 0 });
    const rotated = createEmailStore(createEncryption({ key: next, previousKey: KEY }));
    expect(await start(id, rotated)).toMatchObject({ state: 'ready', data: message(TO).data });
  });
});

describe('states', () => {
  test('a sent email has its data cleared, and no further attempt starts', async () => {
    const id = await queue(message(TO));
    expect(await stored(id)).toMatchObject({ status: 'queued', attempts: 0, error: null });
    expect(await ready(id)).toMatchObject({ template: 'message', to: TO, subject: 'News', data: message(TO).data });
    await noteEmailFailure(database.db, id, 'The email server cannot be reached', { held: false, refused: false });
    expect(await stored(id)).toMatchObject({
      status: 'queued',
      attempts: 1,
      error: 'The email server cannot be reached',
    });
    await ready(id);
    await markEmailSent(database.db, id, sent);
    const { sentAt } = (await findEmail(database.db, id)) ?? {};
    expect(sentAt).toBeInstanceOf(Date);
    expect(await stored(id)).toMatchObject({ status: 'sent', attempts: 2, error: null, data: null, ...sent });
    // Late marks change nothing.
    await markEmailFailed(database.db, id, 'cancelled');
    await noteEmailFailure(database.db, id, 'late', { held: false, refused: false });
    await markEmailSent(database.db, id, { transport: 'smtp', providerId: 'p2' });
    expect(await start(id)).toEqual({ state: 'done', status: 'sent' });
    expect(await stored(id)).toMatchObject({ status: 'sent', attempts: 2, error: null, ...sent });
    expect((await findEmail(database.db, id))?.sentAt).toEqual(sentAt);
  });

  test('a failed email keeps the last reason and its data, so that its workflow can be reset', async () => {
    const id = await queue(message(TO));
    await ready(id);
    await noteEmailFailure(database.db, id, 'refused', { held: false, refused: false });
    await markEmailFailed(database.db, id, undefined);
    expect(await stored(id)).toMatchObject({ status: 'failed', error: 'refused' });
    expect((await stored(id)).data).not.toBeNull();
    await ready(id);
    expect(await stored(id)).toMatchObject({ status: 'queued', attempts: 2 });
    await markEmailFailed(database.db, id, 'cancelled');
    expect(await stored(id)).toMatchObject({ status: 'failed', error: 'cancelled' });
    // The provider had accepted it nevertheless.
    await markEmailSent(database.db, id, sent);
    expect(await stored(id)).toMatchObject({ status: 'sent', error: null, data: null });
  });

  test('an email that failed without a reason says so; one that was deleted is skipped', async () => {
    const id = await queue(message(TO));
    await markEmailFailed(database.db, id, undefined);
    expect(await stored(id)).toMatchObject({ status: 'failed', error: 'failed' });
    expect(await start(randomUUID())).toEqual({ state: 'done', status: 'skipped' });
  });

  test('an email whose template this release does not have fails', async () => {
    const id = await queue(message(TO));
    await set(id, `template = 'of-another-age'`);
    expect(await start(id)).toEqual({ state: 'done', status: 'failed' });
    expect(await stored(id)).toMatchObject({ error: 'this release does not have its template', data: null });
  });
});

describe('the link of an email', () => {
  test('is issued once, also by concurrent attempts; the email fails once it has expired', async () => {
    const user = await account(database.db, TO, { name: 'Grace' });
    const id = await queue({ template: 'magic-link', to: TO });
    expect(await tokens()).toEqual([]);
    const made = await Promise.all([ready(id), ready(id), ready(id)]);
    const token = made[0].data['token'] ?? '';
    expect(token).toMatch(/^[0-9a-f]{64}$/);
    expect(made.map((m) => m.data)).toEqual(made.map(() => ({ name: 'Grace', id: user, token })));
    expect(await tokens()).toEqual([{ user }]);
    expect(await ownerOfToken(database.db, token, 'magic_link')).toBe(user);
    expect((await stored(id)).userId).toBe(user);

    await set(id, `token_expires_at = now() - interval '1 s'`);
    expect(await start(id)).toEqual({ state: 'done', status: 'failed' });
    expect(await stored(id)).toMatchObject({ error: 'its link expired before it could be sent', data: null });
  });

  test('that the caller made is not changed, with or without an account', async () => {
    const data = { verifyUrl: 'https://site.example/mine', name: 'Ada' };
    const id = await queue({ template: 'welcome', to: TO, data });
    expect((await ready(id)).data).toEqual(data);
    expect(await tokens()).toEqual([]);
  });

  test('with a token of the caller gets the id of the account, which its page needs, and no other token', async () => {
    const user = await account(database.db, TO, { name: 'Grace' });
    const data = { token: 'of-the-caller', name: 'Ada' };
    const id = await queue({ template: 'email-verification', to: TO.toUpperCase(), data });
    for (let attempt = 0; attempt < 2; attempt += 1) expect((await ready(id)).data).toEqual({ ...data, id: user });
    expect((await stored(id)).userId).toBe(user);
    // An id of the caller is not replaced, and without an account there is no id.
    const whole = await queue({ template: 'email-verification', to: TO, data: { ...data, id: 'of-the-caller' } });
    expect((await ready(whole)).data).toEqual({ ...data, id: 'of-the-caller' });
    const noAccount = await queue({ template: 'email-verification', to: 'unknown@example.net', data });
    expect((await ready(noAccount)).data).toEqual(data);
    expect(await tokens()).toEqual([]);
  });

  test('is left out of a welcome if there is nothing to verify', async () => {
    await account(database.db, TO, { verified: true });
    await account(database.db, 'disabled@example.net', { active: false });
    const data = { name: 'Ada' };
    for (const to of [TO, 'disabled@example.net', 'unknown@example.net']) {
      expect((await ready(await queue({ template: 'welcome', to, data }))).data, to).toEqual(data);
    }
    expect(await tokens()).toEqual([]);
    const open = await account(database.db, 'open@example.net');
    const { data: made } = await ready(await queue({ template: 'welcome', to: 'open@example.net', data }));
    expect(made).toEqual({ ...data, id: open, token: expect.stringMatching(/^[0-9a-f]{64}$/) });
    expect(await tokens()).toEqual([{ user: open }]);
  });

  test('belongs to the account with exactly this address, before one whose address differs in case', async () => {
    // As in a database that had such pairs before the index was created.
    await query(database.db, 'drop index users_email_address_unique');
    await account(database.db, TO.toUpperCase(), { name: 'Other' });
    await account(database.db, TO, { name: 'Same' });
    const id = await queue({ template: 'password-reset', to: TO });
    expect((await ready(id)).data['name']).toBe('Same');
  });
});

describe('a copy', () => {
  const requestOf = async (id: string) => {
    const email = await inTransaction(database.db, (trx) => emails.lock(trx, id));
    if (email === undefined) throw new Error('the email does not exist');
    return copyOf(email);
  };

  test('of an email with a link gets a new link; the old one is deleted', async () => {
    const user = await account(database.db, TO, { name: 'Grace' });
    const first = await queue({ template: 'password-reset', to: TO, subject: 'Choose a password' });
    const old = (await ready(first)).data['token'] ?? '';
    const unsent = await requestOf(first);
    expect(unsent).toEqual({
      template: 'password-reset',
      to: TO,
      userId: user,
      subject: 'Choose a password',
      data: { name: 'Grace' },
      resentFrom: first,
    });
    await markEmailSent(database.db, first, sent);
    const request = await requestOf(first);
    expect(request).toEqual({ ...unsent, data: {} });
    const second = await queue(request);
    const token = (await ready(second)).data['token'] ?? '';
    expect(token).not.toBe(old);
    expect(await ownerOfToken(database.db, old, 'password_reset')).toBeUndefined();
    expect(await ownerOfToken(database.db, token, 'password_reset')).toBe(user);
    expect((await findEmail(database.db, second))?.resentFrom).toBe(first);
  });

  test('of any other email has the same data, until it is cleared', async () => {
    const id = await queue(message(TO));
    await markEmailFailed(database.db, id, 'refused');
    expect(await requestOf(id)).toEqual({ ...message(TO), resentFrom: id });
    await markEmailSent(database.db, id, sent);
    await expect(requestOf(id)).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('of an email with a link of the caller keeps that link, until it is cleared', async () => {
    const data = { resetUrl: 'https://site.example/mine' };
    const id = await queue({ template: 'password-reset', to: TO, data });
    expect((await requestOf(id)).data).toEqual(data);
    await markEmailSent(database.db, id, sent);
    await expect(requestOf(id)).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  test('of an email that does not exist is refused', async () => {
    await expect(resendEmail({ db: database.db, emails }, randomUUID(), OPERATOR)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });
});

describe('an attempt whose answer was lost', () => {
  const content = {
    from: { name: 'A', address: 'a@b.example' },
    to: TO,
    subject: 'S',
    html: '<p>first</p>',
    text: 'first',
  };
  const begin = async (id: string) => {
    const attempt = await ready(id);
    await emails.beginSending(database.db, id, attempt.content ?? content);
    return attempt;
  };
  const note = (id: string, outcome: { held: boolean; refused: boolean }) =>
    noteEmailFailure(database.db, id, 'why', outcome);
  const row = async (id: string) =>
    (await query(database.db, 'select e.doubts, e.content, e.held_since from emails e where e.id = ?', [id]))[0];

  test('is repeated with the same content and key; after a refusal both are new (M-2)', async () => {
    const id = await queue(message(TO));
    expect(await begin(id)).toMatchObject({ key: id, content: undefined, attempts: 1 });
    expect(String((await row(id))?.['content'])).not.toContain('first');
    // The answer was lost: the second attempt is the first one again. Its refusal says nothing of the first one.
    expect(await begin(id)).toMatchObject({ key: id, content, attempts: 2 });
    await note(id, { held: false, refused: true });
    expect(await begin(id)).toMatchObject({ key: id, content, attempts: 3 });

    const refused = await queue(message(TO));
    await begin(refused);
    await note(refused, { held: true, refused: true });
    expect(await row(refused)).toMatchObject({ doubts: 0, content: null });
    expect(await begin(refused)).toMatchObject({ key: `${refused}:1`, content: undefined });
  });

  test('is not repeated when its key has lapsed, nor without end where there is no key (M-2)', async () => {
    const id = await queue(message(TO));
    await begin(id);
    await set(id, `doubted_since = now() - interval '22 hours'`);
    expect((await start(id)).state).toBe('ready');
    await set(id, `doubted_since = now() - interval '24 hours'`);
    expect(await start(id)).toEqual({ state: 'done', status: 'failed' });
    expect((await stored(id)).error).toMatch(/may have been accepted/);

    const smtp = await queue(message(TO));
    for (let i = 0; i < 3; i += 1) await begin(smtp);
    expect(await startAttempt({ db: database.db, emails }, smtp, 0)).toEqual({ state: 'done', status: 'failed' });
  });

  test('an email that waits for the operator is counted, until its next attempt says otherwise (M-2)', async () => {
    const id = await queue(message(TO));
    expect(await heldEmails(database.db)).toBeUndefined();
    await begin(id);
    expect(await note(id, { held: true, refused: true })).toBe(0);
    await set(id, `held_since = now() - interval '1 hour'`);
    expect(await note(id, { held: true, refused: false })).toBeGreaterThan(3_500_000);
    expect(await heldEmails(database.db)).toMatchObject({ count: 1, reason: 'why' });
    await note(id, { held: false, refused: false });
    expect(await heldEmails(database.db)).toBeUndefined();
    await begin(id);
    await note(id, { held: true, refused: true });
    await markEmailSent(database.db, id, sent);
    expect(await row(id)).toMatchObject({ content: null, held_since: null });
  });
});

describe('maintenance', () => {
  test('an email whose workflow is gone is marked as failed, in batches', async () => {
    const lost = [await queue(message(TO)), await queue(message(TO)), await queue(message(TO))];
    const young = await queue(message(TO));
    const done = await queue(message(TO));
    await markEmailSent(database.db, done, sent);
    for (const id of [...lost, done]) await set(id, `updated_at = now() - interval '121 hours'`);
    await set(young, `created_at = now() - interval '121 hours', updated_at = now() - interval '119 hours'`);
    await set(lost[0] ?? '', `last_error = 'the last word'`);
    expect([await failLostEmails(database.db, 2), await failLostEmails(database.db, 2)]).toEqual([2, 1]);
    expect(await failLostEmails(database.db, 2)).toBe(0);
    expect(await Promise.all(lost.map(async (id) => (await stored(id)).error))).toEqual([
      'the last word',
      'it was never finished',
      'it was never finished',
    ]);
    expect((await stored(young)).status).toBe('queued');
    expect((await stored(done)).status).toBe('sent');
  });

  test('data is cleared if the link expired or the email failed a day ago', async () => {
    await account(database.db, TO);
    const [expired, old, fresh, waiting] = [
      await queue({ template: 'magic-link', to: TO }),
      await queue(message(TO)),
      await queue(message(TO)),
      await queue(message(TO)),
    ];
    await ready(expired);
    for (const id of [expired, old, fresh]) await markEmailFailed(database.db, id, 'refused');
    await set(expired, `token_expires_at = now() - interval '1 s'`);
    await set(old, `updated_at = now() - interval '25 hours'`);
    await set(waiting, `updated_at = now() - interval '25 hours', token_expires_at = now() - interval '1 s'`);
    expect(await clearDeadEmails(database.db, 10)).toBe(2);
    expect(await clearDeadEmails(database.db, 10)).toBe(0);
    for (const id of [expired, old]) expect((await stored(id)).data).toBeNull();
    for (const id of [fresh, waiting]) expect((await stored(id)).data).not.toBeNull();
  });

  test('old emails are deleted in batches; a queued one stays', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i += 1) ids.push(await queue(message(TO)));
    const [waiting = '', young = '', ...old] = ids;
    for (const id of [young, ...old]) await markEmailSent(database.db, id, sent);
    for (const id of [waiting, ...old]) await set(id, `created_at = now() - interval '31 days'`);
    expect(await purgeEmails(database.db, 30, 2)).toBe(2);
    expect(await purgeEmails(database.db, 30, 2)).toBe(1);
    expect(await purgeEmails(database.db, 30, 2)).toBe(0);
    const left = await query(database.db, 'select e.id from emails e');
    expect(left.map((row) => row['id']).sort()).toEqual([waiting, young].sort());
  });
});
