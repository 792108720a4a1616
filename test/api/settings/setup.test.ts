/** The set-up wizard: its steps, its state, and the callers that may use it. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SECRET_MASK } from '../../../src/domain/settings.ts';
import { createUser } from '../../../src/services/accounts/register.ts';
import { listAuditEvents } from '../../../src/store/audit/audit-list.ts';
import { noteFirstStart, openSetupWindow, readSetupWindow } from '../../../src/store/settings/setup-window-store.ts';
import { API_KEY, bearer, type Harness, json, makeUser } from '../../support/api/harness.ts';
import { prepareWizard, SAVE, save, state, TEST, tested, VF_KEY, type Wizard } from '../../support/api/wizard.ts';

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
    expect(await listAuditEvents(wizard.database.db, { limit: 1 })).toMatchObject([
      {
        action: 'settings-changed',
        actorType: 'anonymous',
        network: expect.stringMatching(/./),
        details: { after: { siteName: 'My Hosting', siteUrl: 'https://my.example' } },
      },
    ]);
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

  test('saving a panel completes the wizard and does not close it: its later steps are stored (W2)', async () => {
    const api = await wizard.start();
    // The last steps first: any order.
    expect((await save(api, { githubToken: 'ghp_first', crowdinProjectId: '7' })).status).toBe(200);
    expect((await save(api, { ...wizard.panel(), pterodactylApi: 'application' })).status).toBe(200);
    expect(await state(api)).toEqual({
      success: true,
      isComplete: true,
      components: { siteInfo: false, pterodactylConfig: true, virtfusionConfig: false },
      configured: { ...EMPTY_STATE.configured, pterodactylUrl: wizard.sim.url },
    });
    const vf = { virtfusionUrl: wizard.virtfusion.url, virtfusionApiKey: VF_KEY };
    expect(await tested(api, vf)).toMatchObject({ testResults: { virtfusion: { success: true } } });
    for (const step of [vf, { resendApiKey: 're_last' }, { siteName: 'A', siteUrl: 'https://a.example' }, {}]) {
      expect((await save(api, step)).status, JSON.stringify(Object.keys(step))).toBe(200);
    }
    const runtime = await api.deps.settings.runtime();
    expect([runtime.panelUrl, runtime.panelApiKey?.reveal()]).toEqual([wizard.sim.url, wizard.sim.keys.full]);
    expect([runtime.virtfusionApiKey?.reveal(), runtime.email.resendApiKey?.reveal()]).toEqual([VF_KEY, 're_last']);
    expect(await state(api)).toMatchObject({
      components: { siteInfo: true, pterodactylConfig: true, virtfusionConfig: true },
      configured: { siteUrl: 'https://a.example', virtfusionUrl: wizard.virtfusion.url },
    });
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
  });

  test.each([
    ['PTERODACTYL', { pterodactylConfig: true, virtfusionConfig: false }],
    ['VIRTFUSION', { pterodactylConfig: false, virtfusionConfig: true }],
  ])('a panel that the environment configures completes the wizard: %s', async (name, components) => {
    const api = await wizard.start({ [`${name}_URL`]: 'https://env.example', [`${name}_API_KEY`]: 'env-key' });
    expect(await state(api)).toMatchObject({ isComplete: true, components });
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
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    const runtime = await api.deps.settings.runtime();
    const [, saver] = /p(\d)/.exec(runtime.panelUrl ?? '') ?? [];
    expect(runtime.panelApiKey?.reveal()).toBe(`key-${saver}`);
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
});

/** Stores settings that a stranger must not send elsewhere, as an administrator. */
const CONFIGURED = {
  pterodactylUrl: 'https://panel.example',
  pterodactylApiKey: 'ptla_stored',
  virtfusionUrl: 'https://vf.example',
  virtfusionApiKey: 'vf_stored',
};

