import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { up } from '../../../migrations/20260101002700_setting_entries.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import {
  isSensitiveSetting,
  SECRET_MASK,
  SENSITIVE_SETTINGS,
  SENT_SETTING_KEYS,
  SENT_SETTINGS,
} from '../../../src/domain/settings.ts';
import { saveAutoSync } from '../../../src/services/settings/auto-sync.ts';
import { changeSettings } from '../../../src/services/settings/change-settings.ts';
import type { RuntimeSettings } from '../../../src/services/settings/runtime-settings.ts';
import { secretFor, secretsForPanel, urlOf } from '../../../src/services/settings/secret-origins.ts';
import { createSettings, type Settings } from '../../../src/services/settings/settings.ts';
import { listAuditEvents } from '../../../src/store/audit/audit-list.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { knexOf, query } from '../../../src/store/db/query.ts';
import { readSetupWindow } from '../../../src/store/settings/setup-window-store.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { encryptByHand, randomKey } from '../../support/encrypted.ts';

let database: TestDatabase;
const encryptionKey = new Secret(randomBytes(32).toString('base64'));
const quiet = { warn: () => {}, info: () => {} };
const log = pino({ level: 'silent' });
/** A system administrator and the origin of the request. */
const CHANGE = {
  editor: { kind: 'user', isSystemAdministrator: true },
  by: { actor: { type: 'user', id: 'admin-1' }, network: 'digest', requestId: 'r-1' },
} as const;
beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(() => database.db.raw('delete from config; delete from setting_entries'));
afterAll(() => database.drop());

const make = (key: Secret | undefined = encryptionKey) =>
  createSettings({
    db: database.db,
    config: loadConfig({
      PTERODACTYL_URL: 'https://env.example',
      PTERODACTYL_API_KEY: 'env-key',
      AUTO_SYNC_ENABLED: 'true',
      AUTO_SYNC_INTERVAL: '15',
      AUTO_SYNC_MODE: 'auto',
      AUTO_SYNC_BUDGET_SHARE: '40',
    }),
    encryption: createEncryption({ key }),
  });
const BY_USER = { enteredBy: 'user' } as const;
const put = (key: string, value: string) =>
  database.db.raw('insert into config (id, key, value) values (?, ?, ?)', [`id-${key}`, key, value]);
const stored = async (key: string): Promise<string | undefined> =>
  (await query<{ value: string }>(database.db, 'select c.value from config c where c.key = ?', [key]))[0]?.value;

