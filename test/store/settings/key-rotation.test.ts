/** The rotation of the encryption key, over rows that an independent implementation encrypted. */
import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Command } from 'commander';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { registerKeysCommands } from '../../../src/cli/keys.ts';
import { loadConfig } from '../../../src/config.ts';
import type { Secret } from '../../../src/domain/secret.ts';
import { SENSITIVE_SETTINGS } from '../../../src/domain/settings.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { type RotationKeys, rotateKeys } from '../../../src/services/settings/rotate-keys.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption, keyId } from '../../../src/store/db/encryption.ts';
import { listenerName } from '../../../src/store/db/running-processes.ts';
import { createEmailStore } from '../../../src/store/email/email-store.ts';
import { createWebhookStore } from '../../../src/store/webhooks/webhook-store.ts';
import { createTestDatabase, openTestDb, openTransaction, type TestDatabase } from '../../support/database.ts';
import { message } from '../../support/email.ts';
import { decryptByHand, encryptByHand, randomKey } from '../../support/encrypted.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
let OLD: Secret;
let NEW: Secret;
let keys: RotationKeys;
beforeAll(async () => {
  database = await createTestDatabase({ max: 10 });
});
beforeEach(async () => {
  await database.db.raw(
    'delete from config; delete from setting_entries; delete from emails; delete from hytale_oauth_tokens; delete from hytale_game_sessions; delete from discord_webhooks',
  );
  // Events cannot be deleted; each test has keys of its own.
  [OLD, NEW] = [randomKey(), randomKey()];
  keys = { key: NEW, previousKey: OLD };
});
afterAll(() => database.drop());

const put = (key: string, value: string) =>
  query(
    database.db,
    `insert into config (id, key, value, "createdAt", "updatedAt") values (?, ?, ?, '2026-01-01', '2026-01-01')`,
    [randomUUID(), key, value],
  );
const settingsWith = (config: RotationKeys) =>
  createSettings({
    db: database.db,
    config: loadConfig({}),
    encryption: createEncryption(config),
  });
const rotate = (options = {}, over = keys) => rotateKeys({ db: database.db, keys: over }, OPERATOR, options);
const events = () =>
  query(
    database.db,
    `select a.actor_type, a.details from audit_events a where a.details->>'keyId' in (?, ?) order by a.id`,
    [keyId(NEW), keyId(OLD)],
  );
/** Everything that is stored in the encrypted columns, and when the rows were changed. */
const everything = () =>
  query(
    database.db,
    `select 'config' as t, c.key, array[c.value] as v, c."updatedAt"::text as at from config c
     union all select 'emails', e.id::text, array[e.data, e.content], e.updated_at::text from emails e
     union all select 'oauth', h.account_id::text, array[h.access_token, h.refresh_token], h.updated_at::text from hytale_oauth_tokens h
     union all select 'game', h.account_id::text, array[h.session_token, h.identity_token], h.updated_at::text from hytale_game_sessions h
     union all select 'webhook', w.id, array[w."webhookUrl"], w."updatedAt"::text from discord_webhooks w
     order by 1, 2`,
  ) as Promise<{ t: string; key: string; v: (string | null)[]; at: string }[]>;
/** The same in clear, as far as the key opens it. */
const clearWith = async (key: Secret) =>
  (await everything()).map(({ v, ...row }) => ({
    ...row,
    v: v.map((value) => (value === null ? null : (decryptByHand(key, value) ?? value))),
  }));

const JWT = 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg';
const IDS = [1, 2, 3].map((n) => `00000000-0000-4000-8000-00000000000${n}`) as [string, string, string];