describe('a secret goes only to the origin it was entered for (S3)', () => {
  test.each(['pterodactyl', 'virtfusion'])(
    'a new URL of %s needs its key, with and without an account',
    async (name) => {
      const api = await wizard.start();
      await save(api, CONFIGURED);
      const url = { [`${name}Url`]: 'https://attacker.example', siteName: 'X' };
      const refused = async (headers: Record<string, string>) => {
        for (const key of [undefined, SECRET_MASK, '', null]) {
          const response = await save(api, { ...url, [`${name}ApiKey`]: key }, headers);
          expect(response.status).toBe(400);
          expect(await response.json()).toMatchObject({
            error: `${name}ApiKey: a new URL needs its API key`,
            details: [{ path: `body.${name}ApiKey` }],
          });
        }
        expect(await wizard.stored('site_name')).toBeUndefined();
      };
      await refused({});
      const admin = await wizard.administrator();
      await refused(admin);
      // Another path of the same origin needs no key.
      expect(
        (await save(api, { [`${name}Url`]: `${CONFIGURED[`${name as 'virtfusion'}Url`]}/sub` }, admin)).status,
      ).toBe(200);
      expect((await save(api, { ...url, [`${name}ApiKey`]: 'new-key' }, admin)).status).toBe(200);
      expect(await wizard.stored(`${name}_url`)).toBe('https://attacker.example');
    },
  );

  test.each([
    ['pterodactyl', 'PTERODACTYL_API_KEY'],
    ['virtfusion', 'VIRTFUSION_API_KEY'],
  ])('a key of the environment goes to no URL of the database: %s', async (name, variable) => {
    const elsewhere = await wizard.serve((_request, response) => response.end('{}'));
    const api = await wizard.start({ [variable]: 'env-key' });
    const admin = await wizard.administrator();
    expect((await save(api, { [`${name}Url`]: elsewhere.url }, admin)).status).toBe(400);
    await wizard.put(`${name}_url`, elsewhere.url);
    const untested = { success: false, latency: null, error: 'Enter the API key to test this URL' };
    expect(await tested(api, { [`${name}Url`]: elsewhere.url }, admin)).toMatchObject({
      testResults: { [name]: untested },
    });
    const runtime = await api.deps.settings.runtime();
    expect([runtime.panelApiKey, runtime.virtfusionApiKey]).toEqual([undefined, undefined]);
    expect(elsewhere.requests).toEqual([]);
  });
});

describe('settings that carry secrets, email or links (S6)', () => {
  const SYSTEM = {
    siteUrl: 'https://evil.example',
    pterodactylUrl: 'https://evil.example',
    pterodactylApiKey: 'ptla_own',
    virtfusionUrl: 'https://evil.example',
    virtfusionApiKey: 'vf_own',
    resendApiKey: 're_own',
    githubToken: 'ghp_own',
    crowdinPersonalToken: 'own',
  };

  test('need a system administrator: another one gets 403 that names the field, and nothing is saved', async () => {
    const api = await wizard.start();
    const system = await wizard.administrator();
    await save(api, { ...CONFIGURED, siteUrl: 'https://real.example', resendApiKey: 're_real' }, system);
    const administrator = await makeUser(wizard, { roles: ['ADMINISTRATOR'] });
    const other = bearer(administrator.token);
    for (const [field, value] of Object.entries(SYSTEM)) {
      const response = await save(api, { siteName: 'X', [field]: value }, other);
      expect(response.status, field).toBe(403);
      expect(await response.json()).toMatchObject({
        error: `${field}: only a system administrator may change it`,
        code: 'FORBIDDEN',
        details: [{ path: `body.${field}` }],
      });
    }
    expect((await save(api, { siteUrl: '' }, other)).status).toBe(403);
    const refused = wizard.database.db('audit_events').where({ action: 'role-refused', target_id: administrator.id });
    expect(await refused).toHaveLength(Object.keys(SYSTEM).length + 1);
    expect([await wizard.stored('site_name'), await wizard.stored('site_url')]).toEqual([
      undefined,
      'https://real.example',
    ]);
    expect((await save(api, { siteUrl: SYSTEM.siteUrl }, system)).status).toBe(200);
  });

  test('a field that comes back as it is counts as untouched', async () => {
    const api = await wizard.start({ VIRTFUSION_URL: 'https://vf.example' });
    const system = await wizard.administrator();
    await save(api, { ...CONFIGURED, siteUrl: 'https://real.example', resendApiKey: 're_real' }, system);
    const other = bearer((await makeUser(wizard, { roles: ['ADMINISTRATOR'] })).token);
    const form = {
      siteName: 'Changed',
      siteUrl: 'https://real.example/',
      faviconUrl: null,
      pterodactylUrl: ' https://panel.example ',
      pterodactylApiKey: SECRET_MASK,
      virtfusionUrl: 'https://vf.example',
      virtfusionApiKey: '',
      githubToken: '',
      resendApiKey: SECRET_MASK,
      crowdinPersonalToken: null,
    };
    expect((await save(api, form, other)).status).toBe(200);
    expect([await wizard.stored('site_name'), await wizard.stored('favicon_url')]).toEqual(['Changed', undefined]);
    expect((await api.deps.settings.runtime()).panelApiKey?.reveal()).toBe('ptla_stored');
  });

  test('a known secret is tested at its own origin only, also by an administrator', async () => {
    const panel = await wizard.serve((_request, response) => response.end('{"object":"list","data":[]}'));
    const listener = await wizard.serve((_request, response) => response.end('{}'));
    const api = await wizard.start({ PTERODACTYL_URL: panel.url, PTERODACTYL_API_KEY: 'ptla_real' });
    await wizard.administrator();
    const other = bearer((await makeUser(wizard, { roles: ['ADMINISTRATOR'] })).token);
    // The recipe of the report: save the listener's URL, then test it.
    expect((await save(api, { pterodactylUrl: listener.url }, other)).status).toBe(403);
    await tested(api, { pterodactylUrl: listener.url }, other);
    expect(await tested(api, { pterodactylUrl: panel.url }, other)).toMatchObject({
      testResults: { pterodactyl: { success: true } },
    });
    expect(panel.requests.length).toBeGreaterThan(0);
    expect(listener.requests).toEqual([]);
  });
});

