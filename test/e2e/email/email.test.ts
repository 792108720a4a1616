/** Emails from their transaction to the provider: never lost, never sent twice, and no content in Temporal. */
import { createHash } from 'node:crypto';
import pino, { type Logger } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createEmailProvider } from '../../../src/clients/email/provider.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import type { EmailTransport } from '../../../src/clients/email/transport.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener, type Listener } from '../../../src/store/db/listener.ts';
import { enqueue } from '../../../src/store/outbox-store.ts';
import { createTemporalGateway, type TemporalGateway } from '../../../src/temporal/connection.ts';
import { type DispatchTable, type OutboxRelay, startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { sendEmailId } from '../../../src/workflows/contract.ts';
import {
  account,
  caughtIds,
  emailsEnded,
  endWait,
  message,
  outboxRows,
  plainEmails,
  queueEmail,
  recordingGateway,
  storedEmail,
  storedEmails,
} from '../../support/email.ts';
import { allHistories, failedTasks, textOf } from '../../support/histories.ts';
import { query } from '../../support/merge.ts';
import { quiet, type Stack, startStack, temporalConfig } from '../../support/stack.ts';

const TINY = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };
/** Every address ends like this, so that histories can be searched for all of them. */
const DOMAIN = 'customer-of-the-email-test.example';
const to = (name: string) => `${name}@${DOMAIN}`;

let catcher: EmailCatcher;
let stack: Stack;
let quick: EmailTransport;
let transport: () => Promise<EmailTransport>;
const closers: (() => Promise<void>)[] = [];
const tokens: string[] = [];