/** Values of the existing service: encrypted, in clear and empty, in every encrypted column. */
async function existingRows(): Promise<void> {
  const e = (value: string) => encryptByHand(OLD, value);
  for (const [i, key] of SENSITIVE_SETTINGS.entries()) await put(key, i < 6 ? e(`${key}-value`) : '');
  await put('pterodactyl_url', 'https://panel.example');
  // Not a secret, although it looks like one that is encrypted.
  await put('site_name', e('not a secret'));
  await query(
    database.db,
    `insert into hytale_oauth_tokens (account_id, access_token, refresh_token, access_token_expiry)
     values (?, ?, ?, now()), (?, ?, ?, now()), (?, ?, ?, now())`,
    [IDS[0], e('access-1'), e('refresh-1'), IDS[1], JWT, 'ory_rt_opaque.token', IDS[2], 'ab'.repeat(32), ''],
  );
  await query(
    database.db,
    `insert into hytale_game_sessions (account_id, profile_uuid, session_token, identity_token, expires_at)
     values (?, ?, ?, ?, now())`,
    [IDS[0], IDS[0], e(JWT), JWT],
  );
  await query(
    database.db,
    `insert into emails (template, recipient, data, content, status)
     values ('message', 'a@example.net', ?, ?, 'queued'), ('message', 'b@example.net', '{"message":"in clear"}', null, 'queued'),
            ('message', 'c@example.net', null, null, 'sent')`,
    [e('{"message":"one"}'), e('{"subject":"s"}')],
  );
  await query(
    database.db,
    `insert into discord_webhooks (id, name, "webhookUrl", "updatedAt")
     values ('hook-1', 'a', ?, '2026-01-01'), ('hook-2', 'b', ?, '2026-01-01'), ('hook-3', 'c', '', '2026-01-01')`,
    [e(HOOK), HOOK],
  );
}

const HOOK = 'https://discord.com/api/webhooks/1/token-of-the-webhook?thread_id=2';

describe('a rotation', () => {
  test('stores every value with the new key, encrypts what is in clear, and changes nothing else', async () => {
    await existingRows();
    // Binds the secrets of the panel to its URL, as every process does at its start.
    const before = await settingsWith({ key: OLD, previousKey: undefined }).known();
    expect(before.stored.values.get('pterodactyl_api_key')).toBe('pterodactyl_api_key-value');
    const entries = () => query(database.db, 'select * from setting_entries order by key');
    const [entriesBefore, rowsBefore] = [await entries(), await everything()];
    const readBefore = await clearWith(OLD);

    const report = await rotate();
    expect(report).toMatchObject({ changed: true, problem: undefined, unreadable: [] });
    const none = { current: 0, unreadable: 0 };
    expect(report.columns).toEqual([
      { column: 'emails.data', previous: 1, clear: 1, empty: 1, ...none },
      { column: 'emails.content', previous: 1, clear: 0, empty: 2, ...none },
      ...['device_code', 'access_token', 'refresh_token'].map((name) => ({
        ...{ column: `hytale_logins.${name}`, previous: 0, clear: 0, empty: 0 },
        ...none,
      })),
      { column: 'hytale_oauth_tokens.access_token', previous: 1, clear: 2, empty: 0, ...none },
      { column: 'hytale_oauth_tokens.refresh_token', previous: 1, clear: 1, empty: 1, ...none },
      { column: 'hytale_game_sessions.session_token', previous: 1, clear: 0, empty: 0, ...none },
      { column: 'hytale_game_sessions.identity_token', previous: 0, clear: 1, empty: 0, ...none },
      { column: 'discord_webhooks.webhookUrl', previous: 1, clear: 1, empty: 1, ...none },
      { column: 'config.value', previous: 6, clear: 0, empty: 2, ...none },
    ]);

    const notSecret = ({ key }: { key: string }) => key !== 'site_name';
    expect((await clearWith(NEW)).filter(notSecret)).toEqual(readBefore.filter(notSecret));
    const rowsAfter = await everything();
    const stored = (rows: typeof rowsAfter, wanted: string) => rows.find(({ key }) => key === wanted)?.v;
    for (const key of ['site_name', 'pterodactyl_url']) expect(stored(rowsAfter, key)).toEqual(stored(rowsBefore, key));
    for (const { t, key, v } of rowsAfter) {
      if (t === 'config' && !(SENSITIVE_SETTINGS as readonly string[]).includes(key)) continue;
      for (const value of v)
        expect(value === null || value === '' || decryptByHand(NEW, value) !== undefined).toBe(true);
    }
    expect(await entries()).toEqual(entriesBefore);

    // A process with the new key alone, as production starts it after the rotation.
    const after = await settingsWith({ key: NEW, previousKey: undefined }).known();
    expect(after.stored).toEqual(before.stored);
    const [row] = await query(database.db, `select e.id from emails e where e.recipient = 'a@example.net'`);
    const emails = createEmailStore(createEncryption({ key: NEW }));
    const email = await inTransaction(database.db, (trx) => emails.lock(trx, String(row?.['id'])));
    expect(email?.data).toEqual({ message: 'one' });
    const webhooks = await createWebhookStore(createEncryption({ key: NEW })).list(database.db);
    expect(webhooks.map(({ url }) => url)).toEqual([HOOK, HOOK, '']);
  });

  test('is recorded, notifies every process, and changes nothing a second time', async () => {
    await existingRows();
    const notified: string[] = [];
    const listening = await database.db.client.acquireConnection();
    listening.on('notification', ({ channel }: { channel: string }) => notified.push(channel));
    await listening.query('listen settings_changed');
    await rotate();
    const recorded = await events();
    expect(recorded).toEqual([
      {
        actor_type: 'cli',
        details: expect.objectContaining({
          keyId: keyId(NEW),
          previousKeyId: keyId(OLD),
          rotated: expect.objectContaining({ 'config.value': 6, 'emails.data': 1 }),
          encrypted: expect.objectContaining({ 'emails.data': 1 }),
        }),
      },
    ]);
    expect(JSON.stringify(recorded)).not.toMatch(/-value|access-1|eyJ|token-of-the-webhook/);
    const once = await everything();
    const again = await rotate();
    expect(again).toMatchObject({ changed: false, problem: undefined, totals: { previous: 0, clear: 0 } });
    expect(again.totals.current).toBeGreaterThan(10);
    expect(await everything()).toEqual(once);
    expect(await events()).toHaveLength(1);
    await listening.query('select 1');
    expect(notified).toEqual(['settings_changed']);
    await database.db.client.releaseConnection(listening);
  });

  test('leaves a value that neither key opens as it is, names its row, and rotates the others', async () => {
    await existingRows();
    const lost = encryptByHand(randomKey(), 'lost');
    await query(database.db, `update config set value = ? where key = 'github_token'`, [lost]);
    await query(database.db, `update hytale_oauth_tokens set refresh_token = ? where account_id = ?`, [lost, IDS[2]]);
    await query(database.db, `update discord_webhooks set "webhookUrl" = ? where id = 'hook-2'`, [lost]);
    const [token] = await query(database.db, 'select h.id from hytale_oauth_tokens h where h.account_id = ?', [IDS[2]]);
    const report = await rotate();
    expect(report).toMatchObject({ changed: true, problem: 'unreadable', totals: { unreadable: 3 } });
    expect(report.unreadable).toEqual([
      { column: 'hytale_oauth_tokens.refresh_token', key: token?.['id'] },
      { column: 'discord_webhooks.webhookUrl', key: 'hook-2' },
      { column: 'config.value', key: 'github_token' },
    ]);
    const github = (await everything()).find(({ key }) => key === 'github_token');
    expect(github?.v).toEqual([lost]);
    expect(await rotate()).toMatchObject({ changed: false, problem: 'unreadable' });
  });

  test('of many rows takes a few statements per 250 of them', async () => {
    await query(
      database.db,
      `insert into emails (template, recipient, data, status) select 'message', 'a@example.net', ?, 'queued' from generate_series(1, 1200)`,
      [encryptByHand(OLD, '{"message":"one"}')],
    );
    const statements: string[] = [];
    const note = ({ sql }: { sql: string }) => statements.push(sql);
    database.db.on('query', note);
    expect(await rotate()).toMatchObject({ changed: true, totals: { previous: 1200 } });
    database.db.off('query', note);
    const onEmails = statements.filter((sql) => /from emails|"emails"/.test(sql));
    // Looked at, locked and written in five batches; the end found and the empty ones counted, twice.
    expect(onEmails).toHaveLength(5 + 1 + 1 + 2 * 5 + 1 + 1);
    expect(onEmails.filter((sql) => sql.startsWith('update'))).toHaveLength(5);
  });
});

