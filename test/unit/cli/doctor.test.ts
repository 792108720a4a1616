import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import type { FaultAction } from '../../../simulators/panel/http/faults.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { type ConfigRow, configRows } from '../../../src/cli/doctor/config.ts';
import { checkEmail, type EmailSettings } from '../../../src/cli/doctor/email.ts';
import { checkPanel } from '../../../src/cli/doctor/upstreams.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { SECRET_MASK } from '../../../src/domain/settings.ts';

const none = new Set<string>();
const empty = new Map<string, string>();
const find = (rows: readonly ConfigRow[], name: string) => {
  const row = rows.find((one) => one.name === name);
  return [row?.origin, row?.value];
};

describe('doctor: origin and value of a variable', () => {
  test.each([
    ['BACKEND_PORT', {}, {}, empty, none, ['default', '8080']],
    ['BACKEND_PORT', { BACKEND_PORT: '' }, {}, empty, none, ['default', '8080']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, {}, empty, none, ['environment', '9']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, { BACKEND_PORT: '9' }, empty, none, ['.env', '9']],
    ['BACKEND_PORT', { BACKEND_PORT: '9' }, { BACKEND_PORT: '8' }, empty, none, ['environment', '9']],
    ['CACHE_DIR', {}, {}, empty, none, ['not set', '']],
    ['SITE_URL', { SITE_URL: 'a' }, {}, new Map([['site_url', 'b']]), none, ['database', 'b']],
    ['SITE_URL', { SITE_URL: 'a' }, {}, new Map([['site_url', '']]), none, ['environment', 'a']],
    ['JWT_SECRET', {}, {}, empty, new Set(['JWT_SECRET']), ['data folder', SECRET_MASK]],
    ['JWT_SECRET', { JWT_SECRET: 'x' }, {}, empty, none, ['environment', SECRET_MASK]],
    ['PTERODACTYL_URL', { PTERODACTYL_URL: 'https://u:p@h/x' }, {}, empty, none, ['environment', 'https://…@h/x']],
  ] as const)('%s of %j, .env %j', (name, env, dotEnv, stored, generated, expected) => {
    expect(find(configRows(env, dotEnv, stored, generated), name)).toEqual(expected);
  });
});

describe('doctor: the panel', () => {
  let sim: PanelSimulator;
  beforeAll(async () => {
    sim = await startPanelSimulator({ servers: 1, users: 3 });
  });
  beforeEach(() => sim.reset());
  afterAll(() => sim.close());

  const check = (
    url = sim.url,
    { apiKey = sim.keys.full, clientApiKey }: { apiKey?: string; clientApiKey?: string } = {},
  ) =>
    checkPanel(
      {
        url,
        apiKey: new Secret(apiKey),
        clientApiKey: clientApiKey === undefined ? undefined : new Secret(clientApiKey),
        cfAccessClientId: undefined,
        cfAccessClientSecret: undefined,
      },
      undefined,
    );

  test('is read, with the address of its API, too', async () => {
    const rights = { name: 'Panel rights', state: 'ok' };
    expect(await check()).toMatchObject([
      { state: 'ok', detail: expect.stringContaining('1 servers, 240 req') },
      rights,
    ]);
    expect(await check(`${sim.url}/api/application`)).toMatchObject([{ state: 'ok' }, rights]);
  });

  test('each right that the key lacks is named, with what it is for (F6)', async () => {
    const rights = ['locations', 'nodes', 'allocations', 'nests', 'eggs', 'servers'] as const;
    const [panel, found] = await check(sim.url, { apiKey: sim.addKey({ rights }) });
    expect(panel?.state).toBe('ok');
    expect(found).toMatchObject({
      name: 'Panel rights',
      state: 'failed',
      detail:
        'Users is missing: users, owners and subusers of servers; Server Databases is missing (optional): databases of servers; Database Hosts is not known: no record was read that would tell',
      advice: expect.stringContaining('"Read" for Users, Server Databases'),
    });
    const optional = await check(sim.url, { apiKey: sim.addKey({ rights: [...rights, 'users'] }) });
    expect(optional).toMatchObject([{ state: 'ok' }, { state: 'warning' }]);
  });

  test.each([
    ['client', 'ok', /administrator/],
    ['userClient', 'warning', /no administrator of the panel/],
    ['full', 'warning', /refused the client API key/],
  ] as const)('the client key is looked at as what it is: %s (F6)', async (key, state, detail) => {
    const checks = await check(sim.url, { clientApiKey: sim.keys[key] });
    expect(checks[2]).toMatchObject({ name: 'Panel client key', state, detail: expect.stringMatching(detail) });
  });

  test.each<[FaultAction, RegExp, RegExp]>([
    [{ kind: 'gateway', status: 403, challenge: true }, /: A firewall in front of the panel/, /sync\.md/],
    [{ kind: 'php-notice' }, /: The panel prints PHP messages/, /sync\.md/],
    [
      { kind: 'gateway', status: 301, location: 'https://panel.example/api/x' },
      /: The panel redirects to https:\/\/panel\.example: enter that address/,
      /sync\.md/,
    ],
    [{ kind: 'status', status: 403 }, /: The panel refused the API key/, /application API key/],
    [{ kind: 'reset' }, /: The panel cannot be reached: the connection was closed/, /PTERODACTYL_URL/],
  ])('%j: the finding says what happened and what to do (C-3)', async (action, detail, advice) => {
    sim.faults.add({ action });
    const [found, ...more] = await check();
    expect(found).toMatchObject({ state: 'failed', detail: expect.stringMatching(detail) });
    expect(found?.advice).toMatch(advice);
    expect(more).toEqual([]);
  });

  test('a stored URL may not lead to a metadata service (S12)', async () => {
    const [found] = await check('http://169.254.169.254:1');
    expect(found).toMatchObject({ state: 'failed', detail: expect.stringContaining('may not be reached from here') });
  });
});

