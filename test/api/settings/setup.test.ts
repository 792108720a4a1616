/** The first-run wizard: its steps, how far it is, and who may go on with it. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SECRET_MASK } from '../../../src/domain/settings.ts';
import { API_KEY, bearer, json, makeUser } from '../../support/api/harness.ts';
import { prepareWizard, SAVE, save, state, TEST, VF_KEY, type Wizard } from '../../support/api/wizard.ts';

let wizard: Wizard;
beforeAll(async () => {
  wizard = await prepareWizard();
});
beforeEach(() => wizard.empty());
afterEach(() => wizard.closeAll());
afterAll(() => wizard.stop());

const NOTHING = {
  success: true,
  isComplete: false,
  components: { siteInfo: false, pterodactylConfig: false, virtfusionConfig: false },
  configured: { siteName: null, siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null },
};

describe('the wizard from its beginning', () => {
  test('nothing is configured: said without signing in, with a stale bearer too', async () => {
    const api = await wizard.start();
    expect(await state(api)).toEqual(NOTHING);
    expect((await api.get(SAVE, { headers: bearer('stale') })).status).toBe(200);
    expect((await save(api, {}, bearer('stale'))).status).toBe(200);
  });

  test('steps are saved and shown; the same step twice is the same', async () => {
    const api = await wizard.start();
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
    const api = await wizard.start();
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
    expect([await wizard.stored('site_url'), await wizard.stored('crowdin_project_id')]).toEqual(['', '7']);
  });

  test('secrets rest encrypted; mask, empty and null leave them', async () => {
    const api = await wizard.start();
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
    for (const key of keys) expect(await wizard.stored(key), key).not.toContain('secret');
    expect(JSON.stringify(await state(api))).not.toContain('secret');
    expect(api.logged()).not.toContain('secret-');
  });

  test('a panel with URL and key completes it and closes it for strangers', async () => {
    const api = await wizard.start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example' });
    expect((await save(api, { ...wizard.panel(), pterodactylApi: 'application' })).status).toBe(200);
    expect(await state(api)).toEqual({
      success: true,
      isComplete: true,
      components: { siteInfo: true, pterodactylConfig: true, virtfusionConfig: false },
      configured: { ...NOTHING.configured, siteName: 'A' },
    });
    const runtime = await api.deps.settings.runtime();
    expect([runtime.panelUrl, runtime.panelApiKey?.reveal()]).toEqual([wizard.sim.url, wizard.sim.keys.full]);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    expect((await save(api, { siteName: 'B' }, await wizard.administrator())).status).toBe(200);
    expect(await wizard.stored('site_name')).toBe('B');
  });

  test('a URL alone does not complete it, and is shown', async () => {
    const api = await wizard.start();
    await save(api, { pterodactylUrl: 'https://panel.example/', virtfusionUrl: 'https://vf.example/app/' });
    expect(await state(api)).toMatchObject({
      isComplete: false,
      components: { pterodactylConfig: false, virtfusionConfig: false },
      configured: { pterodactylUrl: 'https://panel.example', virtfusionUrl: 'https://vf.example/app' },
    });
  });

  test('VirtFusion alone completes it', async () => {
    const api = await wizard.start();
    await save(api, { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY });
    expect(await state(api)).toMatchObject({ isComplete: true, components: { virtfusionConfig: true } });
    expect((await save(api, {})).status).toBe(401);
  });

  test.each([
    ['PTERODACTYL', { pterodactylConfig: true, virtfusionConfig: false }],
    ['VIRTFUSION', { pterodactylConfig: false, virtfusionConfig: true }],
  ])('a panel of the environment counts: %s', async (name, components) => {
    const api = await wizard.start({ [`${name}_URL`]: 'https://env.example', [`${name}_API_KEY`]: 'env-key' });
    expect(await state(api)).toMatchObject({ isComplete: true, components, configured: NOTHING.configured });
    expect((await save(api, {})).status).toBe(401);
  });

  test('savers at once all succeed and leave the values of one of them', async () => {
    const api = await wizard.start();
    const steps = Array.from({ length: 8 }, (_, i) => ({ siteName: `n${i}`, siteUrl: `https://n${i}.example` }));
    const answers = await Promise.all(steps.map((step) => save(api, step)));
    expect(answers.map((answer) => answer.status)).toEqual(steps.map(() => 200));
    expect(await wizard.stored('site_url')).toBe(`https://${await wizard.stored('site_name')}.example`);
  });

  test('two who configure a panel at once: URL and key are of one of them', async () => {
    const api = await wizard.start();
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
    const api = await wizard.start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example', pterodactylUrl: 'https://panel.example' });
    await makeUser(wizard, user);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    const shown = { siteName: 'A', siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null };
    expect(await state(api)).toMatchObject({ isComplete: false, configured: shown });
    expect(await wizard.stored('site_name')).toBe('A');
  });

  test('administrators go on, others are refused', async () => {
    const api = await wizard.start();
    const system = await wizard.administrator();
    const other = await makeUser(wizard, { roles: ['ADMINISTRATOR'] });
    const member = await makeUser(wizard);
    expect((await save(api, { siteName: 'S' }, system)).status).toBe(200);
    expect((await save(api, { siteName: 'O' }, bearer(other.token))).status).toBe(200);
    expect((await save(api, { siteName: 'M' }, bearer(member.token))).status).toBe(403);
    expect((await save(api, { siteName: 'X' }, { 'X-API-Key': API_KEY })).status).toBe(401);
    expect(await wizard.stored('site_name')).toBe('O');
  });

  test('accounts without full rights leave it open', async () => {
    const api = await wizard.start();
    await makeUser(wizard, { roles: ['ADMINISTRATOR'] });
    await makeUser(wizard);
    expect((await save(api, { siteName: 'A' })).status).toBe(200);
  });

  test.each([
    ['pterodactyl', 'PTERODACTYL_API_KEY'],
    ['virtfusion', 'VIRTFUSION_API_KEY'],
  ])('a stranger cannot point a key that is there at a URL of theirs: %s', async (name, variable) => {
    const api = await wizard.start({ [variable]: 'env-key' });
    const url = { [`${name}Url`]: 'https://theirs.example' };
    const refused = await save(api, { ...url, [`${name}ApiKey`]: SECRET_MASK, siteName: 'X' });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({
      error: `${name}ApiKey: a new URL needs its API key`,
      details: [{ path: `body.${name}ApiKey` }],
    });
    expect(await wizard.stored('site_name')).toBeUndefined();
    expect((await save(api, { ...url, [`${name}ApiKey`]: 'their-key' })).status).toBe(200);
  });
});
