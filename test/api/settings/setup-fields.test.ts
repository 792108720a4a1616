/** The accepted values of each field of the wizard, and the errors of refused values. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { SECRET_MASK } from '../../../src/domain/settings.ts';
import { query } from '../../../src/store/db/query.ts';
import type { Harness } from '../../support/api/harness.ts';
import { prepareWizard, SAVE, save, type Wizard } from '../../support/api/wizard.ts';

let wizard: Wizard;
let api: Harness;
beforeAll(async () => {
  wizard = await prepareWizard();
  api = await wizard.start();
});
beforeEach(() => wizard.empty());
afterAll(() => wizard.stop());

const LONG = 'x'.repeat(2049);
const url = (field: string): [string, unknown][] =>
  ['site.example', '//site.example', 'ftp://site.example', 'javascript:alert(1)', 'https://', 'https:site.example']
    .concat('https://a b.example', 'https://user:pass@site.example', `https://site.example/${LONG}`)
    .concat('https://site.example/\u0007')
    .map((value) => [field, value]);
const secret = (field: string): [string, unknown][] =>
  ['••••', `${SECRET_MASK}x`, `${SECRET_MASK}•`, 'a b', 'a\nb', 'clé', LONG, 'a\u007f'].map((value) => [field, value]);
const plain = (field: string, max: number): [string, unknown][] =>
  ['x'.repeat(max + 1), 'a\u0000b', 'a\nb', 'a\u009fb'].map((value) => [field, value]);

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
])('%s: %j is refused, the error names the field, and nothing is saved', async (field, value) => {
  const response = await save(api, { crowdinProjectId: '1', [field]: value });
  expect(response.status).toBe(400);
  const body = await response.json();
  // A body with a NUL is refused before its fields are checked.
  if (typeof value !== 'string' || !value.includes('\0')) {
    expect(body).toMatchObject({ success: false, code: 'VALIDATION_ERROR' });
    expect(new Set(body.details.map(({ path }) => path))).toEqual(new Set([`body.${field}`]));
    const [, named, message] = /^(\w+): (.+)$/.exec(body.error) ?? [];
    expect([named, body.details[0]]).toEqual([field, { path: `body.${field}`, message }]);
  }
  if (typeof value === 'string') expect(JSON.stringify(body)).not.toContain(value);
  expect(await query(wizard.database.db, 'select c.key from config c')).toEqual([]);
});

test('values of the maximum length are accepted, unknown fields are ignored', async () => {
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
  expect([await wizard.stored('site_name'), await wizard.stored('site_url')]).toEqual([step.siteName, step.siteUrl]);
  expect(await wizard.stored('pterodactyl_url')).toBeUndefined();
});

test('with several errors the first one is the message, and details lists all', async () => {
  const response = await save(api, { siteUrl: 'site.example', siteName: 7, virtfusionApiKey: 'a b' });
  const { error, details } = await response.json();
  expect(details.map(({ path }) => path)).toEqual(['body.siteName', 'body.siteUrl', 'body.virtfusionApiKey']);
  expect(error).toMatch(/^siteName: \S/);
});

test.each(['[]', '"x"', 'null', '{', '7'])('a body that is not an object is refused: %s', async (body) => {
  const response = await api.get(SAVE, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
  expect(response.status).toBe(400);
});

test.each(['/api', '/api/', '/api/application', '/api/v1/connect', '/admin/api'])(
  'a panel URL that ends with the path of the API is stored without it: %s (C-3)',
  async (path) => {
    for (const [given, expected] of [
      [`https://panel.example${path}`, 'https://panel.example'],
      [`https://panel.example/base${path}`, 'https://panel.example/base'],
      [`https://api.example/apis/my-api/`, 'https://api.example/apis/my-api'],
    ]) {
      expect((await save(api, { pterodactylUrl: given, virtfusionUrl: given })).status).toBe(200);
      expect([await wizard.stored('pterodactyl_url'), await wizard.stored('virtfusion_url')]).toEqual([
        expected,
        expected,
      ]);
    }
  },
);