describe('settings', () => {
  test('a value of the environment replaces the default', async () => {
    const settings = await make().runtime();
    expect(settings).toMatchObject({
      panelUrl: 'https://env.example',
      autoSync: { enabled: true, mode: 'auto', intervalSeconds: 900, budgetShare: 40 },
      allowMassPrune: false,
      cacheTimeoutSeconds: 60,
      unreadable: [],
    });
    expect(settings.panelApiKey?.reveal()).toBe('env-key');
    expect(settings.panelClientApiKey).toBeUndefined();
  });

  test('a stored sender is read once; an unusable one gives no sender, and is not saved (M-3)', async () => {
    const settings = make();
    await settings.save({ email_from: 'Example Hosting, Inc. <a@b.example>' }, BY_USER);
    expect((await settings.runtime()).email.from).toEqual({ name: 'Example Hosting, Inc.', address: 'a@b.example' });
    await expect(settings.save({ email_from: 'Example Hosting', site_name: 'x' }, BY_USER)).rejects.toMatchObject({
      code: 'VALIDATION_ERROR',
      details: [{ path: 'email_from', message: expect.stringContaining('Name <address@domain>') }],
    });
    expect(await stored('site_name')).toBeUndefined();
    // A row from before this rule.
    await database.db.raw(`update config set value = 'Example Hosting' where key = 'email_from'`);
    settings.forget();
    expect((await settings.runtime()).email.from).toBeUndefined();
    await settings.save({ email_from: '' }, BY_USER);
    expect((await settings.runtime()).email.from).toEqual(loadConfig({}).email.from);
  });

  test('a value of the database replaces the environment; an empty value does not', async () => {
    await put('pterodactyl_url', 'https://db.example/');
    await put('pterodactyl_api_key', '');
    await put('auto_sync_enabled', 'false');
    await put('auto_sync_interval', '7200');
    await put('auto_sync_mode', 'interval');
    await put('auto_sync_budget_share', '95');
    await put('sync_allow_mass_prune', '1');
    await put('cache_timeout', '0');
    const settings = await make().runtime();
    expect(settings).toMatchObject({
      panelUrl: 'https://db.example',
      // A row of another program may hold more than the maximum.
      autoSync: { enabled: false, mode: 'interval', intervalSeconds: 7200, budgetShare: 90 },
      allowMassPrune: true,
      cacheTimeoutSeconds: 0,
      withheld: ['pterodactyl_api_key'],
    });
    // The key of the environment was not entered for the URL of the database.
    expect(settings.panelApiKey).toBeUndefined();
  });

  test('secrets are stored encrypted; a secret that was stored in clear can still be read', async () => {
    const settings = make();
    await settings.save({ pterodactyl_api_key: 'ptla_new', pterodactyl_url: 'https://x.example' }, BY_USER);
    expect(await stored('pterodactyl_url')).toBe('https://x.example');
    const cipher = await stored('pterodactyl_api_key');
    expect(cipher).not.toContain('ptla');
    expect(createEncryption({ key: encryptionKey }).decrypt(cipher ?? '')).toEqual({ value: 'ptla_new' });
    await put('pterodactyl_client_api_key', 'ptlc_clear');
    settings.forget();
    const read = await settings.runtime();
    expect([read.panelApiKey?.reveal(), read.panelClientApiKey?.reveal()]).toEqual(['ptla_new', 'ptlc_clear']);
  });

  test('secrets that cannot be decrypted are listed, and no consumer gets one, nor that of the environment in its place', async () => {
    const other = randomKey();
    for (const key of SENSITIVE_SETTINGS) await put(key, encryptByHand(other, `${key}-lost`));
    const env = {
      ...Object.fromEntries(SENT_SETTING_KEYS.map((key) => [key.toUpperCase(), `${key}-of-the-environment`])),
      PTERODACTYL_URL: 'https://a.example',
      VIRTFUSION_URL: 'https://b.example',
    };
    const encryption = createEncryption({ key: encryptionKey });
    const settings = createSettings({ db: database.db, config: loadConfig(env), encryption });
    const known = await settings.known();
    expect(known.stored.unreadable.sort()).toEqual([...SENSITIVE_SETTINGS].sort());
    expect(known.stored.values.size).toBe(0);
    for (const key of SENT_SETTING_KEYS.filter(isSensitiveSetting)) {
      expect(secretFor(key, urlOf(SENT_SETTINGS[key], known), known), key).toBeUndefined();
    }
    for (const [name, url] of [
      ['pterodactyl', 'https://a.example'],
      ['virtfusion', 'https://b.example'],
    ] as const) {
      expect(secretsForPanel(name, url, known)).toEqual({});
    }
    const runtime = await settings.runtime();
    expect(runtime.email.resendApiKey).toBeUndefined();
    const names = [
      'panelApiKey',
      'panelClientApiKey',
      'cfAccessClientId',
      'cfAccessClientSecret',
      'virtfusionApiKey',
    ] as const;
    for (const name of names) expect(runtime[name], name).toBeUndefined();
  });

  test('without a key an encrypted secret is not taken for clear text, and one that was entered in clear is', async () => {
    const without = () =>
      createSettings({
        db: database.db,
        config: loadConfig({ PTERODACTYL_URL: 'https://a.example' }),
        encryption: createEncryption({}),
      });
    await put('pterodactyl_api_key', encryptByHand(randomKey(), 'ptla_1'));
    // Random bytes in base64, as an encrypted value is.
    const clear = randomBytes(48).toString('base64');
    await without().save({ virtfusion_url: 'https://b.example', virtfusion_api_key: clear }, BY_USER);
    const runtime = await without().runtime();
    expect(runtime.unreadable).toEqual(['pterodactyl_api_key']);
    expect([runtime.panelApiKey, runtime.virtfusionApiKey?.reveal()]).toEqual([undefined, clear]);
  });

  const saveSchedule = (settings: Settings, change: { enabled?: boolean; intervalSeconds?: number }): Promise<void> =>
    saveAutoSync(
      { db: database.db, settings, log, reconcileAutoSync: async () => {} },
      { enabled: change.enabled, intervalSeconds: change.intervalSeconds },
      CHANGE.by,
    );

  test('the schedule is stored under both names; missing fields are not changed', async () => {
    const settings = make();
    await saveSchedule(settings, { intervalSeconds: 120 });
    expect([
      await stored('auto_sync_interval'),
      await stored('sync_interval'),
      await stored('auto_sync_enabled'),
    ]).toEqual(['120', '120', undefined]);
    await saveSchedule(settings, { enabled: false });
    expect(await settings.autoSync()).toMatchObject({ enabled: false, intervalSeconds: 120 });
    await saveSchedule(settings, {});
    expect(await settings.autoSync()).toMatchObject({ enabled: false, intervalSeconds: 120 });
  });

  test('the second name counts when the first one is missing; a value below the minimum is raised to it', async () => {
    await put('sync_interval', '30');
    expect(await make().autoSync()).toMatchObject({ enabled: true, intervalSeconds: 60 });
    await put('auto_sync_interval', '240');
    expect((await make().autoSync()).intervalSeconds).toBe(240);
  });

  test('parallel saves all succeed', async () => {
    const settings = make();
    await Promise.all(Array.from({ length: 8 }, (_, i) => saveSchedule(settings, { intervalSeconds: 60 + i })));
    expect(await stored('auto_sync_interval')).toBe(await stored('sync_interval'));
  });

  test('a committed save notifies all processes; a rolled back save does not', async () => {
    const listener = createListener({ connectionString: database.url, log: quiet });
    let notifications = 0;
    listener.on('settings_changed', () => {
      notifications += 1;
    });
    await expect.poll(() => listener.connected()).toBe(true);
    const settings = make();
    await inTransaction(database.db, async (trx) => {
      await settings.save({ site_name: 'never' }, { ...BY_USER, db: trx });
      throw new Error('rolled back');
    }).catch(() => {});
    await settings.save({ site_name: 'X' }, BY_USER);
    await expect.poll(() => notifications).toBe(1);
    await listener.close();
  });

  test('a change that one copy makes is in force in every other process as soon as it is notified', async () => {
    // As the api and the worker compose them: settings that forget on the notification.
    const processes = await Promise.all(
      ['api one', 'api two', 'worker'].map(async (applicationName) => {
        const settings = make();
        const listener = createListener({ connectionString: database.url, log: quiet, applicationName });
        let notified = Promise.withResolvers<void>();
        listener.on('settings_changed', () => {
          settings.forget();
          notified.resolve();
          notified = Promise.withResolvers<void>();
        });
        await expect.poll(() => listener.connected()).toBe(true);
        return { settings, listener, next: () => notified.promise };
      }),
    );
    const [one] = processes;
    for (const [i, url] of ['https://first.example', 'https://second.example', ''].entries()) {
      // Each has the value of before in its cache, which would be kept for two seconds.
      await Promise.all(processes.map(({ settings }) => settings.runtime()));
      const notified = Promise.all(processes.map(({ next }) => next()));
      const values = { site_url: url, auto_sync_interval: String(600 + i), maintenance_mode: String(i === 0) };
      const begun = performance.now();
      await changeSettings({ db: database.db, settings: one?.settings ?? make(), log }, values, CHANGE);
      await notified;
      const seen = await Promise.all(processes.map(({ settings }) => settings.runtime()));
      expect(performance.now() - begun).toBeLessThan(1000);
      const siteUrl = url === '' ? 'https://nodebyte.host' : url;
      expect(seen.map(({ email, autoSync }) => [email.siteUrl, autoSync.intervalSeconds])).toEqual(
        processes.map(() => [siteUrl, 600 + i]),
      );
    }
    await Promise.all(processes.map(({ listener }) => listener.close()));
  });

  test('a failed read is not cached', async () => {
    const settings = make();
    await database.db.raw('alter table config rename to config_away');
    await expect(settings.runtime()).rejects.toThrow();
    await database.db.raw('alter table config_away rename to config');
    expect((await settings.runtime()).panelUrl).toBe('https://env.example');
  });
});