test('writers beside a rotation lose nothing, and none is overwritten with an old value', async () => {
  await existingRows();
  await query(
    database.db,
    `insert into emails (id, template, recipient, data, status)
     select ('10000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'message', 'm@example.net', ?, 'queued' from generate_series(0, 599) n`,
    [encryptByHand(OLD, '{"message":"many"}')],
  );
  const id = (n: number) => `10000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
  const emails = createEmailStore(createEncryption(keys));
  const settings = settingsWith(keys);
  const late = createEmailStore(createEncryption({ key: OLD }));
  const waiting = (count: number, on = '') =>
    expect
      .poll(
        async () =>
          (
            await query(
              database.db,
              `select 1 as one from pg_stat_activity a where a.datname = current_database() and a.wait_event_type = 'Lock' and a.query like ?`,
              [`%${on}%`],
            )
          ).length,
        { timeout: 20_000 },
      )
      .toBe(count);

  // An attempt has locked an email, and the web site a setting: the rotation stops at the one, then at the other.
  const attempt = await openTransaction(database.db);
  await emails.lock(attempt, id(599));
  const site = await openTransaction(database.db);
  await query(site, `select c.key from config c where c.key = 'virtfusion_api_key' for update`);
  const rotation = rotate();
  await waiting(1);
  await settings.save({ crowdin_personal_token: 'saved-early' }, { enteredBy: 'user' });
  const queued = await inTransaction(database.db, (trx) => emails.queue(trx, message('queued@example.net')));
  const queuedLate = await inTransaction(database.db, (trx) => late.queue(trx, message('late@example.net')));
  // It waits for the row, which the rotation has rewritten.
  const sending = emails.beginSending(database.db, id(3), { subject: 's', html: 'h', text: 't' } as never);
  await waiting(2);
  await emails.storeLink(attempt, id(599), { data: { token: 'of-the-attempt' } });
  await attempt.commit();
  await waiting(1, 'from "config"');
  const saving = settings.save({ pterodactyl_api_key: 'saved-late' }, { enteredBy: 'user' });
  await waiting(1, 'pg_advisory_xact_lock');
  await query(site, `update config set value = 'from-the-site!' where key = 'virtfusion_api_key'`);
  await site.commit();
  expect(await rotation).toMatchObject({ changed: true, problem: undefined });
  await Promise.all([saving, sending]);

  // A process that still had the old key wrote one row with it: both keys read everything, and a second run takes it along.
  expect((await rotate()).totals).toMatchObject({ unreadable: 0 });
  expect((await rotate()).totals).toMatchObject({ unreadable: 0, previous: 0, clear: 0 });
  const found = new Map((await clearWith(NEW)).map(({ key, v }) => [key, v]));
  expect(found.get('crowdin_personal_token')).toEqual(['saved-early']);
  expect(found.get('pterodactyl_api_key')).toEqual(['saved-late']);
  expect(found.get('virtfusion_api_key')).toEqual(['from-the-site!']);
  expect(found.get(id(599))?.[0]).toBe('{"token":"of-the-attempt"}');
  expect(found.get(id(3))?.[1]).toContain('"subject":"s"');
  for (const [email, to] of [
    [queued, 'queued@example.net'],
    [queuedLate, 'late@example.net'],
  ] as const) {
    expect(found.get(email)?.[0]).toBe(JSON.stringify(message(to).data));
  }
  for (let n = 0; n < 599; n += 1) expect(found.get(id(n))?.[0]).toBe('{"message":"many"}');
});

describe('wrong keys change nothing', () => {
  const runningWith = async (key: Secret | undefined) => {
    const name = listenerName('api', key && keyId(key));
    const process = openTestDb({ connectionString: database.url, applicationName: name, max: 1 });
    await process.raw('select 1');
    return process;
  };
  const unchanged = async (act: () => Promise<unknown>) => {
    const before = await everything();
    await act();
    expect(await everything()).toEqual(before);
    expect(await events()).toEqual([]);
  };

  test('neither key opens a value', async () => {
    await existingRows();
    await unchanged(async () => {
      const wrong = { key: randomKey(), previousKey: randomKey() };
      expect(await rotate({}, wrong)).toMatchObject({ changed: false, problem: 'no-value-readable' });
    });
  });

  test('keys that are swapped: the first rotation finds nothing of the previous key, and no rotation on record', async () => {
    await put('github_token', encryptByHand(OLD, 'one'));
    await unchanged(async () => {
      const swapped = { key: OLD, previousKey: NEW };
      expect(await rotate({}, swapped)).toMatchObject({ changed: false, problem: 'previous-unused' });
    });
  });

  test('keys that are swapped after a rotation: nothing goes back to the key that was replaced, unless forced', async () => {
    await existingRows();
    await rotate();
    const once = await everything();
    const swapped = { key: OLD, previousKey: NEW };
    expect(await rotate({}, swapped)).toMatchObject({ changed: false, problem: 'key-was-replaced' });
    expect(await everything()).toEqual(once);
    expect(await rotate({ force: true }, swapped)).toMatchObject({ changed: true, problem: undefined });
    expect((await rotate({}, swapped)).problem).toBeUndefined();
    // The next rotation, to a third key.
    const third = { key: randomKey(), previousKey: OLD };
    expect(await rotate({}, third)).toMatchObject({ changed: true, problem: undefined });
  });

  test.each([
    ['the previous key: not restarted yet, or the keys are swapped', () => OLD],
    ['a third key', () => randomKey()],
    ['no key', () => undefined],
  ])('a process runs with %s', async (_what, keyOf) => {
    await existingRows();
    const process = await runningWith(keyOf());
    try {
      await unchanged(async () => {
        expect(await rotate()).toMatchObject({ changed: false, problem: 'other-key-runs' });
      });
      expect(await rotate({ force: true })).toMatchObject({ changed: true, problem: 'other-key-runs' });
    } finally {
      await process.destroy();
    }
  });

  test('a process with the new key is no obstacle', async () => {
    await existingRows();
    const process = await runningWith(NEW);
    expect(await rotate()).toMatchObject({ changed: true, problem: undefined });
    await process.destroy();
  });
});

describe('the commands', () => {
  async function run(args: readonly string[], env: Record<string, string>) {
    const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
    const program = new Command();
    registerKeysCommands(program, { stdin, stdout, stderr, env: { DATABASE_URL: database.url, ...env } });
    await program.parseAsync(['keys', ...args], { from: 'user' });
    stdout.end();
    stderr.end();
    const code = Number(process.exitCode ?? 0);
    process.exitCode = 0;
    return { stdout: await text(stdout), stderr: await text(stderr), code };
  }
  const env = () => ({ ENCRYPTION_KEY: NEW.reveal(), ENCRYPTION_KEY_PREVIOUS: OLD.reveal() });

  test('check, a dry run, a rotation, and the same again', async () => {
    await existingRows();
    const before = await everything();
    expect(await run(['check'], env())).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('\nENCRYPTION_KEY_PREVIOUS is needed by 12 values: run `keys rotate`\n'),
    });
    const preview = await run(['rotate', '--dry-run', '--json'], env());
    expect(preview.code).toBe(0);
    expect(JSON.parse(preview.stdout)).toMatchObject({
      changed: false,
      problem: null,
      totals: { previous: 12, clear: 6 },
    });
    expect(await everything()).toEqual(before);
    expect(await events()).toEqual([]);
    const rotated = await run(['rotate'], env());
    expect(rotated).toMatchObject({ code: 0, stderr: '' });
    expect(rotated.stdout).toMatch(
      /\nconfig\.value +6 +0 +0 +0 +2\nrotated 12 values, encrypted 6 values that stood in clear\n$/,
    );
    expect((await run(['rotate'], env())).stdout).toMatch(/\nnothing to rotate\n$/);
    const after = await run(['check'], env());
    expect(after.stdout).toContain('ENCRYPTION_KEY_PREVIOUS is not needed any more');
  });

  test('a value that cannot be read is named, never shown, and the exit code is 1', async () => {
    await existingRows();
    const lost = encryptByHand(randomKey(), 'lost');
    await query(database.db, `update config set value = ? where key = 'github_token'`, [lost]);
    const rotated = await run(['rotate'], env());
    expect(rotated.code).toBe(1);
    expect(rotated.stdout).toContain('unreadable: config.value of github_token\nrotated 11 values');
    expect(rotated.stderr).toBe(
      'error: 1 value cannot be read with ENCRYPTION_KEY or ENCRYPTION_KEY_PREVIOUS: check the keys, or enter these secrets again\n',
    );
    const json = await run(['check', '--json'], env());
    expect(JSON.parse(json.stdout)).toMatchObject({
      problem: 'unreadable',
      unreadable: [{ column: 'config.value', key: 'github_token' }],
    });
    for (const secret of [lost, NEW.reveal(), OLD.reveal(), 'value-']) {
      expect([rotated.stdout, rotated.stderr, json.stdout].join()).not.toContain(secret);
    }
  });

  test.each([
    ['without a key', {}, 'error: ENCRYPTION_KEY is not set'],
    [
      'with one key twice, in both spellings',
      'twice',
      'error: ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS are the same key',
    ],
    [
      'with a key that production would refuse',
      { ENV: 'production', ENCRYPTION_KEY: 'ab'.repeat(32) },
      'ENCRYPTION_KEY: ',
    ],
    ['with a damaged key', { ENCRYPTION_KEY: 'x' }, 'ENCRYPTION_KEY: must be 32 bytes'],
  ])('%s nothing is done', async (_what, given, error) => {
    const twice = {
      ENCRYPTION_KEY: NEW.reveal(),
      ENCRYPTION_KEY_PREVIOUS: Buffer.from(NEW.reveal(), 'base64').toString('hex'),
    };
    const env = given === 'twice' ? twice : (given as Record<string, string>);
    for (const command of ['rotate', 'check']) {
      const { code, stdout, stderr } = await run([command], env);
      expect([stdout, stderr]).toEqual(['', expect.stringContaining(error)]);
      expect(code).toBeGreaterThan(0);
    }
  });
});
