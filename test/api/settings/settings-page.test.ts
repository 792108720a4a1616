/** The settings page of administrators: what it shows, and what a save of it changes. */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { isSensitiveSetting, SECRET_MASK, SETTING_KEYS, type SettingKey } from '../../../src/domain/settings.ts';
import { listAuditEvents } from '../../../src/store/audit/audit-list.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser } from '../../support/api/harness.ts';
import { prepareWizard, VF_KEY, type Wizard } from '../../support/api/wizard.ts';

const PATH = '/api/admin/settings';
type Shown = Record<string, unknown> & { githubRepositories: string[] };
type Page = { settings: Shown; [key: string]: unknown };

let wizard: Wizard;
let system: Record<string, string>;
let plain: Record<string, string>;
beforeAll(async () => {
  wizard = await prepareWizard();
});
beforeEach(async () => {
  await wizard.empty();
  await wizard.database.db.raw('delete from discord_webhooks');
  system = await wizard.administrator();
  plain = bearer((await makeUser({ database: wizard.database }, { roles: ['ADMINISTRATOR'] })).token);
});
afterEach(() => wizard.closeAll());
afterAll(() => wizard.stop());

const call = (api: Harness, method: string, path = '', body?: unknown, headers = system) =>
  api.get(`${PATH}${path}`, {
    method,
    headers: { 'Content-Type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const load = async (api: Harness, headers = system): Promise<Page> => {
  const response = await call(api, 'GET', '', undefined, headers);
  expect(response.status).toBe(200);
  return (await response.json()) as unknown as Page;
};
const save = (api: Harness, body: object, headers = system) => call(api, 'POST', '', body, headers);
const test_ = async (api: Harness, type: string, body: object = {}, headers = system) =>
  (await call(api, 'POST', `/test?type=${type}`, { type, ...body }, headers)).json() as unknown as Promise<{
    success: boolean;
    error?: string;
  }>;
/** Everything that a save may write. */
const written = async () => [
  await query(wizard.database.db, 'select c.key, c.value, c."updatedAt" from config c order by c.key'),
  await query(wizard.database.db, 'select e.* from setting_entries e order by e.key'),
  await listAuditEvents(wizard.database.db, { limit: 3 }),
];
const newest = async (limit = 1) => listAuditEvents(wizard.database.db, { limit });

/** What the site posts: the whole page as loaded and edited, with its list of repositories last. */
const posted = ({ settings }: Page, edits: object = {}) => ({
  ...settings,
  ...edits,
  githubRepositories: settings.githubRepositories,
  githubRepositoriesMerge: true,
});

/** The form of a page that could not load its settings. */
const BLANK = {
  ...Object.fromEntries(
    ['pterodactylUrl', 'pterodactylApiKey', 'pterodactylClientApiKey', 'pterodactylApi', 'virtfusionUrl']
      .concat('virtfusionApiKey', 'virtfusionApi', 'crowdinProjectId', 'crowdinPersonalToken', 'githubToken')
      .concat('resendApiKey', 'adminEmail', 'siteName', 'siteUrl')
      .map((field) => [field, '']),
  ),
  ...{ registrationEnabled: false, maintenanceMode: false, autoSyncEnabled: false },
  ...{ emailNotifications: false, discordNotifications: false },
  ...{
    cacheTimeout: 300,
    syncInterval: 60,
    discordWebhooks: [],
    githubRepositories: [],
    githubRepositoriesMerge: true,
  },
};

describe('what the page shows', () => {
  test('without any value: every field, with its default (15, 20)', async () => {
    const page = await load(await wizard.start());
    const texts = ['pterodactylUrl', 'pterodactylApi', 'virtfusionUrl', 'virtfusionApi', 'crowdinProjectId']
      .concat('adminEmail', 'faviconUrl', 'cfAccessClientId')
      .map((field) => [field, '']);
    const sensitive = [
      'pterodactylApiKey',
      'pterodactylClientApiKey',
      'virtfusionApiKey',
      'crowdinPersonalToken',
    ].concat('githubToken', 'resendApiKey', 'cfAccessClientSecret', 'scalarApiKey');
    expect(page).toEqual({
      success: true,
      settings: {
        ...Object.fromEntries([...texts, ...sensitive.map((field) => [field, ''])]),
        siteName: 'NodeByte Hosting',
        siteUrl: 'https://nodebyte.host',
        emailFrom: 'NodeByte <noreply@nodebyte.host>',
        registrationEnabled: true,
        maintenanceMode: false,
        autoSyncEnabled: false,
        emailNotifications: true,
        discordNotifications: true,
        syncAllowMassPrune: false,
        webhookDispatchAll: true,
        cacheTimeout: 60,
        syncInterval: 3600,
        autoSyncMode: 'interval',
        autoSyncBudgetShare: 25,
        githubRepositories: [],
        discordWebhooks: [],
      },
      pterodactylStatus: { connected: false, success: false, error: 'Pterodactyl credentials not configured' },
      virtfusionStatus: { connected: false, success: false, error: 'Virtfusion credentials not configured' },
      databaseStatus: { connected: true, success: true, latency: expect.any(Number) },
      sensitiveFields: sensitive,
      unreadableFields: [],
    });
  });

  test('the database wins over the environment, a secret is masked, an unreadable one is named (17)', async () => {
    const api = await wizard.start({
      SITE_URL: 'https://env.example',
      EMAIL_FROM: 'Env <env@a.example>',
      GITHUB_TOKEN: 'ignored',
      PTERODACTYL_URL: 'http://user:pw@127.0.0.1:1/',
      PTERODACTYL_API_KEY: 'ptla_env',
      AUTO_SYNC_ENABLED: 'true',
      AUTO_SYNC_INTERVAL: '90',
    });
    const rows: [SettingKey, string][] = [
      ['email_from', 'Stored <stored@a.example>'],
      ['registration_enabled', 'no'],
      ['maintenance_mode', '1'],
      ['cache_timeout', '300 seconds'],
      ['sync_interval', '7200'],
      ['github_token', 'ghp_clear-from-before'],
      [
        'crowdin_personal_token',
        createEncryption({ key: new Secret(randomBytes(32).toString('base64')) }).encrypt('config.value', 'lost'),
      ],
      ['github_repositories', 'a/b\n\n c/d \r\na/b'],
    ];
    for (const [key, value] of rows) await wizard.put(key, value);
    const page = await load(api);
    expect(page).toMatchObject({
      settings: {
        siteUrl: 'https://env.example',
        emailFrom: 'Stored <stored@a.example>',
        pterodactylUrl: 'http://127.0.0.1:1',
        pterodactylApiKey: SECRET_MASK,
        githubToken: SECRET_MASK,
        crowdinPersonalToken: SECRET_MASK,
        resendApiKey: '',
        registrationEnabled: false,
        maintenanceMode: true,
        autoSyncEnabled: true,
        cacheTimeout: 300,
        syncInterval: 7200,
        githubRepositories: ['a/b', 'c/d'],
      },
      unreadableFields: ['crowdinPersonalToken'],
      pterodactylStatus: { connected: false, error: expect.stringContaining('cannot be reached') },
    });
    for (const secret of ['ptla_env', 'ghp_clear', 'user:pw']) expect(JSON.stringify(page)).not.toContain(secret);
  });

  test('webhooks for administrators, newest first, with nulls of older databases and without their tokens (20)', async () => {
    const api = await wizard.start();
    const { db } = wizard.database;
    await db.raw(
      `insert into discord_webhooks (id, name, "webhookUrl", type, scope, description, "createdAt") values
       ('old', 'A', 'https://discord.com/api/webhooks/123/token-1\\?wait=true', 'BILLING', 'ADMIN', null, '2024-01-01'),
       ('new', 'B', 'https://gateway.example/hooks/token-2/', 'SYSTEM', 'ADMIN', 'x', '2024-02-01'),
       ('odd', 'C', 'token-3', 'SYSTEM', 'ADMIN', 'x', '2023-02-01'),
       ('user', 'D', 'https://discord.com/api/webhooks/9/token-4', 'SYSTEM', 'USER', 'x', '2024-03-01')`,
    );
    const { settings } = await load(api, plain);
    expect(settings['discordWebhooks']).toMatchObject([
      { id: 'new', webhookUrl: `https://gateway.example/hooks/••••`, description: 'x' },
      {
        id: 'old',
        webhookUrl: `https://discord.com/api/webhooks/123/••••`,
        type: 'BILLING',
        description: '',
        testSuccessAt: null,
        createdAt: '2024-01-01T00:00:00.000Z',
      },
      { id: 'odd', webhookUrl: '••••' },
    ]);
    expect(JSON.stringify(settings)).not.toContain('token-');
  });
});

describe('a save', () => {
  const texts = fc
    .constantFrom('', ' ', 'plain', 'http://127.0.0.1:1', 'https://a.example/api/', 'x://y', '0', '90', '-5')
    .filter(() => true);
  const odd = fc.constantFrom(
    '7200',
    '30',
    'true',
    'no',
    'YES',
    '{"a":1}',
    '["a/b"," c/d","not one",null]',
    'a/b\nx',
    'N <n@a.example>',
  );
  const row = fc.record({
    key: fc.constantFrom(...SETTING_KEYS),
    value: fc.oneof(texts, odd),
    how: fc.constantFrom('clear', 'encrypted', 'unreadable'),
  });
  const variables = fc.record(
    {
      SITE_URL: fc.constantFrom('https://env.example/', 'https://user:pw@env.example'),
      PTERODACTYL_URL: fc.constantFrom('http://127.0.0.1:1/', 'http://u:p@127.0.0.1:1/x'),
      PTERODACTYL_API_KEY: fc.constant('ptla_env'),
      CF_ACCESS_CLIENT_ID: fc.constant('cf-env'),
      CF_ACCESS_CLIENT_SECRET: fc.constant('cf-secret-env'),
      VIRTFUSION_URL: fc.constant('http://127.0.0.1:1'),
      RESEND_API_KEY: fc.constant('re_env'),
      EMAIL_FROM: fc.constant('"A, B" <env@a.example>'),
      AUTO_SYNC_ENABLED: fc.constant('1'),
      AUTO_SYNC_INTERVAL: fc.constantFrom('1', '90'),
    },
    { requiredKeys: [] },
  );
  const otherKey = createEncryption({ key: new Secret(randomBytes(32).toString('base64')) });

  test('of the page as it was loaded changes nothing, whatever is stored and configured (W9)', async () => {
    await fc.assert(
      fc.asyncProperty(variables, fc.array(row, { maxLength: 25 }), fc.boolean(), async (env, rows, isSystem) => {
        await wizard.database.db.raw('delete from config; delete from setting_entries');
        for (const { key, value, how } of rows) {
          const encryption = how === 'clear' ? undefined : how === 'encrypted' ? wizard.encryption : otherKey;
          const hidden = isSensitiveSetting(key) && encryption !== undefined;
          await wizard.put(key, hidden ? encryption.encrypt('config.value', value) : value);
        }
        const api = await wizard.start(env);
        const headers = isSystem ? system : plain;
        const page = await load(api, headers);
        const before = await written();
        const response = await save(api, posted(page), headers);
        expect([response.status, await response.json()]).toMatchObject([200, { settings: page.settings }]);
        expect(await written()).toEqual(before);
        await wizard.closeAll();
      }),
      { numRuns: 25 },
    );
  });

  test('touches what it names, clears blank texts, and leaves masked and blank secrets (18)', async () => {
    const api = await wizard.start({ SITE_URL: 'https://env.example' });
    await save(api, {
      siteName: 'A',
      siteUrl: 'https://a.example',
      adminEmail: 'jane@a.example',
      githubToken: 'ghp_1',
      scalarApiKey: 'scalar-1',
      maintenanceMode: true,
      cacheTimeout: '300',
    });
    const response = await save(api, {
      siteUrl: ' ',
      adminEmail: null,
      githubToken: '',
      scalarApiKey: SECRET_MASK,
      registrationEnabled: 'false',
      unknownField: 'x',
    });
    expect((await response.json()) as unknown).toMatchObject({
      message: 'Settings saved successfully',
      settings: {
        siteName: 'A',
        siteUrl: 'https://env.example',
        adminEmail: '',
        githubToken: SECRET_MASK,
        scalarApiKey: SECRET_MASK,
        registrationEnabled: false,
        maintenanceMode: true,
        cacheTimeout: 300,
      },
    });
    const { values } = await api.deps.settings.stored([
      'github_token',
      'scalar_api_key',
      'site_url',
      'auto_sync_enabled',
    ]);
    expect([...values]).toEqual([
      ['github_token', 'ghp_1'],
      ['scalar_api_key', 'scalar-1'],
    ]);
    expect((await newest())[0]?.details).toEqual({
      before: { siteUrl: 'https://a.example', adminEmail: '(set)', registrationEnabled: 'true' },
      after: { siteUrl: null, adminEmail: '(cleared)', registrationEnabled: 'false' },
    });
  });

  test('of the mode or the share of the live mirror applies it; a page that does not know them changes neither', async () => {
    const api = await wizard.start({ AUTO_SYNC_BUDGET_SHARE: '30' });
    const shown = async () => {
      const { autoSyncMode, autoSyncBudgetShare } = (await load(api)).settings;
      return [autoSyncMode, autoSyncBudgetShare];
    };
    expect(await shown()).toEqual(['interval', 30]);
    await save(api, { autoSyncMode: 'auto', autoSyncEnabled: true });
    await save(api, { autoSyncBudgetShare: '40' });
    expect(api.reconciled).toMatchObject([
      { enabled: true, mode: 'auto', budgetShare: 30 },
      { enabled: true, mode: 'auto', budgetShare: 40 },
    ]);
    const unknown = { autoSyncMode: undefined, autoSyncBudgetShare: undefined };
    await save(api, { ...posted(await load(api), { siteName: 'B' }), ...unknown });
    expect([await shown(), api.reconciled.length]).toEqual([['auto', 40], 2]);
    await save(api, { autoSyncMode: null });
    expect(await shown()).toEqual(['interval', 40]);
  });

  const REFUSED: [string, unknown, RegExp][] = [
    ['siteUrl', 'javascript:alert(1)', /http/],
    ['faviconUrl', 'a.example/f.ico', /http/],
    ['pterodactylUrl', 'https://user:pw@a.example', /http/],
    ['virtfusionUrl', 'https://a.example/?x=1', /query/],
    ['githubToken', '••••x', /mask/],
    ['scalarApiKey', `${SECRET_MASK}x`, /mask/],
    ['cfAccessClientSecret', 'a b', /characters/],
    ['cfAccessClientId', 'a\tb', /characters/],
    ['siteName', 'x'.repeat(256), /255/],
    ['adminEmail', 'jane', /email address/],
    ['emailFrom', 'NodeByte', /one sender/],
    ['cacheTimeout', -1, /0 or more/],
    ['cacheTimeout', 1.5, /./],
    ['cacheTimeout', 'soon', /./],
    ['syncInterval', 59, /60 or more/],
    ['autoSyncMode', 'always', /interval or auto/],
    ['autoSyncBudgetShare', 91, /1 to 90/],
    ['autoSyncBudgetShare', 0, /1 to 90/],
    ['registrationEnabled', 'perhaps', /./],
    ['githubRepositories', ['a/b', 'not one'], /owner\/repo/],
    ['githubRepositories', [7], /./],
    ['siteName', 7, /./],
  ];
  test('with a value that cannot be used is refused, names the field, and saves nothing', async () => {
    const api = await wizard.start();
    const before = await written();
    for (const [field, value, message] of REFUSED) {
      const response = await save(api, { crowdinProjectId: '7', [field]: value });
      const { error, details } = await response.json();
      expect([response.status, error.split(':')[0], details[0]?.path.split('.')[1]]).toEqual([400, field, field]);
      expect(error).toMatch(message);
    }
    expect(await written()).toEqual(before);
  });

  test('names every field that it refuses', async () => {
    const response = await save(await wizard.start(), { autoSyncInterval: 5, siteUrl: 'x', adminEmail: 'y' });
    const { details } = await response.json();
    expect(details.map(({ path }) => path).sort()).toEqual(['body.adminEmail', 'body.siteUrl', 'body.syncInterval']);
  });

  test('of the blank form is refused; a form with one text or one switch is not (W8)', async () => {
    const api = await wizard.start();
    await save(api, { siteName: 'A', githubToken: 'ghp_1' });
    const before = await written();
    for (const form of [BLANK, { ...BLANK, siteName: null, emailFrom: ' ', cacheTimeout: 60 }]) {
      const response = await save(api, form);
      const error = 'The form is blank, so nothing was saved: load the settings again';
      expect([response.status, (await response.json()).error]).toEqual([400, error]);
    }
    expect(await written()).toEqual(before);
    for (const form of [{ ...BLANK, siteName: 'B' }, { ...BLANK, registrationEnabled: true }, { siteName: '' }, {}]) {
      expect((await save(api, form)).status, JSON.stringify(form)).toBe(200);
    }
  });

  test('as the site sends it: masks, webhooks and repositories travel back, one field is edited (W9)', async () => {
    const api = await wizard.start();
    await save(api, {
      pterodactylUrl: wizard.sim.url,
      pterodactylApiKey: wizard.sim.keys.full,
      githubRepositories: ['a/b'],
    });
    const page = await load(api);
    await save(api, { githubRepositories: ['c/d'], githubRepositoriesMerge: true });
    const response = await save(api, posted(page, { maintenanceMode: true }));
    expect([response.status, (await response.json()) as unknown]).toMatchObject([
      200,
      { settings: { maintenanceMode: true, pterodactylApiKey: SECRET_MASK, githubRepositories: ['a/b', 'c/d'] } },
    ]);
    expect((await api.deps.settings.runtime()).panelApiKey?.reveal()).toBe(wizard.sim.keys.full);
    // Without the merge a list replaces the stored one; an empty list changes nothing.
    await save(api, { githubRepositories: '["x/y"]' });
    await save(api, { githubRepositories: [] });
    expect((await load(api)).settings.githubRepositories).toEqual(['x/y']);
  });

  test('of settings that carry secrets, email or links needs a system administrator', async () => {
    const api = await wizard.start();
    const before = await written();
    for (const field of [
      'siteUrl',
      'emailFrom',
      'resendApiKey',
      'cfAccessClientId',
      'scalarApiKey',
      'pterodactylUrl',
    ]) {
      const value = field === 'emailFrom' ? 'A <a@a.example>' : 'https://a.example';
      const response = await save(api, { maintenanceMode: true, [field]: value }, plain);
      const { error } = await response.json();
      expect([response.status, error], field).toEqual([403, `${field}: only a system administrator may change it`]);
    }
    // Whether one is stored or not.
    expect((await call(api, 'PUT', '', { keys: ['githubToken'] }, plain)).status).toBe(403);
    expect((await written()).slice(0, 2)).toEqual(before.slice(0, 2));
    await save(api, { githubToken: 'ghp_1' });
    expect((await call(api, 'PUT', '', { keys: ['githubToken'] }, plain)).status).toBe(403);
    expect((await save(api, posted(await load(api, plain), { maintenanceMode: true }), plain)).status).toBe(200);
    expect((await load(api)).settings).toMatchObject({ githubToken: SECRET_MASK, maintenanceMode: true });
  });

  test('of the interval changes the schedule, under both of its names (11)', async () => {
    const api = await wizard.start({ AUTO_SYNC_INTERVAL: '15' });
    const schedule = async () =>
      (await (await api.get('/api/admin/sync/settings', { headers: system })).json()) as unknown;
    const shown = async () => (await load(api)).settings['syncInterval'];
    expect(await shown()).toBe(900);
    await save(api, { syncInterval: 900, siteName: 'A' });
    expect([api.reconciled, await wizard.stored('auto_sync_interval')]).toEqual([[], undefined]);
    await save(api, { syncInterval: 1800, autoSyncEnabled: true });
    expect(api.reconciled).toMatchObject([{ enabled: true, mode: 'interval', intervalSeconds: 1800 }]);
    expect(await schedule()).toMatchObject({ settings: { auto_sync_enabled: 'true', sync_interval: 1800 } });
    await save(api, { syncInterval: 1800, autoSyncInterval: '7200' });
    expect([await shown(), await wizard.stored('sync_interval')]).toEqual([7200, '7200']);
    await api.get('/api/admin/sync/settings', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', ...plain },
      body: JSON.stringify({ sync_interval: '86400' }),
    });
    expect(await shown()).toBe(86_400);
    expect(api.reconciled.at(-1)).toMatchObject({ enabled: true, intervalSeconds: 86_400 });
    expect((await newest())[0]).toMatchObject({
      action: 'settings-changed',
      details: { before: { syncInterval: '7200' }, after: { syncInterval: '86400' } },
    });
  });

  test('has at most 1 MiB', async () => {
    const api = await wizard.start();
    const padding = (bytes: number) => ({ siteName: 'A', discordWebhooks: ['x'.repeat(bytes)] });
    expect((await save(api, padding(1_000_000))).status).toBe(200);
    expect((await save(api, padding(1_100_000))).status).toBe(413);
  });

  test('of two administrators at the same time loses nothing', async () => {
    const [one, two] = [await wizard.start(), await wizard.start()];
    const round = async (i: number) => {
      const saves = [
        save(one, { siteName: `name-${i}`, githubRepositories: [`one/r${i}`], githubRepositoriesMerge: true }),
        save(
          two,
          { adminEmail: `a${i}@a.example`, githubRepositories: [`two/r${i}`], githubRepositoriesMerge: true },
          plain,
        ),
        call(one, 'POST', '/repos', { repo: `three/r${i}` }),
        call(two, 'POST', '/repos', { repo: `four/r${i}` }, plain),
        save(two, { crowdinProjectId: `p${i}` }),
      ];
      for (const { status } of await Promise.all(saves)) expect(status).toBe(200);
      expect((await load(i % 2 === 0 ? one : two)).settings).toMatchObject({
        siteName: `name-${i}`,
        adminEmail: `a${i}@a.example`,
        crowdinProjectId: `p${i}`,
      });
    };
    for (let i = 0; i < 3; i += 1) await round(i);
    const { settings } = await load(one);
    expect(settings.githubRepositories.slice().sort()).toEqual(
      ['four', 'one', 'three', 'two'].flatMap((owner) => [0, 1, 2].map((i) => `${owner}/r${i}`)),
    );
  });
});

describe('clearing secrets', () => {
  test('clears what is named, once; what the environment sets counts again', async () => {
    const api = await wizard.start({ RESEND_API_KEY: 're_env' });
    await save(api, { githubToken: 'ghp_1', resendApiKey: 're_stored', siteName: 'A' });
    await wizard.put('crowdin_personal_token', randomBytes(40).toString('base64'));
    expect(await load(api)).toMatchObject({ unreadableFields: ['crowdinPersonalToken'] });
    const body = {
      keys: ['githubToken', 'resendApiKey', 'crowdinPersonalToken', 'siteName', 'unknown', 'scalarApiKey'],
    };
    for (let i = 0; i < 2; i += 1) {
      const response = await call(api, 'PUT', '', body);
      expect([response.status, await response.json()]).toEqual([
        200,
        { success: true, message: 'Settings reset successfully' },
      ]);
    }
    expect(await load(api)).toMatchObject({
      settings: { githubToken: '', resendApiKey: SECRET_MASK, crowdinPersonalToken: '', siteName: 'A' },
      unreadableFields: [],
    });
    expect((await api.deps.settings.runtime()).email.resendApiKey?.reveal()).toBe('re_env');
    expect(await newest(2)).toMatchObject([
      { action: 'secrets-cleared', details: { fields: ['crowdinPersonalToken', 'githubToken', 'resendApiKey'] } },
      { action: 'settings-changed' },
    ]);
    for (const bad of [{}, { keys: 'githubToken' }, []]) {
      const refused = await call(api, 'PUT', '', bad);
      expect([refused.status, (await refused.json()).error]).toEqual([400, 'Invalid request body']);
    }
  });
});

describe('connections', () => {
  test('of the page are tested for real, together, and never fail or delay it (15)', async () => {
    const api = await wizard.start();
    await save(api, { ...wizard.panel(), virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY });
    const good = { connected: true, success: true, latency: expect.any(Number), version: 'Connected' };
    expect(await load(api, plain)).toMatchObject({ pterodactylStatus: good, virtfusionStatus: good });
    const silent = await wizard.serve(() => {});
    await save(api, {
      pterodactylUrl: silent.url,
      pterodactylApiKey: 'k',
      virtfusionUrl: silent.url,
      virtfusionApiKey: 'k',
    });
    const url = await wizard.startAlone(api, { timeoutMs: 150 });
    const page: unknown = await (await fetch(`${url}${PATH}`, { headers: system })).json();
    expect(page).toMatchObject({
      success: true,
      pterodactylStatus: { connected: false, success: false, error: 'The panel did not answer in time' },
      virtfusionStatus: { connected: false, success: false, error: 'VirtFusion did not answer in time' },
      databaseStatus: { connected: true },
    });
    expect(silent.requests).toHaveLength(2);
  });

  test('a test tells the rights of the key, also those that lack; the page asks for one server only (F6)', async () => {
    const api = await wizard.start();
    await save(api, wizard.panel());
    await load(api, plain);
    expect(wizard.sim.requests.map(({ path }) => path)).toEqual(['/api/application/servers']);
    const granted: unknown = expect.arrayContaining([expect.objectContaining({ right: 'eggs', state: 'granted' })]);
    expect(await test_(api, 'pterodactyl')).toMatchObject({ success: true, rights: granted, clientKey: null });
    const typed = { pterodactylUrl: wizard.sim.url, pterodactylApiKey: wizard.sim.keys.fewRights };
    expect(await test_(api, 'pterodactyl', typed)).toMatchObject({
      connected: false,
      success: false,
      error: 'The API key lacks the right to read: Locations, Nodes, Allocations, Nests, Users',
    });
  });

  test('a test with a blank or masked key sends the stored key to its own origin only (16)', async () => {
    const api = await wizard.start();
    const elsewhere = await wizard.serve((_request, response) => response.end('{}'));
    expect(await test_(api, 'pterodactyl', { pterodactylUrl: '', pterodactylApiKey: '' })).toMatchObject({
      success: false,
      error: 'Pterodactyl credentials not configured',
    });
    await save(api, wizard.panel());
    for (const key of ['', SECRET_MASK, undefined]) {
      const own = { pterodactylUrl: wizard.sim.url, pterodactylApiKey: key };
      expect(await test_(api, 'pterodactyl', own)).toMatchObject({ connected: true, success: true });
      expect(await test_(api, 'pterodactyl', { ...own, pterodactylUrl: elsewhere.url })).toMatchObject({
        connected: false,
        success: false,
        error: 'Enter the API key to test this URL',
      });
    }
    expect(elsewhere.requests).toEqual([]);
    const typed = { pterodactylUrl: wizard.sim.url, pterodactylApiKey: 'ptla_wrong' };
    expect(await test_(api, 'pterodactyl', typed)).toMatchObject({ error: 'The panel refused the API key' });
    expect(await test_(api, 'virtfusion', { virtfusionUrl: 'x', virtfusionApiKey: 'k' })).toMatchObject({
      error: expect.stringMatching(/^The URL: /),
    });
    const vf = { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY };
    expect(await test_(api, 'virtfusion', vf)).toMatchObject({ success: true });
    // The URL was changed by another program: its key stays here, and the page says why.
    await wizard.put('pterodactyl_url', elsewhere.url);
    expect(await load(api)).toMatchObject({
      pterodactylStatus: { success: false, error: expect.stringContaining('entered for another URL') },
    });
    expect(elsewhere.requests).toEqual([]);
  });

  test('database, Temporal and email; the type may stand in the query or in the body', async () => {
    const catcher = await startEmailCatcher({ smtpPort: 0, domains: ['nodebyte.host'] });
    try {
      const resend = await wizard.start({ RESEND_BASE_URL: catcher.url, RESEND_API_KEY: catcher.apiKey });
      const wrong = await wizard.start({ RESEND_BASE_URL: catcher.url, RESEND_API_KEY: 're_wrong' });
      const smtp = await wizard.start({ SMTP_URL: catcher.smtpUrl ?? '' });
      const good = { connected: true, success: true, latency: expect.any(Number) };
      for (const type of ['database', 'temporal', 'EMAIL']) expect(await test_(resend, type), type).toEqual(good);
      expect(await test_(smtp, 'email')).toEqual(good);
      expect(await (await call(resend, 'POST', '/test', { type: 'email' })).json()).toEqual(good);
      expect(await test_(wrong, 'email')).toMatchObject({ success: false, error: expect.stringMatching(/key/) });
      expect(catcher.emails()).toEqual([]);
      await wizard.put('email_from', 'no sender');
      expect(await test_(resend, 'email')).toMatchObject({
        success: false,
        error: expect.stringContaining('emailFrom'),
      });
      for (const [state, error] of [
        ['no namespace', 'The Temporal namespace does not exist'],
        ['no answer', 'Temporal does not answer'],
      ] as const) {
        resend.deps.temporal.state = async () => state;
        expect(await test_(resend, 'temporal')).toEqual({ connected: false, success: false, error });
      }
      const invalid = await call(resend, 'POST', '/test', { type: 'redis' });
      expect([invalid.status, (await invalid.json()).error]).toEqual([400, 'Invalid connection type']);
    } finally {
      await catcher.close();
    }
  });
});

describe('repositories', () => {
  const repos = async (api: Harness, method: string, path: string, body?: object) => {
    const response = await call(api, method, `/repos${path}`, body, plain);
    const answer = (await response.json()) as unknown as { repos?: string[]; error?: string };
    return answer.repos ?? [response.status, answer.error];
  };

  test('are added, replaced and removed; a legacy list is read, and each change is recorded once (12)', async () => {
    const api = await wizard.start();
    expect(await repos(api, 'GET', '')).toEqual([]);
    await wizard.put('github_repositories', 'old/one\nold/two\n');
    expect(await repos(api, 'GET', '')).toEqual(['old/one', 'old/two']);
    for (let i = 0; i < 2; i += 1) {
      expect(await repos(api, 'POST', '', { repo: ' new/three ' })).toEqual(['old/one', 'old/two', 'new/three']);
    }
    expect(await wizard.stored('github_repositories')).toBe('["old/one","old/two","new/three"]');
    for (let i = 0; i < 2; i += 1) {
      const replaced = { oldRepo: 'old/two', repo: 'new/two' };
      expect(await repos(api, 'PUT', '', replaced)).toEqual(['old/one', 'new/two', 'new/three']);
    }
    expect(await repos(api, 'PUT', '', { oldRepo: 'old/one', repo: 'new/two' })).toEqual(['new/two', 'new/three']);
    expect(await repos(api, 'DELETE', '', { repo: 'new/four' })).toEqual(['new/two', 'new/three']);
    expect(await repos(api, 'DELETE', '?repo=new/two')).toEqual(['new/three']);
    expect(await repos(api, 'DELETE', '', { index: 5 })).toEqual(['new/three']);
    expect(await repos(api, 'DELETE', '?index=0')).toEqual([]);
    expect(await repos(api, 'GET', '')).toEqual([]);
    expect((await newest(5)).reverse()).toMatchObject([
      { action: 'repositories-changed', details: { added: ['new/three'], removed: [] } },
      { details: { added: ['new/two'], removed: ['old/two'] } },
      { details: { added: [], removed: ['old/one'] } },
      { details: { removed: ['new/two'] } },
      { details: { removed: ['new/three'], before: { count: 1 }, after: { count: 0 } } },
    ]);
  });

  test('a wrong form is refused; a removal that names nothing removes nothing (12)', async () => {
    const api = await wizard.start();
    await repos(api, 'POST', '', { repo: 'a/b' });
    for (const repo of ['', 'a', 'a/b/c', 'a b/c', '/b', 'a/', `a/${'x'.repeat(140)}`]) {
      for (const method of ['POST', 'PUT']) {
        expect(await repos(api, method, '', { repo }), repo).toEqual([400, 'Invalid repo format. Use owner/repo.']);
      }
    }
    const nothing = [400, 'Name the repository to remove: repo or index'];
    expect(await repos(api, 'DELETE', '')).toEqual(nothing);
    expect(await repos(api, 'DELETE', '', {})).toEqual(nothing);
    expect(await repos(api, 'DELETE', '', { repo: '' })).toEqual(nothing);
    expect(await repos(api, 'DELETE', '', { index: -1 })).toEqual(nothing);
    expect(await repos(api, 'GET', '')).toEqual(['a/b']);
  });
});
