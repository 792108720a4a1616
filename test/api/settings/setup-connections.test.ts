/** The wizard's connection tests: their requests, their results, and the addresses that they never reach. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SECRET_MASK } from '../../../src/domain/settings.ts';
import { bearer, json, makeUser } from '../../support/api/harness.ts';
import { prepareWizard, save, TEST, tested, VF_KEY, type Wizard } from '../../support/api/wizard.ts';

let wizard: Wizard;
beforeAll(async () => {
  wizard = await prepareWizard();
});
beforeEach(() => wizard.empty());
afterEach(() => wizard.closeAll());
afterAll(() => wizard.stop());

const production = { ENV: 'production' };

describe('connection tests', () => {
  test('Pterodactyl: one record of each listing is requested, and all servers are counted', async () => {
    const api = await wizard.start();
    const good = { success: true, latency: expect.any(Number), serverCount: 7, error: null };
    const rights: unknown = expect.arrayContaining([expect.objectContaining({ right: 'users', state: 'granted' })]);
    expect(await tested(api, wizard.panel())).toEqual({
      success: true,
      testResults: { pterodactyl: { ...good, rights, clientKey: null } },
    });
    const asked = wizard.sim.requests.map(({ path, query }) => [path.split('/').at(-1), query.includes('per_page=1')]);
    expect(asked.sort()).toEqual([
      ['locations', true],
      ['nests', true],
      ['servers', true],
      ['users', true],
    ]);
    expect(await wizard.stored('pterodactyl_url')).toBeUndefined();
  });

  test('a key that lacks a right of the sync fails, and the right is named (F6)', async () => {
    const api = await wizard.start();
    const pterodactylApiKey = wizard.sim.addKey({
      rights: ['locations', 'nodes', 'allocations', 'nests', 'eggs', 'servers'],
    });
    const users = { right: 'users', label: 'Users', needed: true, state: 'missing', reason: null };
    const missing: unknown = expect.arrayContaining([expect.objectContaining(users)]);
    expect(await tested(api, { ...wizard.panel(), pterodactylApiKey })).toMatchObject({
      testResults: {
        pterodactyl: {
          success: false,
          serverCount: 7,
          error: 'The API key lacks the right to read: Users',
          rights: missing,
        },
      },
    });
  });

  test('the known client key is tried as what it is, at its own origin only (F6)', async () => {
    const env = { PTERODACTYL_URL: wizard.sim.url, PTERODACTYL_API_KEY: wizard.sim.keys.full };
    const withKey = async (clientKey: string) => {
      const api = await wizard.start({ ...env, PTERODACTYL_CLIENT_API_KEY: clientKey });
      return (await tested(api, wizard.panel())) as { testResults: { pterodactyl: Record<string, unknown> } };
    };
    expect((await withKey(wizard.sim.keys.client)).testResults.pterodactyl).toMatchObject({
      success: true,
      clientKey: { state: 'administrator', message: null },
    });
    expect((await withKey(wizard.sim.keys.userClient)).testResults.pterodactyl).toMatchObject({
      success: true,
      clientKey: { state: 'not-administrator', message: expect.stringContaining('no administrator of the panel') },
    });
    expect((await withKey(wizard.sim.keys.full)).testResults.pterodactyl).toMatchObject({
      success: false,
      error: expect.stringContaining('The panel refused the client API key'),
      clientKey: { state: 'refused' },
    });
    const elsewhere = await wizard.serve((_request, response) => response.end('{"object":"list","data":[]}'));
    const api = await wizard.start({ ...env, PTERODACTYL_CLIENT_API_KEY: wizard.sim.keys.client });
    await tested(api, { pterodactylUrl: elsewhere.url, pterodactylApiKey: 'typed' });
    expect(elsewhere.requests.filter(({ url }) => url?.includes('/api/client'))).toEqual([]);
    expect(JSON.stringify(elsewhere.requests)).not.toContain(wizard.sim.keys.client);
  });

  test('tests VirtFusion alone and together with Pterodactyl', async () => {
    const api = await wizard.start();
    const vf = { virtfusionUrl: `${wizard.virtfusion.url}/`, virtfusionApiKey: VF_KEY };
    const good = { success: true, latency: expect.any(Number), serverCount: null, error: null };
    expect(await tested(api, vf)).toEqual({ success: true, testResults: { virtfusion: good } });
    expect(await tested(api, { ...vf, ...wizard.panel() })).toMatchObject({
      testResults: { virtfusion: good, pterodactyl: { success: true, serverCount: 7 } },
    });
  });

  test('a failure is a result with a message of this service', async () => {
    const api = await wizard.start();
    const failing = async (body: object, error: string) => {
      const [name] = Object.keys(body)[0]?.split('Url') ?? [];
      expect(await tested(api, body)).toEqual({
        success: true,
        testResults: { [name ?? '']: { success: false, latency: expect.any(Number), serverCount: null, error } },
      });
    };
    await failing({ ...wizard.panel(), pterodactylApiKey: 'ptla_wrong' }, 'The panel refused the API key');
    await failing({ ...wizard.panel(), pterodactylApiKey: wizard.sim.keys.noRights }, 'The panel refused the API key');
    await failing({ virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: 'wrong' }, 'The panel refused the API key');
  });

  test('not reached, not the API and a redirect have sentences of their own (C-3)', async () => {
    const api = await wizard.start();
    const elsewhere = 'https://panel.example';
    let answer: [status: number, headers: Record<string, string>, body: string] = [200, {}, ''];
    const server = await wizard.serve((_request, response) => {
      response.writeHead(answer[0], answer[1]);
      response.end(answer[2]);
    });
    const errors = async () => {
      const { testResults } = (await tested(api, {
        pterodactylUrl: server.url,
        pterodactylApiKey: 'k',
        virtfusionUrl: server.url,
        virtfusionApiKey: 'k',
      })) as { testResults: Record<'pterodactyl' | 'virtfusion', { error: string }> };
      return [testResults.pterodactyl.error, testResults.virtfusion.error];
    };
    answer = [200, {}, '<html>upstream-body'];
    const page = /^A web page came in place of an answer of (the panel|VirtFusion) \(status 200\)/;
    expect(await errors()).toEqual([expect.stringMatching(page), expect.stringMatching(page)]);
    answer = [302, { location: `${elsewhere}/panel/api/application/servers?secret=upstream-body` }, ''];
    const to = (who: string) => `${who} redirects to ${elsewhere}/panel: enter that address`;
    expect(await errors()).toEqual([to('The panel'), to('VirtFusion')]);
    await server.close();
    const closed = (who: string) => `${who} cannot be reached: nothing accepts connections there (connection refused)`;
    expect(await errors()).toEqual([closed('The panel'), closed('VirtFusion')]);
  });

  test('a panel that does not answer is a result after the timeout', async () => {
    const silent = await wizard.serve(() => {});
    const url = await wizard.startAlone(await wizard.start(), { timeoutMs: 100 });
    const body = {
      pterodactylUrl: silent.url,
      pterodactylApiKey: 'k',
      virtfusionUrl: silent.url,
      virtfusionApiKey: 'k',
    };
    const answer: unknown = await (await fetch(`${url}${TEST}`, json(body))).json();
    const late = (who: string) => ({ success: false, serverCount: null, error: `${who} did not answer in time` });
    expect(answer).toMatchObject({ testResults: { pterodactyl: late('The panel'), virtfusion: late('VirtFusion') } });
  });

  test('a request without a key sends the stored key to the stored origin only', async () => {
    const elsewhere = await wizard.serve((_request, response) => response.end('{}'));
    const own = await wizard.serve((_request, response) => response.end('{"object":"list","data":[]}'));
    const api = await wizard.start({
      PTERODACTYL_URL: own.url,
      CF_ACCESS_CLIENT_ID: 'cf-id',
      CF_ACCESS_CLIENT_SECRET: 'cf-secret',
    });
    const admin = await wizard.administrator();
    await save(api, { pterodactylUrl: own.url, pterodactylApiKey: 'stored-key' }, admin);
    await save(api, { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY }, admin);
    for (const key of [SECRET_MASK, '', null]) {
      const same = {
        pterodactylUrl: `${own.url}/`,
        pterodactylApiKey: key,
        virtfusionUrl: wizard.virtfusion.url,
        virtfusionApiKey: key,
      };
      expect(await tested(api, same, admin)).toMatchObject({
        testResults: { pterodactyl: { success: true, serverCount: null }, virtfusion: { success: true } },
      });
      const other = { pterodactylUrl: elsewhere.url, pterodactylApiKey: key, virtfusionUrl: elsewhere.url };
      const missingKey = {
        success: false,
        latency: null,
        serverCount: null,
        error: 'Enter the API key to test this URL',
      };
      expect(await tested(api, other, admin)).toMatchObject({
        testResults: { pterodactyl: missingKey, virtfusion: missingKey },
      });
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

  test('neither keys nor texts of the panel are in the answer or in the log', async () => {
    const api = await wizard.start();
    const loud = await wizard.serve((request, response) => {
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
      await tested(api, { ...wizard.panel(), virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY }),
    ];
    expect(loud.requests).toHaveLength(2);
    for (const text of [JSON.stringify(answers), api.logged()]) {
      for (const secret of ['typed', 'upstream-body', wizard.sim.keys.full, VF_KEY]) expect(text).not.toContain(secret);
    }
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['a URL without a scheme', { pterodactylUrl: 'panel.example', pterodactylApiKey: 'k' }, /^The URL: .*http/],
    ['another scheme', { virtfusionUrl: 'file:///etc/passwd', virtfusionApiKey: 'k' }, /^The URL: .*http/],
    ['a query', { pterodactylUrl: 'https://a.example/?b=c', pterodactylApiKey: 'k' }, /^The URL: .*query/],
    ['a URL that is a number', { virtfusionUrl: 7, virtfusionApiKey: 'k' }, /^The URL: \S/],
    ['a part of the mask', { pterodactylUrl: 'https://a.example', pterodactylApiKey: '•••x' }, /^The API key: .*mask/],
    ['a key with a blank', { virtfusionUrl: 'https://a.example', virtfusionApiKey: 'k-1 k-2' }, /^The API key: .*char/],
    ['a key that is a list', { pterodactylUrl: 'https://a.example', pterodactylApiKey: ['k'] }, /^The API key: \S/],
    [
      'a wrong URL and a wrong key',
      { pterodactylUrl: 'panel.example', pterodactylApiKey: 'a b' },
      /^The (URL|API key): \S/,
    ],
    ['a key without a URL', { pterodactylApiKey: 'k' }, /^Enter the URL of the panel$/],
    ['a key and an empty URL', { virtfusionUrl: ' ', virtfusionApiKey: 'k' }, /^Enter the URL of the panel$/],
    ['a URL without a key', { virtfusionUrl: 'https://a.example' }, /^Enter the API key to test this URL$/],
  ])('%s is a failed result without a request', async (_name, body, error) => {
    const api = await wizard.start();
    const name = 'pterodactylUrl' in body || 'pterodactylApiKey' in body ? 'pterodactyl' : 'virtfusion';
    const answer = await tested(api, body);
    const result = { success: false, latency: null, serverCount: null, error: expect.stringMatching(error) };
    expect(answer).toEqual({ success: true, testResults: { [name]: result } });
    // The answer does not repeat the text of a secret field.
    for (const typed of ['•••x', 'k-1']) expect(JSON.stringify(answer)).not.toContain(typed);
  });

  test('an invalid field of one panel does not prevent the test of the other', async () => {
    const api = await wizard.start();
    const answer = await tested(api, { ...wizard.panel(), virtfusionUrl: 'vf.example', virtfusionApiKey: VF_KEY });
    expect(answer).toMatchObject({
      testResults: { pterodactyl: { success: true, serverCount: 7 }, virtfusion: { success: false, latency: null } },
    });
  });

  test.each([true, false, null, 'yes', 7, {}, undefined])('testConnections is ignored: %j', async (testConnections) => {
    const api = await wizard.start();
    expect(await tested(api, { ...wizard.panel(), testConnections })).toMatchObject({
      testResults: { pterodactyl: { success: true } },
    });
  });

  test.each([{}, { testConnections: true }, { siteUrl: 'https://a.example' }, { pterodactylApi: 'k' }])(
    '%j is refused, because it names no panel',
    async (body) => {
      const api = await wizard.start();
      const response = await api.get(TEST, json(body));
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({
        code: 'VALIDATION_ERROR',
        error: 'pterodactylUrl or virtfusionUrl is required',
        details: [{ path: 'body.pterodactylUrl' }],
      });
    },
  );

  test('a client address has 60 tests in 10 minutes, with or without an account; saves are not counted', async () => {
    const api = await wizard.start();
    const admin = await wizard.administrator();
    const body = { pterodactylApiKey: 'k' };
    const test = () => api.get(TEST, json(body, admin));
    const answers = await Promise.all(Array.from({ length: 60 }, test));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(new Set(answers.map(({ headers }) => headers.get('x-ratelimit-limit')))).toEqual(new Set(['60']));
    const refused = await test();
    const wait = Number(refused.headers.get('retry-after'));
    // The limit gives back one request every ten seconds.
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(10);
    expect([refused.status, await refused.json()]).toEqual([
      429,
      {
        success: false,
        error: `Rate limit exceeded. Maximum 60 requests per 10m0s. Retry after ${wait} seconds.`,
        code: 'RATE_LIMITED',
      },
    ]);
    expect((await save(api, { siteName: 'A' }, admin)).status).toBe(200);
    await wizard.database.db.raw('update rate_limits set updated_at = updated_at - make_interval(secs => ?)', [wait]);
    expect((await test()).status).toBe(200);
  });
});

describe('refused addresses', () => {
  const refused = {
    success: false,
    latency: null,
    serverCount: null,
    error: 'This address may not be reached from here',
  };
  const port = () => new URL(wizard.sim.url).port;
  const both = (url: string) => ({
    pterodactylUrl: url,
    pterodactylApiKey: wizard.sim.keys.full,
    virtfusionUrl: url,
    virtfusionApiKey: VF_KEY,
  });

  test('in production a caller without an account reaches no internal address, in any spelling', async () => {
    const api = await wizard.start(production);
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
    expect([wizard.sim.requests, wizard.virtfusion.requests]).toEqual([[], []]);
  });

  test('a name with an internal address is refused, also when it has a public address, too', async () => {
    const api = await wizard.start(production);
    for (const addresses of [['127.0.0.1'], ['1.1.1.1', '192.168.1.1'], ['fd00::1'], ['::ffff:10.1.1.1']]) {
      const resolve = async () => addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
      const url = await wizard.startAlone(api, { resolve });
      const answer: unknown = await (await fetch(`${url}${TEST}`, json(both(`http://panel.example:${port()}`)))).json();
      expect(answer, addresses.join()).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
    }
    expect(wizard.sim.requests).toEqual([]);
  });

  test('outside production the local machine may be reached, private networks may not', async () => {
    const api = await wizard.start();
    expect(await tested(api, wizard.panel())).toMatchObject({ testResults: { pterodactyl: { success: true } } });
    const answer = await tested(api, both('http://192.168.77.77'));
    expect(answer).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
  });

  test('in production an administrator reaches private networks, but never a cloud’s metadata address', async () => {
    const api = await wizard.start(production);
    const admin = await wizard.administrator();
    expect(await tested(api, wizard.panel(), admin)).toMatchObject({ testResults: { pterodactyl: { success: true } } });
    const resolve = async () => [{ address: '169.254.169.254', family: 4 }];
    const url = await wizard.startAlone(api, { resolve });
    const answer: unknown = await (await fetch(`${url}${TEST}`, json(both('http://panel.example'), admin))).json();
    expect(answer).toMatchObject({ testResults: { pterodactyl: refused, virtfusion: refused } });
  });

  const plainAdministrator = async () =>
    bearer((await makeUser({ database: wizard.database }, { roles: ['ADMINISTRATOR'] })).token);

  test('an administrator who administers no system reaches the public internet only (S12)', async () => {
    const api = await wizard.start(production);
    await wizard.administrator();
    const admin = await plainAdministrator();
    expect(await tested(api, both(wizard.sim.url), admin)).toMatchObject({
      testResults: { pterodactyl: refused, virtfusion: refused },
    });
    expect([wizard.sim.requests, wizard.virtfusion.requests]).toEqual([[], []]);
  });

  test('the URL of the environment and a stored URL are tested by every administrator (S12)', async () => {
    const api = await wizard.start({ ...production, PTERODACTYL_URL: wizard.sim.url });
    const system = await wizard.administrator();
    const vf = { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY };
    expect((await save(api, vf, system)).status).toBe(200);
    const good = { success: true };
    expect(await tested(api, { ...wizard.panel(), ...vf }, await plainAdministrator())).toMatchObject({
      testResults: { pterodactyl: good, virtfusion: good },
    });
  });

  test('a URL that was stored without an account is judged as a new one (S12)', async () => {
    const api = await wizard.start(production);
    expect((await save(api, both(wizard.virtfusion.url))).status).toBe(200);
    expect(await tested(api, both(wizard.virtfusion.url))).toMatchObject({
      testResults: { pterodactyl: refused, virtfusion: refused },
    });
  });

  test('an unchanged URL of the environment is not judged when a form sends it back (S12)', async () => {
    const url = 'http://169.254.169.254';
    const api = await wizard.start({ PTERODACTYL_URL: url });
    const admin = await wizard.administrator();
    expect((await save(api, { pterodactylUrl: `${url}/`, siteName: 'A' }, admin)).status).toBe(200);
    const other = await save(api, { pterodactylUrl: `${url}:81`, pterodactylApiKey: 'k' }, admin);
    expect([other.status, (await other.json()).error]).toEqual([
      400,
      'pterodactylUrl: this address may not be reached',
    ]);
  });

  test.each([
    'http://169.254.169.254/latest',
    'http://2852039166',
    'http://[fe80::1]',
    'http://[::ffff:a9fe:a9fe]',
    'http://0',
  ])('%s is refused by a save and fails a test, with and without an account', async (url) => {
    const api = await wizard.start();
    const body = { pterodactylUrl: url, pterodactylApiKey: 'k' };
    // The administrator comes last, because an administrator closes the wizard to other callers.
    for (const caller of [async () => ({}), wizard.administrator]) {
      const headers = await caller();
      const response = await save(api, body, headers);
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ details: [{ path: 'body.pterodactylUrl' }] });
      expect(await tested(api, body, headers)).toEqual({
        success: true,
        testResults: { pterodactyl: refused },
      });
    }
    expect(await wizard.stored('pterodactyl_url')).toBeUndefined();
  });

  test('a redirect is not followed', async () => {
    const api = await wizard.start();
    const redirecting = await wizard.serve((_request, response) => {
      response.writeHead(307, { location: `${wizard.sim.url}/api/application/servers?per_page=1` });
      response.end();
    });
    const answer = await tested(api, both(redirecting.url));
    const failed = {
      success: false,
      serverCount: null,
      error: expect.stringMatching(/redirects to http.*: enter that/),
    };
    expect(answer).toMatchObject({ testResults: { pterodactyl: failed, virtfusion: failed } });
    expect([redirecting.requests.length, wizard.sim.requests.length]).toEqual([2, 0]);
  });
});