describe('a secret goes only to the origin it was entered for (S3)', () => {
  const ORIGINS = ['https://a.example', 'https://b.example', 'https://a.example:8443', 'http://a.example'];
  const ENCRYPTION = createEncryption({ key: encryptionKey });
  const settingsOf = (env: Record<string, string>, readOnly = false) =>
    createSettings({ db: database.db, config: loadConfig(env), encryption: ENCRYPTION, readOnly });

  /** Each secret with the URL that it travels to, as variables and as settings. */
  const PAIRS = [
    ['pterodactyl_api_key', 'pterodactyl_url', (r: RuntimeSettings) => [r.panelUrl, r.panelApiKey?.reveal()]],
    [
      'pterodactyl_client_api_key',
      'pterodactyl_url',
      (r: RuntimeSettings) => [r.panelUrl, r.panelClientApiKey?.reveal()],
    ],
    ['cf_access_client_id', 'pterodactyl_url', (r: RuntimeSettings) => [r.panelUrl, r.cfAccessClientId]],
    [
      'cf_access_client_secret',
      'pterodactyl_url',
      (r: RuntimeSettings) => [r.panelUrl, r.cfAccessClientSecret?.reveal()],
    ],
    ['virtfusion_api_key', 'virtfusion_url', (r: RuntimeSettings) => [r.virtfusionUrl, r.virtfusionApiKey?.reveal()]],
    ['resend_api_key', undefined, (r: RuntimeSettings, base: string) => [base, r.email.resendApiKey?.reveal()]],
  ] as const;
  /** The other half of Cloudflare Access, without which neither is sent. */
  const BESIDE: Record<string, string> = {
    cf_access_client_id: 'cf_access_client_secret',
    cf_access_client_secret: 'cf_access_client_id',
  };

  const origin = fc.constantFrom(...ORIGINS);
  const changes = fc.array(
    fc.oneof(
      fc.record({ by: fc.constantFrom('save', 'another program'), url: fc.oneof(origin, fc.constant('')) }),
      fc.record({ by: fc.constant('environment'), url: origin }),
    ),
    { minLength: 1, maxLength: 5 },
  );

  test.each(PAIRS)('changing the URL alone never makes %s leave', async (key, urlKey, sent) => {
    const urlVariable = urlKey?.toUpperCase() ?? 'RESEND_BASE_URL';
    const entered = fc.constantFrom(
      'saved with its URL',
      'saved beside the environment',
      'another program',
      'environment',
    );
    await fc.assert(
      fc.asyncProperty(entered, origin, changes, async (how, home, steps) => {
        await database.db.raw('delete from config; delete from setting_entries');
        const secrets = Object.fromEntries(
          [key, BESIDE[key]].filter((one) => one !== undefined).map((one) => [one, `${one}-1`]),
        );
        const withUrl = how !== 'saved beside the environment' && how !== 'environment' && urlKey !== undefined;
        let env: Record<string, string> = withUrl ? {} : { [urlVariable]: home };
        if (how === 'environment') {
          env = {
            ...env,
            ...Object.fromEntries(Object.entries(secrets).map(([one, value]) => [one.toUpperCase(), value])),
          };
        } else if (how === 'another program') {
          for (const [one, value] of Object.entries({ ...secrets, ...(withUrl ? { [urlKey]: home } : {}) })) {
            await put(one, isSensitiveSetting(one) ? ENCRYPTION.encrypt('config.value', value) : value);
          }
        } else {
          await settingsOf(env).save({ ...secrets, ...(withUrl ? { [urlKey]: home } : {}) }, BY_USER);
        }
        const seen = async (url: string) => {
          const base = urlKey === undefined ? (env['RESEND_BASE_URL'] ?? 'https://api.resend.com') : url;
          return sent(await settingsOf(env).runtime(), base);
        };
        // What is there at first sight is bound.
        const first = await seen(home);
        if (urlKey !== undefined || env['RESEND_BASE_URL'] !== undefined) expect(first).toEqual([home, `${key}-1`]);
        for (const { by, url } of steps) {
          // A variable of the environment moves its secret along: both are the operator's.
          if (by === 'environment' && how !== 'environment' && url !== '') env = { ...env, [urlVariable]: url };
          if (by === 'save' && urlKey !== undefined) await settingsOf(env).save({ [urlKey]: url }, BY_USER);
          if (by === 'another program' && urlKey !== undefined) {
            await database.db.raw('delete from config where key = ?', [urlKey]);
            await put(urlKey, url);
          }
          const [at, secret] = await seen(url);
          const home0 = first[0] ?? home;
          expect(secret === undefined || new URL(at ?? '').origin === new URL(home0).origin, `${secret} at ${at}`).toBe(
            true,
          );
        }
      }),
      { numRuns: 12 },
    );
  });

  test('a secret that another program replaces belongs to the URL beside it, and stays there', async () => {
    const settings = settingsOf({});
    await settings.save({ pterodactyl_url: 'https://a.example', pterodactyl_api_key: 'ptla_1' }, BY_USER);
    await database.db.raw('delete from config');
    await put('pterodactyl_url', 'https://b.example');
    await put('pterodactyl_api_key', ENCRYPTION.encrypt('config.value', 'ptla_2'));
    expect((await settingsOf({}).runtime()).panelApiKey?.reveal()).toBe('ptla_2');
    await database.db.raw(`update config set value = 'https://c.example' where key = 'pterodactyl_url'`);
    // The same secret encrypted once more is no new one.
    await database.db.raw(`update config set value = ? where key = 'pterodactyl_api_key'`, [
      ENCRYPTION.encrypt('config.value', 'ptla_2'),
    ]);
    expect(await settingsOf({}).runtime()).toMatchObject({
      panelUrl: 'https://c.example',
      withheld: ['pterodactyl_api_key'],
    });
  });

  test('a secret without a URL is sent to none that comes later', async () => {
    const settings = settingsOf({});
    await settings.save({ pterodactyl_api_key: 'ptla_1' }, BY_USER);
    await settings.save({ pterodactyl_url: 'https://a.example' }, BY_USER);
    expect((await settings.runtime()).panelApiKey).toBeUndefined();
  });

  test('a URL is judged in the service, so that no caller can leave it out', async () => {
    for (const [key, url] of [
      ['site_url', 'javascript:alert(1)'],
      ['pterodactyl_url', 'https://user:pass@a.example'],
      ['virtfusion_url', 'https://a.example?x=1'],
      ['favicon_url', 'ftp://a.example/f.ico'],
    ] as const) {
      const change = changeSettings(
        { db: database.db, settings: settingsOf({}), log },
        { [key]: url, site_name: 'X' },
        CHANGE,
      );
      await expect(change, key).rejects.toMatchObject({
        code: 'VALIDATION_ERROR',
        details: [{ path: expect.any(String) }],
      });
    }
    expect(await stored('site_name')).toBeUndefined();
  });

  test('a change is recorded with its values before and after; of secrets and addresses only that they changed', async () => {
    const env = { SITE_URL: 'https://user:pw@before.example/?t=1', RESEND_API_KEY: 're_env' };
    const deps = { db: database.db, settings: settingsOf(env), log };
    await deps.settings.save({ pterodactyl_url: 'https://a.example', pterodactyl_api_key: 'ptla_1' }, BY_USER);
    const values = {
      site_url: 'https://after.example/',
      site_name: 'My Hosting',
      maintenance_mode: 'true',
      auto_sync_interval: '7200',
      admin_email: 'jane@a.example',
      resend_api_key: 're_new',
      github_token: 'ghp_new',
      pterodactyl_url: 'https://a.example/api',
      pterodactyl_api_key: SECRET_MASK,
      github_repositories: '["a/b","c/d"]',
    };
    const changed = await changeSettings(deps, values, CHANGE);
    // The same again changes nothing, and so writes nothing.
    expect(await changeSettings(deps, values, CHANGE)).toEqual([]);
    await changeSettings(deps, { github_token: SECRET_MASK, admin_email: '', site_name: ' ' }, CHANGE);
    const events = (await listAuditEvents(database.db, { limit: 3 })).reverse();
    expect(events).toMatchObject([
      {
        action: 'settings-changed',
        actorType: 'user',
        actorId: 'admin-1',
        network: 'digest',
        requestId: 'r-1',
        details: {
          before: {
            siteUrl: 'https://before.example',
            siteName: 'NodeByte Hosting',
            maintenanceMode: 'false',
            syncInterval: '3600',
            adminEmail: null,
            resendApiKey: '(set)',
            githubToken: null,
          },
          after: {
            siteUrl: 'https://after.example',
            siteName: 'My Hosting',
            maintenanceMode: 'true',
            syncInterval: '7200',
            adminEmail: '(set)',
            resendApiKey: '(changed)',
            githubToken: '(set)',
          },
        },
      },
      { action: 'repositories-changed', details: { added: ['a/b', 'c/d'], removed: [] } },
      { action: 'settings-changed', details: { after: { adminEmail: '(cleared)', siteName: null } } },
    ]);
    expect(changed).not.toContain('pterodactyl_url');
    const texts = JSON.stringify(events.map(({ details }) => details));
    for (const secret of ['re_', 'ghp_', 'jane', 'pw@', 't=1']) expect(texts).not.toContain(secret);
  });

  test('a change that fails is not recorded', async () => {
    const settings = settingsOf({});
    const failing = { ...settings, save: () => Promise.reject(new Error('no')) };
    const before = await listAuditEvents(database.db, { limit: 1 });
    const change = changeSettings({ db: database.db, settings: failing, log }, { site_name: 'X' }, CHANGE);
    await expect(change).rejects.toThrow('no');
    expect(await listAuditEvents(database.db, { limit: 1 })).toEqual(before);
  });

  test('a look from outside binds nothing', async () => {
    await put('pterodactyl_url', 'https://a.example');
    await put('pterodactyl_api_key', ENCRYPTION.encrypt('config.value', 'ptla_1'));
    expect((await settingsOf({}, true).runtime()).panelApiKey?.reveal()).toBe('ptla_1');
    expect(await query(database.db, 'select e.key from setting_entries e')).toEqual([]);
  });

  test('after an upgrade a key of the environment goes on to the URL of the database, while that is stored', async () => {
    const env = { PTERODACTYL_URL: 'https://env.example', PTERODACTYL_API_KEY: 'env-key' };
    await put('pterodactyl_url', 'https://before.example/panel');
    await database.db.raw('drop table setting_entries, setup_window');
    await inTransaction(database.db, (trx) => up(knexOf(trx)));
    const at = async (url: string | undefined) =>
      secretFor('pterodactyl_api_key', url, await settingsOf(env).known())?.reveal();
    expect((await settingsOf(env).runtime()).panelApiKey?.reveal()).toBe('env-key');
    expect([
      await at('https://before.example'),
      await at('https://env.example'),
      await at('https://c.example'),
    ]).toEqual(['env-key', 'env-key', undefined]);
    await database.db.raw(`update config set value = 'https://c.example' where key = 'pterodactyl_url'`);
    expect([await at('https://before.example'), await at('https://c.example')]).toEqual([undefined, undefined]);
    // An existing installation is not started for the first time.
    expect(await readSetupWindow(database.db)).toMatchObject({ open: false, openUntil: expect.any(Date) });
  });
});

