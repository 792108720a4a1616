/** The set-up wizard: its steps, its state, and the callers that may use it. */
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

const EMPTY_STATE = {
  success: true,
  isComplete: false,
  components: { siteInfo: false, pterodactylConfig: false, virtfusionConfig: false },
  configured: { siteName: null, siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null },
};

describe('the wizard of a new installation', () => {
  test('answers without signing in that nothing is configured, also to an invalid access token', async () => {
    const api = await wizard.start();
    expect(await state(api)).toEqual(EMPTY_STATE);
    expect((await api.get(SAVE, { headers: bearer('stale') })).status).toBe(200);
    expect((await save(api, {}, bearer('stale'))).status).toBe(200);
  });

  test('saves and shows a step; saving it again changes nothing', async () => {
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

  test('missing fields are not changed, null and empty texts clear a field, an empty body is accepted', async () => {
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

  test('secrets are stored encrypted; the mask, an empty text and null do not change them', async () => {
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

  test('a panel with URL and key completes the wizard and closes it to callers without an account', async () => {
    const api = await wizard.start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example' });
    expect((await save(api, { ...wizard.panel(), pterodactylApi: 'application' })).status).toBe(200);
    expect(await state(api)).toEqual({
      success: true,
      isComplete: true,
      components: { siteInfo: true, pterodactylConfig: true, virtfusionConfig: false },
      configured: { ...EMPTY_STATE.configured, siteName: 'A' },
    });
    const runtime = await api.deps.settings.runtime();
    expect([runtime.panelUrl, runtime.panelApiKey?.reveal()]).toEqual([wizard.sim.url, wizard.sim.keys.full]);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    expect((await save(api, { siteName: 'B' }, await wizard.administrator())).status).toBe(200);
    expect(await wizard.stored('site_name')).toBe('B');
  });

  test('a panel URL without a key is shown and does not complete the wizard', async () => {
    const api = await wizard.start();
    await save(api, { pterodactylUrl: 'https://panel.example/', virtfusionUrl: 'https://vf.example/app/' });
    expect(await state(api)).toMatchObject({
      isComplete: false,
      components: { pterodactylConfig: false, virtfusionConfig: false },
      configured: { pterodactylUrl: 'https://panel.example', virtfusionUrl: 'https://vf.example/app' },
    });
  });

  test('VirtFusion alone completes the wizard', async () => {
    const api = await wizard.start();
    await save(api, { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY });
    expect(await state(api)).toMatchObject({ isComplete: true, components: { virtfusionConfig: true } });
    expect((await save(api, {})).status).toBe(401);
  });

  test.each([
    ['PTERODACTYL', { pterodactylConfig: true, virtfusionConfig: false }],
    ['VIRTFUSION', { pterodactylConfig: false, virtfusionConfig: true }],
  ])('a panel that the environment configures completes the wizard: %s', async (name, components) => {
    const api = await wizard.start({ [`${name}_URL`]: 'https://env.example', [`${name}_API_KEY`]: 'env-key' });
    expect(await state(api)).toMatchObject({ isComplete: true, components, configured: EMPTY_STATE.configured });
    expect((await save(api, {})).status).toBe(401);
  });

  test('parallel saves all succeed, and the stored values are those of one save', async () => {
    const api = await wizard.start();
    const steps = Array.from({ length: 8 }, (_, i) => ({ siteName: `n${i}`, siteUrl: `https://n${i}.example` }));
    const answers = await Promise.all(steps.map((step) => save(api, step)));
    expect(answers.map((answer) => answer.status)).toEqual(steps.map(() => 200));
    expect(await wizard.stored('site_url')).toBe(`https://${await wizard.stored('site_name')}.example`);
  });

  test('after two parallel saves of a panel, URL and key are of the same save', async () => {
    const api = await wizard.start();
    const answers = await Promise.all(
      [1, 2].map((i) => save(api, { pterodactylUrl: `https://p${i}.example`, pterodactylApiKey: `key-${i}` })),
    );
    for (const { status } of answers) expect([200, 401]).toContain(status);
    const runtime = await api.deps.settings.runtime();
    const [, saver] = /p(\d)/.exec(runtime.panelUrl ?? '') ?? [];
    expect(runtime.panelApiKey?.reveal()).toBe(`key-${saver}`);
    expect((await save(api, {})).status).toBe(401);
  });
});

describe('callers', () => {
  test.each([
    ['with the flag', { isSystemAdmin: true }],
    ['with the role', { roles: ['SUPER_ADMIN'] }],
    ['with a disabled account', { isSystemAdmin: true, isActive: false }],
  ])('a system administrator %s closes the wizard to callers without an account', async (_name, user) => {
    const api = await wizard.start();
    await save(api, { siteName: 'A', siteUrl: 'https://a.example', pterodactylUrl: 'https://panel.example' });
    await makeUser(wizard, user);
    for (const path of [SAVE, TEST]) expect((await api.get(path, json({ siteName: 'B' }))).status, path).toBe(401);
    const shown = { siteName: 'A', siteUrl: null, faviconUrl: null, pterodactylUrl: null, virtfusionUrl: null };
    expect(await state(api)).toMatchObject({ isComplete: false, configured: shown });
    expect(await wizard.stored('site_name')).toBe('A');
  });

  test('with a system administrator, administrators may save and other callers are refused', async () => {
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

  test('accounts that are not system administrators leave the wizard open', async () => {
    const api = await wizard.start();
    await makeUser(wizard, { roles: ['ADMINISTRATOR'] });
    await makeUser(wizard);
    expect((await save(api, { siteName: 'A' })).status).toBe(200);
  });

  test.each([
    ['pterodactyl', 'PTERODACTYL_API_KEY'],
    ['virtfusion', 'VIRTFUSION_API_KEY'],
  ])('a caller without an account cannot combine the configured key with a new URL: %s', async (name, variable) => {
    const api = await wizard.start({ [variable]: 'env-key' });
    const url = { [`${name}Url`]: 'https://attacker.example' };
    const refused = await save(api, { ...url, [`${name}ApiKey`]: SECRET_MASK, siteName: 'X' });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({
      error: `${name}ApiKey: a new URL needs its API key`,
      details: [{ path: `body.${name}ApiKey` }],
    });
    expect(await wizard.stored('site_name')).toBeUndefined();
    expect((await save(api, { ...url, [`${name}ApiKey`]: 'new-key' })).status).toBe(200);
  });
});