describe('doctor: the way of emails', () => {
  const from = { name: 'NodeByte', address: 'noreply@nodebyte.example' };
  let catcher: EmailCatcher;
  beforeAll(async () => {
    catcher = await startEmailCatcher({ smtpPort: 0, domains: ['nodebyte.example'] });
  });
  afterAll(() => catcher.close());
  const stateOf = async (env: Record<string, string>, settings: Partial<EmailSettings> = {}) => {
    const config = loadConfig({ RESEND_BASE_URL: catcher.url, ...env });
    const checks = await checkEmail(config, { resendApiKey: config.email.resendApiKey, from, ...settings });
    return checks.map(({ name, state, detail }) => `${name} ${state}: ${detail}`);
  };
  const smtpUrl = () => catcher.smtpUrl ?? '';

  test('it connects and logs in, and sends nothing (M-1)', async () => {
    expect(await stateOf({})).toEqual([expect.stringMatching(/^Email warning: no provider/)]);
    expect(await stateOf({ RESEND_API_KEY: catcher.apiKey })).toEqual([
      'Email ok: Resend accepts the key and the domain nodebyte.example; sender NodeByte <noreply@nodebyte.example>',
    ]);
    expect(await stateOf({ RESEND_API_KEY: 'wrong' })).toEqual([
      expect.stringMatching(/^Email failed: Resend: The email provider refuses the API key/),
    ]);
    expect(await stateOf({ SMTP_URL: smtpUrl() })).toEqual([expect.stringMatching(/^Email ok: .*login is accepted/)]);
    expect(await stateOf({ SMTP_URL: smtpUrl().replace(catcher.apiKey, 'wrong') })).toEqual([
      expect.stringMatching(/^Email failed: SMTP_URL: The email server refuses the login \(535/),
    ]);
    expect(catcher.emails()).toEqual([]);
  });

  test('it warns of SMTP_ALLOW_PLAINTEXT (S8), names an unusable sender (M-3) and emails that wait (M-2)', async () => {
    expect(await stateOf({ SMTP_URL: smtpUrl(), SMTP_ALLOW_PLAINTEXT: 'true' })).toEqual([
      expect.stringMatching(/^Email warning: /),
    ]);
    const held = { count: 3, since: new Date(0), reason: 'The email provider refuses the sender' };
    expect((await stateOf({}, { from: undefined, held })).slice(1)).toEqual([
      'Email sender failed: the setting email_from is not a sender, so no email is sent',
      'Emails warning: 3 wait since 1970-01-01T00:00:00.000Z: The email provider refuses the sender',
    ]);
  });
});
