import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FaultAction } from '../../../simulators/panel/http/faults.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { type ConfigRow, configRows } from '../../../src/cli/doctor/config.ts';
import { checkPanel } from '../../../src/cli/doctor/upstreams.ts';
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
    sim = await startPanelSimulator({ servers: 1, users: 1 });
  });
  beforeEach(() => sim.reset());
  afterAll(() => sim.close());

  const check = (url = sim.url) =>
    checkPanel(
      { url, apiKey: new Secret(sim.keys.full), cfAccessClientId: undefined, cfAccessClientSecret: undefined },
      undefined,
    );

  test('is read, with the address of its API, too', async () => {
    expect(await check()).toMatchObject({ state: 'ok', detail: expect.stringContaining('3 locations') });
    expect(await check(`${sim.url}/api/application`)).toMatchObject({ state: 'ok' });
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
    const found = await check();
    expect(found).toMatchObject({ state: 'failed', detail: expect.stringMatching(detail) });
    expect(found.advice).toMatch(advice);
  });

  test('a stored URL may not lead to a metadata service (S12)', async () => {
    const found = await check('http://169.254.169.254:1');
    expect(found).toMatchObject({ state: 'failed', detail: expect.stringContaining('may not be reached from here') });
  });
});