beforeAll(async () => {
  catcher = await startEmailCatcher({ requestsPerSecond: 1000 });
  quick = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey), timeoutMs: 1_000 });
  stack = await startStack({ panel: { ...TINY, subusers: 0 }, emailTransport: () => transport() });
});
afterAll(async () => {
  await stack?.stop();
  await quick?.close();
  await catcher?.close();
});
beforeEach(async () => {
  catcher.clear();
  transport = async () => quick;
  await query(stack.database.db, 'truncate emails, outbox, users, verification_tokens, config cascade');
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

function listening(): Listener {
  const listener = createListener({ connectionString: stack.database.url, log: quiet, applicationName: 'email-test' });
  closers.push(listener.close);
  return listener;
}
function relay(
  options: {
    listener?: Listener;
    temporal?: TemporalGateway;
    log?: Logger;
    dispatch?: DispatchTable;
    pollMs?: number;
  } = {},
): OutboxRelay {
  const { listener = listening(), temporal = stack.gateway, log = quiet, ...rest } = options;
  const started = startOutboxRelay({
    db: stack.database.db,
    listener,
    temporal,
    log,
    dispatch: EMAIL_DISPATCH,
    ...rest,
  });
  closers.push(started.close);
  return started;
}
const ended = (timeoutMs?: number) => emailsEnded(stack.database.db, timeoutMs);
const queue = (request: Parameters<typeof queueEmail>[1]) => queueEmail(stack.database.db, request);
const handle = (id: string) => stack.gateway.client.workflow.getHandle(sendEmailId(id));
const tokenRows = () =>
  query(stack.database.db, 'select v.identifier as "user", v.token, v.type from verification_tokens v');
const hashOf = (token: string) => createHash('sha256').update(token).digest('hex');
/** The token of the link in the text part of the n-th email. */
function caughtToken(n = 0): string {
  const token = /token=([0-9a-f]{64})/.exec(catcher.emails()[n]?.text ?? '')?.[1] ?? '';
  tokens.push(token);
  return token;
}

describe('from the transaction to the provider', () => {
  test('each email has one workflow, is sent once, and its data is cleared', async () => {
    const { gateway, starts } = recordingGateway(stack.gateway);
    relay({ temporal: gateway });
    const ids = await Promise.all(Array.from({ length: 20 }, (_, i) => queue(message(to(`many-${i}`)))));
    const emails = await ended();
    expect(caughtIds(catcher)).toEqual([...ids].sort());
    expect(starts.toSorted()).toEqual(ids.map(sendEmailId).sort());
    const given = new Map(catcher.emails().map((email) => [email.idempotencyKey, email.id]));
    for (const email of emails) {
      const { id, status, attempts, data, error, providerId } = email;
      expect(email.transport).toBe('resend');
      expect({ status, attempts, data, error, providerId }).toEqual({
        status: 'sent',
        attempts: 1,
        data: null,
        error: null,
        providerId: given.get(id),
      });
    }
    expect((await outboxRows(stack.database.db)).map((o) => [o['status'], o['attempts']])).toEqual(
      ids.map(() => ['dispatched', 1]),
    );
    for (const id of ids) expect(await handle(id).result()).toEqual({ status: 'sent' });
  });

  test('a transaction that is rolled back sends nothing', async () => {
    const { gateway, starts } = recordingGateway(stack.gateway);
    relay({ temporal: gateway });
    const { db } = stack.database;
    const undone = inTransaction(db, async (trx) => {
      await plainEmails.queue(trx, message(to('rolled-back')));
      throw new Error('undone');
    });
    await expect(undone).rejects.toThrow('undone');
    const id = await queue(message(to('kept')));
    await ended();
    expect(caughtIds(catcher)).toEqual([id]);
    expect(starts).toEqual([sendEmailId(id)]);
  });

  test('every email arrives once despite faults of the provider', async () => {
    relay();
    catcher.fault({ kind: 'status', status: 429, retryAfter: 1 });
    catcher.fault({ kind: 'status', status: 500 });
    catcher.fault({ kind: 'accept-hang' });
    catcher.fault({ kind: 'reset' });
    catcher.fault({ kind: 'truncate' });
    catcher.fault({ kind: 'hang' });
    catcher.fault({ kind: 'html' });
    const ids = await Promise.all(Array.from({ length: 12 }, (_, i) => queue(message(to(`faulty-${i}`)))));
    const emails = await ended();
    expect(caughtIds(catcher)).toEqual([...ids].sort());
    expect(emails.map((m) => [m.status, m.error])).toEqual(ids.map(() => ['sent', null]));
    // Each fault costs an attempt: a page with status 200 confirms nothing.
    expect(emails.reduce((sum, m) => sum + m.attempts, 0)).toBe(ids.length + 7);
  });

  test('an email that the provider refuses fails at once, with a reason that contains no address', async () => {
    relay();
    const refused = to('refused');
    catcher.fault({ kind: 'status', status: 422, message: `Invalid \`to\` field: ${refused}` });
    const id = await queue(message(refused));
    await ended();
    const email = await storedEmail(stack.database.db, id);
    expect(email).toMatchObject({ status: 'failed', attempts: 1 });
    expect(email.error).toBe('The email provider refused the email (validation_error)');
    await expect(handle(id).result()).rejects.toThrow();
    expect((await handle(id).describe()).status.name).toBe('FAILED');
    expect(catcher.emails()).toEqual([]);
  });

  test('an email that is cancelled in the UI is failed and is not sent later', async () => {
    relay();
    catcher.fault({ kind: 'hang' }, 5);
    const id = await queue(message(to('called-off')));
    await expect.poll(async () => (await storedEmail(stack.database.db, id)).attempts, { timeout: 15_000 }).toBe(1);
    await handle(id).cancel();
    await ended();
    expect(await storedEmail(stack.database.db, id)).toMatchObject({ status: 'failed', error: 'cancelled' });
    await handle(id)
      .result()
      .catch(() => undefined);
    expect((await handle(id).describe()).status.name).toBe('CANCELLED');
    expect(catcher.emails()).toEqual([]);
  });

  test('without a key emails wait and say why; a link is issued once there is a key', async () => {
    const { db } = stack.database;
    const settings = createSettings({ db, config: loadConfig({}), encryption: createEncryption({}) });
    const provider = createEmailProvider({
      smtpUrl: undefined,
      smtpAllowPlaintext: false,
      resendBaseUrl: catcher.url,
      settings: settings.runtime,
    });
    closers.push(provider.close);
    transport = provider.transport;
    relay();
    const user = await account(db, to('patient'));
    const ids = [await queue(message(to('waiting'))), await queue({ template: 'magic-link', to: to('patient') })];
    const states = async () => (await storedEmails(db)).map((m) => [m.status, m.error]);
    const why = 'Email is not configured: set a Resend API key or an SMTP URL';
    await expect.poll(states, { timeout: 15_000 }).toEqual(ids.map(() => ['queued', why]));
    expect(await tokenRows()).toEqual([]);
    expect(catcher.emails()).toEqual([]);

    await settings.save({ resend_api_key: catcher.apiKey }, { enteredBy: 'user' });
    // The next attempt is a minute away: an administrator starts it in the UI.
    for (const id of ids) await endWait(stack, id);
    await ended();
    expect(caughtIds(catcher)).toEqual([...ids].sort());
    const [row] = await tokenRows();
    const link = catcher.emails().findIndex((email) => email.to[0] === to('patient'));
    expect(row).toEqual({ user, token: hashOf(caughtToken(link)), type: 'magic_link' });
  });
});

test('a notification is skipped while notifications are switched off; any other email is sent', async () => {
  const { db } = stack.database;
  const done = (name: string) =>
    queue({ template: 'sync-complete', to: to(name), data: { syncType: 'full', status: 'completed' } });
  const onlyStatus = async () => (await ended()).map((m) => m.status);
  relay();
  await done('by-default');
  expect(await onlyStatus()).toEqual(['sent']);
  await query(db, `insert into config (key, value) values ('email_notifications_enabled', 'false')`);
  const off = await done('switched-off');
  await queue(message(to('switched-off')));
  expect(await onlyStatus()).toEqual(['sent', 'skipped', 'sent']);
  expect(await storedEmail(db, off)).toMatchObject({ error: 'notifications by email are switched off', data: null });
  expect(await handle(off).result()).toEqual({ status: 'skipped' });
  await query(db, `update config set value = 'true'`);
  await done('switched-on');
  expect(await onlyStatus()).toEqual(['sent', 'skipped', 'sent', 'sent']);
  expect(catcher.emails().map((email) => email.to[0])).toEqual(['by-default', 'switched-off', 'switched-on'].map(to));
});

describe('email with a link', () => {
  test('is not sent if no active account has the address', async () => {
    const { db } = stack.database;
    await account(db, to('disabled'), { active: false });
    await account(db, to('verified'), { verified: true });
    const moved = await account(db, to('old-address'));
    const requests = [
      { template: 'password-reset', to: to('unknown') },
      { template: 'magic-link', to: to('disabled') },
      { template: 'email-verification', to: to('verified') },
      { template: 'password-reset', to: to('old-address'), userId: moved },
      { template: 'password-reset', to: to('old-address') },
    ] as const;
    for (const request of requests) await queue(request);
    await query(db, 'update users set email = ? where id = ?', [to('new-address'), moved]);
    relay();
    const emails = await ended();
    const noAccount = ['skipped', 'no active account has this address', null];
    expect(emails.map((m) => [m.status, m.error, m.data])).toEqual([
      noAccount,
      noAccount,
      ['skipped', 'the address is verified already', null],
      noAccount,
      noAccount,
    ]);
    for (const { id } of emails) expect(await handle(id).result()).toEqual({ status: 'skipped' });
    expect(catcher.emails()).toEqual([]);
    expect(await tokenRows()).toEqual([]);
  });

  test('gets its token at the first attempt, the same at every attempt, and keeps none', async () => {
    const { db } = stack.database;
    const user = await account(db, to('Reader'), { name: 'Grace' });
    const id = await queue({ template: 'email-verification', to: to('reader') });
    expect(await tokenRows()).toEqual([]);
    expect((await storedEmail(db, id)).data).toBe('{}');
    // Accepted, but the answer is lost: the second attempt must be the same email.
    catcher.fault({ kind: 'accept-hang' });
    relay();
    await ended();
    expect(caughtIds(catcher)).toEqual([id]);
    const token = caughtToken();
    expect(await tokenRows()).toEqual([{ user, token: hashOf(token), type: 'email_verification' }]);
    expect(catcher.emails()[0]?.text).toContain(`token=${token}&id=${user}`);
    expect(await storedEmail(db, id)).toMatchObject({ status: 'sent', attempts: 2, userId: user, data: null });
  });
});

describe('the relay', () => {
  test('two relays start each workflow once, in the order of the rows', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 60; i += 1) ids.push(await queue(message(to(`ordered-${i}`))));
    const { gateway, starts } = recordingGateway(stack.gateway);
    relay({ temporal: gateway });
    relay({ temporal: gateway });
    const later = await Promise.all(Array.from({ length: 10 }, (_, i) => queue(message(to(`later-${i}`)))));
    await ended();
    expect(starts.slice(0, ids.length)).toEqual(ids.map(sendEmailId));
    expect(starts.slice(ids.length).sort()).toEqual(later.map(sendEmailId).sort());
    expect(caughtIds(catcher)).toEqual([...ids, ...later].sort());
  });

  test('a poll finds a row without a notification', async () => {
    const deaf = listening();
    await deaf.close();
    relay({ listener: deaf, pollMs: 100 });
    const id = await queue(message(to('unnotified')));
    await ended();
    expect(caughtIds(catcher)).toEqual([id]);
  });

  test('rows that were queued while the listening connection was lost are found once it is back, long before a poll', async () => {
    const listener = listening();
    relay({ listener, pollMs: 3_600_000 });
    await expect.poll(listener.connected).toBe(true);
    await query(
      stack.database.db,
      `select pg_terminate_backend(a.pid) from pg_stat_activity a
       where a.application_name = 'email-test' and a.datname = current_database()`,
    );
    const id = await queue(message(to('unheard')));
    await ended(20_000);
    expect(caughtIds(catcher)).toEqual([id]);
  });

  test('a row that cannot be dispatched is postponed and blocks no other row', async () => {
    const { db } = stack.database;
    const dispatch: DispatchTable = {
      ...EMAIL_DISPATCH,
      'test.throws': () => {
        throw new TypeError(`${to('somebody')} is not understood`);
      },
      // Longer than the server accepts.
      'test.refused': () => ({
        workflowType: 'sendEmail',
        workflowId: 'x'.repeat(5_000),
        args: [],
        staticSummary: 'Email',
      }),
    };
    await inTransaction(db, async (trx) => {
      for (const kind of ['test.throws', 'test.refused', 'test.unknown']) {
        await enqueue(trx, { kind, dedupeKey: kind, payload: {} });
      }
    });
    const id = await queue(message(to('behind')));
    relay({ dispatch });
    await ended();
    expect(caughtIds(catcher)).toEqual([id]);
    const waits = await query(
      db,
      `select o.kind, o.status, o.attempts > 0 as tried, o.last_error as error, o.available_at > o.created_at as later
       from outbox o where o.kind like 'test.%' order by o.seq`,
    );
    expect(waits).toEqual([
      { kind: 'test.throws', status: 'pending', tried: true, error: 'TypeError', later: true },
      { kind: 'test.refused', status: 'pending', tried: true, error: 'ServiceError', later: true },
      { kind: 'test.unknown', status: 'pending', tried: false, error: null, later: false },
    ]);
  });

  test('an attempt is not counted while Temporal cannot be reached', async () => {
    const { db } = stack.database;
    // Nothing listens on the discard port.
    const away = createTemporalGateway({ ...temporalConfig(), address: '127.0.0.1:9', namespace: stack.namespace });
    closers.push(away.close);
    const lines: string[] = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => lines.push(line) });
    const id = await queue(message(to('unreachable')));
    const stranded = relay({ temporal: away, log });
    await expect.poll(() => lines.length, { timeout: 30_000 }).toBeGreaterThan(0);
    await stranded.close();
    expect(lines.join('\n')).toContain('the outbox cannot be relayed at the moment');
    expect(await outboxRows(db)).toEqual([{ payload: { emailId: id }, status: 'pending', attempts: 0, error: null }]);
    relay();
    await ended();
    expect(caughtIds(catcher)).toEqual([id]);
  });
});

test('no address and no token is in any history, and no workflow task failed', async () => {
  const runs = await allHistories(stack.gateway.client);
  expect(runs.length).toBeGreaterThan(100);
  expect(tokens.filter((token) => token.length === 64)).toHaveLength(2);
  const text = textOf(runs.map((run) => run.events));
  expect(text).toContain('emailId');
  for (const secret of [DOMAIN, ...tokens, ...tokens.map(hashOf), catcher.apiKey]) expect(text).not.toContain(secret);
  expect(runs.flatMap(failedTasks)).toEqual([]);
});