describe('the window of the wizard (S11)', () => {
  const strangers = { 'X-Forwarded-For': '203.0.113.7' };
  const expire = () => wizard.database.db.raw(`update setup_window set open_until = now() - interval '1 second'`);
  const statuses = async (api: Harness, headers: Record<string, string>) =>
    Promise.all([SAVE, TEST].map(async (path) => (await api.get(path, json(wizard.panel(), headers))).status));

  test('is an hour from the first start on, which later starts do not move, and again after `setup open`', async () => {
    const { db } = wizard.database;
    const api = await wizard.start({ ENV: 'production' });
    expect(await statuses(api, {})).toEqual([200, 200]);
    const { openUntil } = await readSetupWindow(db);
    expect(Math.abs((openUntil?.getTime() ?? 0) - Date.now() - 3_600_000)).toBeLessThan(60_000);
    await noteFirstStart(db);
    expect((await readSetupWindow(db)).openUntil).toEqual(openUntil);
    await expire();
    await noteFirstStart(db);
    expect(await statuses(api, {})).toEqual([401, 401]);
    expect(await state(api)).toMatchObject({ configured: { pterodactylUrl: null } });
    await openSetupWindow(db);
    expect(await statuses(api, {})).toEqual([200, 200]);
  });

  test('a system administrator closes it for good', async () => {
    const api = await wizard.start({ ENV: 'production' });
    const { db } = wizard.database;
    await createUser(db, {
      email: 'first@example.com',
      password: 'First-admin-1',
      roles: ['SUPER_ADMIN'],
      isSystemAdmin: true,
      emailVerified: true,
    });
    expect(await statuses(api, {})).toEqual([401, 401]);
    await db.raw('delete from users');
    expect(await statuses(api, {})).toEqual([401, 401]);
  });

  test('has no end for this machine outside production, and a header cannot claim to be it', async () => {
    const api = await wizard.start();
    await expire();
    expect(await statuses(api, {})).toEqual([200, 200]);
    expect(await statuses(api, { 'X-Forwarded-For': '127.0.0.1, ::1' })).toEqual([200, 200]);
    for (const headers of [
      strangers,
      { 'X-Forwarded-For': '127.0.0.1, 203.0.113.7' },
      { 'X-Forwarded-For': '203.0.113.7, 127.0.0.1' },
      { 'X-Real-IP': '203.0.113.7' },
      { Forwarded: 'for=203.0.113.7;proto=https' },
    ]) {
      expect(await statuses(api, headers), JSON.stringify(headers)).toEqual([401, 401]);
      expect((await (await api.get(SAVE, { headers })).json()) as unknown).toMatchObject({
        configured: { pterodactylUrl: null },
      });
    }
    const production = await wizard.start({ ENV: 'production' });
    expect(await statuses(production, {})).toEqual([401, 401]);
  });

  test('within it, strangers cannot change what the environment sets: 409 with the variable', async () => {
    const api = await wizard.start({
      SITE_URL: 'https://real.example',
      RESEND_API_KEY: 're_real',
      PTERODACTYL_URL: wizard.sim.url,
      PTERODACTYL_API_KEY: wizard.sim.keys.full,
    });
    for (const [field, value, variable] of [
      ['siteUrl', 'https://evil.example', 'SITE_URL'],
      ['resendApiKey', 're_attackers', 'RESEND_API_KEY'],
      ['pterodactylUrl', 'https://evil.example', 'PTERODACTYL_URL'],
      ['pterodactylApiKey', 'ptla_attackers', 'PTERODACTYL_API_KEY'],
    ] as const) {
      const response = await save(api, { siteName: 'X', [field]: value });
      expect(response.status, field).toBe(409);
      expect(await response.json()).toMatchObject({
        error: `${field}: is set by the variable ${variable}: change it there`,
        details: [{ path: `body.${field}` }],
      });
    }
    expect(await wizard.stored('site_name')).toBeUndefined();
    // The page sends back what it was shown.
    expect(await state(api)).toMatchObject({ configured: { siteUrl: 'https://real.example' } });
    const form = { siteName: 'A', siteUrl: 'https://real.example', ...wizard.panel(), resendApiKey: SECRET_MASK };
    expect((await save(api, form)).status).toBe(200);
    expect([await wizard.stored('site_url'), await wizard.stored('pterodactyl_api_key')]).toEqual([
      undefined,
      undefined,
    ]);
  });

  test('NEXTAUTH_URL counts as the variable of the site’s URL, when it is the one that is set', async () => {
    const api = await wizard.start({ NEXTAUTH_URL: 'https://real.example' });
    const response = await save(api, { siteUrl: 'https://evil.example' });
    expect([response.status, (await response.json()).error]).toEqual([
      409,
      'siteUrl: is set by the variable NEXTAUTH_URL: change it there',
    ]);
  });
});