describe('listener', () => {
  test('channels can be added at any time, survive a lost connection, and end with the listener', async () => {
    const listener = createListener({ connectionString: database.url, log: quiet, applicationName: 'listen-test' });
    const got: string[] = [];
    let connections = 0;
    const notify = (channel: string, payload: string) => database.db.raw('select pg_notify(?, ?)', [channel, payload]);
    const stop = listener.on(
      'one',
      (payload) => got.push(`one:${payload}`),
      () => {
        connections += 1;
      },
    );
    listener.on('Two "quoted"', (payload) => got.push(`two:${payload}`));
    await expect.poll(() => listener.connected()).toBe(true);
    listener.on('three', (payload) => got.push(`three:${payload}`));
    listener.on('four', (payload) => got.push(`four:${payload}`));
    await expect.poll(() => listener.connected()).toBe(true);
    for (const channel of ['one', 'Two "quoted"', 'three', 'four']) await notify(channel, 'a');
    await expect.poll(() => got.length).toBe(4);
    expect(got).toEqual(['one:a', 'two:a', 'three:a', 'four:a']);
    await database.db.raw(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listen-test'`,
    );
    await expect.poll(() => connections).toBe(2);
    await notify('three', 'b');
    await expect.poll(() => got.at(-1)).toBe('three:b');
    stop();
    await notify('one', 'c');
    await notify('four', 'd');
    await expect.poll(() => got.at(-1)).toBe('four:d');
    expect(got).not.toContain('one:c');
    await listener.close();
    expect(listener.connected()).toBe(false);
    const left = await query(
      database.db,
      `select 1 as one from pg_stat_activity where application_name = 'listen-test'`,
    );
    expect(left).toEqual([]);
  });

  test('without a server it tries to connect until it is closed, and does not throw', async () => {
    const listener = createListener({ connectionString: 'postgres://x@127.0.0.1:1/x', log: quiet });
    listener.on('one', () => {});
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(listener.connected()).toBe(false);
    await listener.close();
  });
});
