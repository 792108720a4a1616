import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type PanelSimulator, startPanelSimulator } from '../../simulators/panel/simulator.ts';
import { createApp } from '../../src/api/app.ts';
import { createHttpServer } from '../../src/api/http-server.ts';
import { createSetupRoutes, type SetupRouteOptions } from '../../src/api/routes/setup.ts';
import { loadConfig } from '../../src/config.ts';
import { SECRET_MASK } from '../../src/domain/settings.ts';
import { rows } from '../../src/store/db.ts';
import { createEncryption } from '../../src/store/encryption.ts';
import { createSettings } from '../../src/store/settings-store.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { type RawServer, startRawServer } from '../support/panel.ts';
import { API_KEY, bearer, type Harness, JWT_SECRET, json, makeUser, startHarness } from './harness.ts';

const ENCRYPTION_KEY = randomBytes(32).toString('base64');
const VF_KEY = 'vf-key-0123456789';

let database: TestDatabase;
let sim: PanelSimulator;
let virtfusion: RawServer;
const closers: (() => Promise<void>)[] = [];

beforeAll(async () => {
  database = await createTestDatabase();
  sim = await startPanelSimulator({ servers: 7, limit: 0 });
  virtfusion = await startRawServer((request, response) => {
    const good = request.url === '/api/v1/connect' && request.headers.authorization === `Bearer ${VF_KEY}`;
    response.writeHead(good ? 200 : 401, { 'content-type': 'application/json' });
    response.end('{"said":"upstream-body"}');
  });
});
beforeEach(async () => {
  await database.db.raw('delete from config');
  await database.db.raw('delete from users');
  sim.clearRequests();
  virtfusion.requests.length = 0;
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
afterAll(async () => {
  await Promise.all([sim.close(), virtfusion.close()]);
  await database.drop();
});

/** An api over the shared database, configured by these variables. */
async function start(env: Record<string, string> = {}): Promise<Harness> {
  const config = loadConfig({ JWT_SECRET, BACKEND_API_KEY: API_KEY, ENCRYPTION_KEY, ...env });
  const encryption = createEncryption({ key: config.encryptionKey });
  const settings = createSettings({ db: database.db, config, encryption });
  const harness = await startHarness({ database, deps: { config, settings } });
  closers.push(harness.close);
  return harness;
}
/** The wizard alone, beside the api, with a resolver or a deadline of the test's. */
async function startWizard(harness: Harness, options: SetupRouteOptions): Promise<string> {
  const server = createHttpServer(createApp(harness.deps, createSetupRoutes(options)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
async function serve(handler: Parameters<typeof startRawServer>[0]): Promise<RawServer> {
  const server = await startRawServer(handler);
  closers.push(server.close);
  return server;
}
const SAVE = '/api/v1/setup';
const TEST = '/api/v1/setup/test';
const production = { ENV: 'production' };
const save = (api: Harness, body: unknown, headers = {}) => api.get(SAVE, json(body, headers));
const state = async (api: Harness): Promise<unknown> => (await api.get(SAVE)).json();
/** The result of one panel's test; the answer must be 200. */
async function tested(api: Harness, body: object, headers = {}): Promise<unknown> {
  const response = await api.get(TEST, json({ testConnections: true, ...body }, headers));
  expect(response.status).toBe(200);
  return response.json();
}
const stored = async (key: string): Promise<string | undefined> =>
  (await rows<{ value: string }>(database.db, 'select c.value from config c where c.key = ?', [key]))[0]?.value;
const administrator = async () => bearer((await makeUser({ database }, { isSystemAdmin: true })).token);
const panel = () => ({ pterodactylUrl: sim.url, pterodactylApiKey: sim.keys.full });

const NOTHING = {
  success: true,
  isComplete: false,
  components: { siteInfo: false, pterodactylConfig: false, virtfusionConfig: false },
  configured: { siteName: null, siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null },
};

describe('the wizard from its beginning', () => {
  test('nothing is configured: said without signing in, with a stale bearer too', async () => {
    const api = await start();
    expect(await state(api)).toEqual(NOTHING);
    expect((await api.get(SAVE, { headers: bearer('stale') })).status).toBe(200);
    expect((await save(api, {}, bearer('stale'))).status).toBe(200);
  });

  test('steps are saved and shown; the same step twice is the same', async () => {
    const api = await start();
    const step = {
      siteName: ' My Hosting ',
      siteUrl: 'https://my.example/',
      faviconUrl: 'https://my.example/f.ico?v=1',
    };
    for (let i = 0; i < 2; i += 1) {
      const response = await save(api, step);
      expect(response.status).toBe(200);
      expect(await response.json()).toEqual({ success: true, message: 'Set-up saved' });
    }
    expect(await state(api)).toMatchObject({
      isComplete: false,
      components: { siteInfo: true },
      configured: {
        siteName: 'My Hosting',
        siteUrl: 'https://my.example',
        faviconUrl: 'https://my.example/f.ico?v=1',
        pterodactylUrl: null,
      },
    });
  });

  test('absent fields stay, null and empty clear, no field and no body at all are fine', async () => {
    const api = await start();
    await save(api, {
      siteName: 'A',
      siteUrl: 'https://a.example',
      faviconUrl: 'https://a.example/f',
      crowdinProjectId: '7',
    });
    await save(api, { faviconUrl: null, siteUrl: '' });
    for (const response of [await save(api, {}), await api.get(SAVE, { method: 'POST' })]) {
      expect(response.status).toBe(200);
    }
    expect(await state(api)).toMatchObject({ configured: { siteName: 'A', siteUrl: null, faviconUrl: null } });
    expect([await stored('site_url'), await stored('crowdin_project_id')]).toEqual(['', '7']);
  });

  test('secrets rest encrypted; mask, empty and null leave them', async () => {
    const api = await start();
    const secrets = {
      githubToken: 'ghp_secret-one',
      resendApiKey: 're_secret-two',
      crowdinPersonalToken: 'secret-three',
      pterodactylApiKey: 'ptla_secret-four',
      virtfusionApiKey: 'secret-five',
    };
    expect((await save(api, secrets)).status).toBe(200);
    await save(api, { githubToken: SECRET_MASK, resendApiKey: '', crowdinPersonalToken: null, virtfusionApiKey: ' ' });
    const keys = [
      'github_token',
      'resend_api_key',
      'crowdin_personal_token',
      'pterodactyl_api_key',
      'virtfusion_api_key',
    ] as const;
    const { values } = await api.deps.settings.stored(keys);
    expect(keys.map((key) => values.get(key))).toEqual(Object.values(secrets));
    for (const key of keys) expect(await stored(key), key).not.toContain('secret');
    expect(JSON.stringify(await state(api))).not.toContain('secret');
    expect(api.logged()).not.toContain('secret-');
  });

  test('a panel with URL and key completes it and closes it for strangers', async () => {
    const api = await start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example' });
    expect((await save(api, { ...panel(), pterodactylApi: 'application' })).status).toBe(200);
    expect(await state(api)).toEqual({
      success: true,
      isComplete: true,
      components: { siteInfo: true, pterodactylConfig: true, virtfusionConfig: false },
      configured: { ...NOTHING.configured, siteName: 'A' },
    });
    const runtime = await api.deps.settings.runtime();
    expect([runtime.panelUrl, runtime.panelApiKey?.reveal()]).toEqual([sim.url, sim.keys.full]);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    expect((await save(api, { siteName: 'B' }, await administrator())).status).toBe(200);
    expect(await stored('site_name')).toBe('B');
  });

  test('a URL alone does not complete it, and is shown', async () => {
    const api = await start();
    await save(api, { pterodactylUrl: 'https://panel.example/', virtfusionUrl: 'https://vf.example/app/' });
    expect(await state(api)).toMatchObject({
      isComplete: false,
      components: { pterodactylConfig: false, virtfusionConfig: false },
      configured: { pterodactylUrl: 'https://panel.example', virtfusionUrl: 'https://vf.example/app' },
    });
  });

  test('VirtFusion alone completes it', async () => {
    const api = await start();
    await save(api, { virtfusionUrl: virtfusion.url, virtfusionApiKey: VF_KEY });
    expect(await state(api)).toMatchObject({ isComplete: true, components: { virtfusionConfig: true } });
    expect((await save(api, {})).status).toBe(401);
  });

  test.each([
    ['PTERODACTYL', { pterodactylConfig: true, virtfusionConfig: false }],
    ['VIRTFUSION', { pterodactylConfig: false, virtfusionConfig: true }],
  ])('a panel of the environment counts: %s', async (name, components) => {
    const api = await start({ [`${name}_URL`]: 'https://env.example', [`${name}_API_KEY`]: 'env-key' });
    expect(await state(api)).toMatchObject({ isComplete: true, components, configured: NOTHING.configured });
    expect((await save(api, {})).status).toBe(401);
  });

  test('savers at once all succeed and leave the values of one of them', async () => {
    const api = await start();
    const steps = Array.from({ length: 8 }, (_, i) => ({ siteName: `n${i}`, siteUrl: `https://n${i}.example` }));
    const answers = await Promise.all(steps.map((step) => save(api, step)));
    expect(answers.map((answer) => answer.status)).toEqual(steps.map(() => 200));
    expect(await stored('site_url')).toBe(`https://${await stored('site_name')}.example`);
  });

  test('two who configure a panel at once: URL and key are of one of them', async () => {
    const api = await start();
    const answers = await Promise.all(
      [1, 2].map((i) => save(api, { pterodactylUrl: `https://p${i}.example`, pterodactylApiKey: `key-${i}` })),
    );
    for (const { status } of answers) expect([200, 401]).toContain(status);
    const runtime = await api.deps.settings.runtime();
    const [, who] = /p(\d)/.exec(runtime.panelUrl ?? '') ?? [];
    expect(runtime.panelApiKey?.reveal()).toBe(`key-${who}`);
    expect((await save(api, {})).status).toBe(401);
  });
});

describe('who may', () => {
  test.each([
    ['the flag', { isSystemAdmin: true }],
    ['the role', { roles: ['SUPER_ADMIN'] }],
    ['a disabled account', { isSystemAdmin: true, isActive: false }],
  ])('a system administrator by %s closes it to strangers', async (_what, user) => {
    const api = await start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example', pterodactylUrl: 'https://panel.example' });
    await makeUser({ database }, user);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    const shown = { siteName: 'A', siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null };
    expect(await state(api)).toMatchObject({ isComplete: false, configured: shown });
    expect(await stored('site_name')).toBe('A');
  });

  test('administrators go on, others are refused', async () => {
    const api = await start();
    const system = await administrator();
    const other = await makeUser({ database }, { roles: ['ADMINISTRATOR'] });
    const member = await makeUser({ database });
    expect((await save(api, { siteName: 'S' }, system)).status).toBe(200);
    expect((await save(api, { siteName: 'O' }, bearer(other.token))).status).toBe(200);
    expect((await save(api, { siteName: 'M' }, bearer(member.token))).status).toBe(403);
    expect((await save(api, { siteName: 'X' }, { 'X-API-Key': API_KEY })).status).toBe(401);
    expect(await stored('site_name')).toBe('O');
  });

  test('accounts without full rights leave it open', async () => {
    const api = await start();
    await makeUser({ database }, { roles: ['ADMINISTRATOR'] });
    await makeUser({ database });
    expect((await save(api, { siteName: 'A' })).status).toBe(200);
  });

  test.each([
    ['pterodactyl', 'PTERODACTYL_API_KEY'],
    ['virtfusion', 'VIRTFUSION_API_KEY'],
  ])('a stranger cannot point a key that is there at a URL of theirs: %s', async (name, variable) => {
    const api = await start({ [variable]: 'env-key' });
    const url = { [`${name}Url`]: 'https://theirs.example' };
    const refused = await save(api, { ...url, [`${name}ApiKey`]: SECRET_MASK, siteName: 'X' });
    expect(refused.status).toBe(400);
    expect((await refused.json()).details).toMatchObject([{ path: `body.${name}ApiKey` }]);
    expect(await stored('site_name')).toBeUndefined();
    expect((await save(api, { ...url, [`${name}ApiKey`]: 'their-key' })).status).toBe(200);
  });
});

describe('connection tests', () => {
  test('Pterodactyl: one server is asked for, all are counted', async () => {
    const api = await start();
    expect(await tested(api, panel())).toEqual({
      success: true,
      testResults: { pterodactyl: { success: true, latency: expect.any(Number), serverCount: 7, error: null } },
    });
    expect(sim.requests.map(({ path, query }) => [path, query.includes('per_page=1')])).toEqual([
      ['/api/application/servers', true],
    ]);
    expect(await stored('pterodactyl_url')).toBeUndefined();
  });

  test('VirtFusion, and both at once', async () => {
    const api = await start();
    const vf = { virtfusionUrl: `${virtfusion.url}/`, virtfusionApiKey: VF_KEY };
    const good = { success: true, latency: expect.any(Number), serverCount: null, error: null };
    expect(await tested(api, vf)).toEqual({ success: true, testResults: { virtfusion: good } });
    expect(await tested(api, { ...vf, ...panel() })).toMatchObject({
      testResults: { virtfusion: good, pterodactyl: { success: true, serverCount: 7 } },
    });
  });

  test('what is wrong is a result, in our words', async () => {
    const api = await start();
    const failing = async (body: object, error: string) => {
      const [name] = Object.keys(body)[0]?.split('Url') ?? [];
      expect(await tested(api, body)).toEqual({
        success: true,
        testResults: { [name ?? '']: { success: false, latency: expect.any(Number), serverCount: null, error } },
      });
    };
    await failing({ ...panel(), pterodactylApiKey: 'ptla_wrong' }, 'The panel refused the API key');
    await failing({ ...panel(), pterodactylApiKey: sim.keys.noRights }, 'The panel refused the API key');
    await failing({ virtfusionUrl: virtfusion.url, virtfusionApiKey: 'wrong' }, 'The panel refused the API key');
    const page = await serve((_request, response) => response.end('<html>upstream-body'));
    await failing({ pterodactylUrl: page.url, pterodactylApiKey: 'k' }, 'The panel cannot be reached');
    await page.close();
    closers.pop();
    await failing({ pterodactylUrl: page.url, pterodactylApiKey: 'k' }, 'The panel cannot be reached');
    await failing({ virtfusionUrl: page.url, virtfusionApiKey: 'k' }, 'The panel cannot be reached');
  });

  test('a panel that does not answer is given up', async () => {
    const silent = await serve(() => {});
    const url = await startWizard(await start(), { timeoutMs: 100 });
    const body = {
      pterodactylUrl: silent.url,
      pterodactylApiKey: 'k',
      virtfusionUrl: silent.url,
      virtfusionApiKey: 'k',
    };
    const answer: unknown = await (await fetch(`${url}${TEST}`, json(body))).json();
    const late = { success: false, serverCount: null, error: 'The panel did not answer in time' };
    expect(answer).toMatchObject({ testResults: { pterodactyl: late, virtfusion: late } });
  });

  test('without a key the stored one goes to the stored origin, and nowhere else', async () => {
    const api = await start({ CF_ACCESS_CLIENT_ID: 'cf-id', CF_ACCESS_CLIENT_SECRET: 'cf-secret' });
    const elsewhere = await serve((_request, response) => response.end('{}'));
    const own = await serve((_request, response) => response.end('{"object":"list","data":[]}'));
    const admin = await administrator();
    await save(api, { pterodactylUrl: own.url, pterodactylApiKey: 'stored-key' }, admin);
    await save(api, { virtfusionUrl: virtfusion.url, virtfusionApiKey: VF_KEY }, admin);
    for (const key of [SECRET_MASK, '', null]) {
      const same = {
        pterodactylUrl: `${own.url}/`,
        pterodactylApiKey: key,
        virtfusionUrl: virtfusion.url,
        virtfusionApiKey: key,
      };
      expect(await tested(api, same, admin)).toMatchObject({
        testResults: { pterodactyl: { success: true, serverCount: null }, virtfusion: { success: true } },
      });
      const other = { pterodactylUrl: elsewhere.url, pterodactylApiKey: key, virtfusionUrl: elsewhere.url };
      const asked = { success: false, latency: null, serverCount: null, error: 'Enter the API key to test this URL' };
      expect(await tested(api, other, admin)).toMatchObject({ testResults: { pterodactyl: asked, virtfusion: asked } });
    }
    expect(elsewhere.requests).toEqual([]);
    expect(own.requests[0]?.headers).toMatchObject({
      authorization: 'Bearer stored-key',
      'cf-access-client-secret': 'cf-secret',
    });
    await tested(api, { pterodactylUrl: elsewhere.url, pterodactylApiKey: 'typed-key' }, admin);
    expect(elsewhere.requests).toMatchObject([{ headers: { authorization: 'Bearer typed-key' } }]);
    expect(elsewhere.requests[0]?.headers).not.toHaveProperty('cf-access-client-secret');
  });

  test('neither keys nor what a panel says come back or are logged', async () => {
    const api = await start();
    const loud = await serve((request, response) => {
      response.writeHead(500, {
        'content-type': 'application/json',
        location: `http://x/${request.headers.authorization}`,
      });
      response.end(
        JSON.stringify({ errors: [{ code: 'X', detail: `upstream-body ${request.headers.authorization}` }] }),
      );
    });
    const answers = [
      await tested(api, {
        pterodactylUrl: loud.url,
        pterodactylApiKey: 'ptla_typed',
        virtfusionUrl: loud.url,
        virtfusionApiKey: 'vf_typed',
      }),
      await tested(api, { ...panel(), virtfusionUrl: virtfusion.url, virtfusionApiKey: VF_KEY }),
    ];
    expect(loud.requests).toHaveLength(2);
    for (const text of [JSON.stringify(answers), api.logged()]) {
      for (const secret of ['typed', 'upstream-body', sim.keys.full, VF_KEY]) expect(text).not.toContain(secret);
    }
  });

  test.each([
    [{}, 'pterodactylUrl'],
    [{ pterodactylApiKey: 'k' }, 'pterodactylUrl'],
    [{ virtfusionApiKey: 'k' }, 'virtfusionUrl'],
    [{ testConnections: false, pterodactylUrl: 'https://a.example', pterodactylApiKey: 'k' }, 'testConnections'],
    [{ pterodactylUrl: 'panel.example', pterodactylApiKey: 'k' }, 'pterodactylUrl'],
    [{ virtfusionUrl: 'file:///etc/passwd', virtfusionApiKey: 'k' }, 'virtfusionUrl'],
    [{ pterodactylUrl: 'https://a.example', pterodactylApiKey: '•••x' }, 'pterodactylApiKey'],
  ])('%j is refused by naming %s', async (body, field) => {
    const api = await start();
    const response = await api.get(TEST, json(body));
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ code: 'VALIDATION_ERROR', details: [{ path: `body.${field}` }] });
  });
});

describe('addresses that may not be reached', () => {
  const refused = {
    success: false,
    latency: null,
    serverCount: null,
    error: 'This address may not be reached from here',
  };
  const port = () => new URL(sim.url).port;
  const both = (url: string) => ({
    pterodactylUrl: url,
    pterodactylApiKey: sim.keys.full,
    virtfusionUrl: url,
    virtfusionApiKey: VF_KEY,
  });

  test('in production a stranger reaches nothing inside, in whatever spelling', async () => {
    const api = await start(production);
    const hosts = [
      '127.0.0.1',
      'localhost',
      '2130706433',
      '0x7f000001',
      '0177.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '10.0.0.1',
    ];
    for (const host of hosts) {
      const answer = await tested(api, both(`http://${host}:${port()}`));
      expect(answer, host).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
    }
    expect([sim.requests, virtfusion.requests]).toEqual([[], []]);
  });

  test('a name that resolves to the inside is refused, also beside a public address', async () => {
    const api = await start(production);
    for (const addresses of [['127.0.0.1'], ['1.1.1.1', '192.168.1.1'], ['fd00::1'], ['::ffff:10.1.1.1']]) {
      const resolve = async () => addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
      const url = await startWizard(api, { resolve });
      const answer: unknown = await (await fetch(`${url}${TEST}`, json(both(`http://panel.example:${port()}`)))).json();
      expect(answer, addresses.join()).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
    }
    expect(sim.requests).toEqual([]);
  });

  test('outside production this machine may be reached, the private network not', async () => {
    const api = await start();
    expect(await tested(api, panel())).toMatchObject({ testResults: { pterodactyl: { success: true } } });
    const answer = await tested(api, both('http://192.168.77.77'));
    expect(answer).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
  });

  test('an administrator reaches the operator’s own network in production, never the metadata of a cloud', async () => {
    const api = await start(production);
    const admin = await administrator();
    expect(await tested(api, panel(), admin)).toMatchObject({ testResults: { pterodactyl: { success: true } } });
    const resolve = async () => [{ address: '169.254.169.254', family: 4 }];
    const url = await startWizard(api, { resolve });
    const answer: unknown = await (await fetch(`${url}${TEST}`, json(both('http://panel.example'), admin))).json();
    expect(answer).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
  });

  test.each([
    'http://169.254.169.254/latest',
    'http://2852039166',
    'http://[fe80::1]',
    'http://[::ffff:a9fe:a9fe]',
    'http://0',
  ])('%s is refused in a form, signed in or not', async (url) => {
    const api = await start();
    const admin = await administrator();
    for (const path of [SAVE, TEST]) {
      const response = await api.get(path, json({ pterodactylUrl: url, pterodactylApiKey: 'k' }, admin));
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ details: [{ path: 'body.pterodactylUrl' }] });
    }
    expect(await stored('pterodactyl_url')).toBeUndefined();
  });

  test('a redirect is not followed, inside or outside', async () => {
    const api = await start();
    const door = await serve((_request, response) => {
      response.writeHead(307, { location: `${sim.url}/api/application/servers?per_page=1` });
      response.end();
    });
    const answer = await tested(api, both(door.url));
    const failed = { success: false, serverCount: null, error: 'The panel sent an answer that is not understood' };
    expect(answer).toMatchObject({ testResults: { pterodactyl: failed, virtfusion: failed } });
    expect([door.requests.length, sim.requests.length]).toEqual([2, 0]);
  });
});

describe('every field', () => {
  const LONG = 'x'.repeat(2049);
  const url = (field: string): [string, unknown][] =>
    ['site.example', '//site.example', 'ftp://site.example', 'javascript:alert(1)', 'https://', 'https:site.example']
      .concat('https://a b.example', 'https://user:pass@site.example', `https://site.example/${LONG}`)
      .concat('https://site.example/\u0007')
      .map((value) => [field, value]);
  const secret = (field: string): [string, unknown][] =>
    ['••••', `${SECRET_MASK}x`, `${SECRET_MASK}•`, 'a b', 'a\nb', 'clé', LONG, 'a\u007f'].map((value) => [
      field,
      value,
    ]);
  const plain = (field: string, max: number): [string, unknown][] =>
    ['x'.repeat(max + 1), 'a\u0000b', 'a\nb', 'a\u009fb'].map((value) => [field, value]);

  let api: Harness;
  let close: (() => Promise<void>) | undefined;
  beforeAll(async () => {
    api = await start();
    close = closers.pop();
  });
  afterAll(() => close?.());

  test.each([
    ...url('siteUrl'),
    ...url('faviconUrl'),
    ...url('pterodactylUrl'),
    ...url('virtfusionUrl'),
    ...['siteUrl', 'pterodactylUrl', 'virtfusionUrl'].flatMap((field): [string, unknown][] => [
      [field, 'https://site.example/?a=b'],
      [field, 'https://site.example/#a'],
    ]),
    ...secret('pterodactylApiKey'),
    ...secret('virtfusionApiKey'),
    ...secret('githubToken'),
    ...secret('resendApiKey'),
    ...secret('crowdinPersonalToken'),
    ...plain('siteName', 255),
    ...plain('crowdinProjectId', 255),
    ...plain('pterodactylApi', 2048),
    ...plain('virtfusionApi', 2048),
    ...['siteName', 'siteUrl', 'pterodactylApiKey', 'pterodactylApi'].flatMap((field): [string, unknown][] => [
      [field, 7],
      [field, true],
      [field, ['x']],
      [field, {}],
    ]),
  ])('%s: %j is refused by its name, and nothing is saved', async (field, value) => {
    const response = await save(api, { crowdinProjectId: '1', [field]: value });
    expect(response.status).toBe(400);
    const body = await response.json();
    // A NUL is refused with the body as a whole.
    if (typeof value !== 'string' || !value.includes('\0')) {
      expect(body).toMatchObject({ success: false, code: 'VALIDATION_ERROR' });
      expect(new Set(body.details.map(({ path }) => path))).toEqual(new Set([`body.${field}`]));
    }
    if (typeof value === 'string') expect(JSON.stringify(body)).not.toContain(value);
    expect(await rows(database.db, 'select c.key from config c')).toEqual([]);
  });

  test('the longest of each is taken, unknown fields are ignored', async () => {
    const long = (max: number, head = '') => head.padEnd(max, 'x');
    const step = {
      siteName: long(255),
      siteUrl: long(2048, 'https://site.example/'),
      pterodactylApi: long(2048),
      virtfusionApi: long(2048),
      githubToken: long(2048),
      crowdinProjectId: long(255),
      isComplete: true,
      pterodactyl_url: 'https://ignored.example',
    };
    expect((await save(api, step)).status).toBe(200);
    expect([await stored('site_name'), await stored('site_url')]).toEqual([step.siteName, step.siteUrl]);
    expect(await stored('pterodactyl_url')).toBeUndefined();
  });

  test.each(['[]', '"x"', 'null', '{', '7'])('a body that is no object is refused: %s', async (body) => {
    const response = await api.get(SAVE, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    expect(response.status).toBe(400);
  });
});
