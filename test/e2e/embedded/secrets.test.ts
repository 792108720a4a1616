/** No secret reaches Temporal: the test starts its own server and searches all files of the server's folder. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import type { EmailTransport } from '../../../src/clients/email/transport.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { discardTemporal, type EmbeddedTemporal, startTemporal } from '../../../src/embedded/temporal/temporal.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { QUEUE, sendEmailId } from '../../../src/workflows/contract.ts';
import { account, emailsEnded, message, queueEmail, storedEmail } from '../../support/email.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';

const shared = process.env['TEST_TEMPORAL_ADDRESS'];
const folder = mkdtempSync(join(tmpdir(), 'nodebyte-secrets-'));
const KEYS = {
  full: 'ptla_KnownApplicationKey0123456789abcdefghijklm',
  client: 'ptlc_KnownClientKey0123456789abcdefghijklmnopq',
};
let server: EmbeddedTemporal;
let stack: Stack;
let catcher: EmailCatcher;
let transport: EmailTransport;

beforeAll(async () => {
  const cli = process.env['TEMPORAL_CLI_PATH'];
  server = await startTemporal({
    dataDir: folder,
    cacheDir: cacheFolder(process.env['CACHE_DIR'] || undefined),
    headless: true,
    log: () => undefined,
    ...(cli === undefined || cli === '' ? {} : { cliPath: cli }),
  });
  process.env['TEST_TEMPORAL_ADDRESS'] = server.address;
  catcher = await startEmailCatcher({ requestsPerSecond: 1000 });
  transport = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey), timeoutMs: 1_000 });
  stack = await startStack({
    panel: { keys: KEYS },
    subusersBatchSize: 250,
    emailTransport: async () => transport,
  });
});
afterAll(async () => {
  await stack?.stop();
  await transport?.close();
  await catcher?.close();
  process.env['TEST_TEMPORAL_ADDRESS'] = shared;
  await server?.stop();
  await discardTemporal(folder);
  rmSync(folder, { recursive: true, force: true });
});

/** The bytes of all files in a folder. */
function contentsOf(path: string): Buffer {
  const files = readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));
  return Buffer.concat(files.filter((file) => statSync(file).isFile()).map((file) => readFileSync(file)));
}

/** Sends emails with every outcome. @returns their ids, and the texts that must not be found. */
async function sendEmails(): Promise<{ ids: string[]; secrets: string[] }> {
  const { db } = stack.database;
  const listener = createListener({ connectionString: stack.database.url, log: quiet });
  const relay = startOutboxRelay({ db, listener, temporal: stack.gateway, log: quiet, dispatch: EMAIL_DISPATCH });
  const to = (name: string) => `${name}@known-email-address.example`;
  try {
    for (const name of ['linked', 'retried']) await account(db, to(name), { name: `First name of ${name}` });
    const ids = [await queueEmail(db, { template: 'password-reset', to: to('linked') })];
    await emailsEnded(db);
    catcher.fault({ kind: 'status', status: 429, retryAfter: 1, message: `Too many emails to ${to('retried')}` });
    ids.push(await queueEmail(db, { template: 'magic-link', to: to('retried') }));
    await emailsEnded(db);
    catcher.fault({ kind: 'status', status: 422, message: `Invalid \`to\` field: ${to('refused')}` });
    ids.push(await queueEmail(db, message(to('refused'))));
    ids.push(await queueEmail(db, { template: 'magic-link', to: to('unknown') }));
    await emailsEnded(db);
    // The message of the database quotes the row.
    await db.raw(
      `create function refuse_email() returns trigger language plpgsql as $$ begin raise exception 'refused: %', new.recipient; end $$`,
    );
    await db.raw(
      `create trigger refuse_email before update on emails for each row when (new.template = 'message') execute function refuse_email()`,
    );
    const stuck = await queueEmail(db, message(to('stuck')));
    const handle = stack.gateway.client.workflow.getHandle(sendEmailId(stuck));
    const failing = async () => (await handle.describe()).raw.pendingActivities?.[0]?.lastFailure?.message;
    await expect.poll(() => failing().catch(() => undefined), { timeout: 20_000 }).toContain('SQLSTATE');
    await handle.cancel();
    await db.raw('drop trigger refuse_email on emails');
    await handle.result().catch(() => undefined);
    expect(await storedEmail(db, stuck)).toMatchObject({ status: 'failed', error: 'cancelled' });
    const links = catcher.emails().map((email) => /token=([0-9a-f]{64})/.exec(email.text ?? '')?.[1] ?? '');
    expect(links.map((link) => link.length)).toEqual([64, 64]);
    return { ids: [...ids, stuck], secrets: ['known-email-address', 'First name of', catcher.apiKey, ...links] };
  } finally {
    await relay.close();
    await listener.close();
  }
}

test('after runs with every outcome the files of the server contain no key, password or address of a user', async () => {
  const { sim, settings, gateway, launcher, database } = stack;
  settings.panelClientApiKey = new Secret(KEYS.client);
  const seen: string[] = [];
  const run = async (expected: string): Promise<void> => {
    const log = await stack.sync();
    seen.push(log.id);
    expect(log.status).toBe(expected);
    sim.faults.clear();
  };
  await run('COMPLETED');
  sim.faults.add({ match: { path: /\/servers$/ }, action: { kind: 'null-resource', name: 'subusers' } });
  await run('COMPLETED');
  sim.faults.add({ match: { path: /\/servers$/, page: 2 }, action: { kind: 'status', status: 401 } });
  await run('FAILED');
  sim.faults.add({ match: { path: /\/users$/, page: 2 }, times: 2, action: { kind: 'html' } });
  await run('COMPLETED');
  // A failure of the database, whose message quotes the row.
  await database.db.raw(
    `create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused: %', new.email; end $$`,
  );
  await database.db.raw(
    `create trigger refuse before insert or update on users for each row execute function refuse()`,
  );
  const [user] = sim.dump().users;
  if (user === undefined) throw new Error('the panel has no users');
  sim.update('users', user.id, { email: 'person.new@known-address.example' });
  const refused = await stack.sync();
  seen.push(refused.id);
  await database.db.raw(`drop trigger refuse on users`);
  sim.settings.latencyMs = 300;
  const { syncLogId } = await launcher.requestSync({ target: 'full', requestedBy: 'test' });
  await launcher.cancelSync(syncLogId, OPERATOR);
  expect((await stack.ended(syncLogId)).status).toBe('CANCELLED');
  await gateway.client.workflow.execute('scheduledSync', { workflowId: 'tick', taskQueue: QUEUE.core, args: [] });

  const emails = await sendEmails();
  seen.push(...emails.ids);

  const secrets = [
    ...emails.secrets,
    ...Object.values(sim.keys),
    new URL(database.url).password,
    database.url,
    ...sim.dump().users.flatMap((u) => [u.email, u.username]),
  ].filter((secret) => secret.length > 5);
  expect(secrets).toContain('person.new@known-address.example');
  await stack.gateway.client.workflow
    .getHandle('panel-sync')
    .terminate('the test is over')
    .catch(() => undefined);
  const live = contentsOf(folder).toString('latin1');
  // The ids must be found, which shows that the search works.
  for (const id of seen) expect(live).toContain(id);
  expect(secrets.filter((secret) => live.includes(secret))).toEqual([]);
});
