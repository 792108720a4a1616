/** Every route that takes a URL, and URLs that must not be reached: by a name, a redirect, a name that changes, an odd notation. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { routes } from '../../../src/api/routes/index.ts';
import { createDiscordClient } from '../../../src/clients/discord/client.ts';
import type { Resolver } from '../../../src/clients/http/address-guard.ts';
import type { Harness } from '../../support/api/harness.ts';
import { bearer, makeUser, startHarness } from '../../support/api/harness.ts';
import { prepareWizard, type Wizard } from '../../support/api/wizard.ts';

let wizard: Wizard;
let system: Record<string, string>;
let plain: Record<string, string>;
beforeAll(async () => {
  wizard = await prepareWizard();
});
beforeEach(async () => {
  await wizard.empty();
  system = await wizard.administrator();
  plain = bearer((await makeUser({ database: wizard.database }, { roles: ['ADMINISTRATOR'] })).token);
});
afterEach(() => wizard.closeAll());
afterAll(() => wizard.stop());

const REFUSED = 'This address may not be reached from here';

interface Answer {
  status: number;
  body: Record<string, unknown>;
}
type Send = (base: string, url: string, headers: Record<string, string>) => Promise<Answer>;
const post =
  (path: string, bodyOf: (url: string) => object, method = 'POST'): Send =>
  async (base, url, headers) => {
    const response = await fetch(`${base}${path}`, {
      method,
      headers: { 'Content-Type': 'application/json', ...headers },
      body: JSON.stringify(bodyOf(url)),
    });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
const pterodactyl = (url: string) => ({ pterodactylUrl: url, pterodactylApiKey: 'k' });
const virtfusion = (url: string) => ({ virtfusionUrl: url, virtfusionApiKey: 'k' });

/** Routes that connect to the URL at once, and what their answer says about it. */
const CONNECTING: Record<string, [send: Send, errorOf: (answer: Answer) => unknown][]> = {
  testSetupConnections: [
    [post('/api/v1/setup/test', pterodactyl), ({ body }) => errorIn(body, 'testResults', 'pterodactyl')],
    [post('/api/v1/setup/test', virtfusion), ({ body }) => errorIn(body, 'testResults', 'virtfusion')],
  ],
  testConnection: [
    [post('/api/admin/settings/test?type=pterodactyl', pterodactyl), ({ body }) => body['error']],
    [post('/api/admin/settings/test?type=virtfusion', virtfusion), ({ body }) => body['error']],
  ],
};
/** Routes that store the URL. What it leads to is connected to later, by the page and by the sync. */
const STORING: Record<string, Send[]> = {
  saveSetup: [post('/api/v1/setup', pterodactyl), post('/api/v1/setup', virtfusion)],
  saveSettings: [post('/api/admin/settings', pterodactyl), post('/api/admin/settings', virtfusion)],
};
/** Routes that store the URL of a webhook, which must be one of the allowed hosts. */
const WEBHOOKS: Record<string, Send> = {
  createWebhook: post('/api/admin/settings/webhooks', (webhookUrl) => ({ name: 'W', webhookUrl })),
  changeWebhook: post('/api/admin/settings/webhooks', (webhookUrl) => ({ id: 'w', webhookUrl }), 'PUT'),
  changeWebhookById: post('/api/admin/settings/webhooks/w', (webhookUrl) => ({ webhookUrl }), 'PUT'),
};
/** Routes whose URLs this service never connects to: they are links in emails of the site's own origin. */
const LINKS: Record<string, Send> = {
  queueEmail: post('/api/v1/email/queue', (resetUrl) => ({
    to: 'ada@example.com',
    subject: 'x',
    template: 'password-reset',
    data: { resetUrl },
  })),
};

function errorIn(body: Record<string, unknown>, ...path: string[]): unknown {
  return [...path, 'error'].reduce<unknown>((value, key) => (value as Record<string, unknown>)?.[key], body);
}

/** Addresses that no caller may reach, written so that a comparison of texts misses them. */
const NEVER = [
  'http://169.254.169.254/latest/meta-data',
  'http://2852039166',
  'http://0xa9fea9fe',
  'http://0251.0376.0251.0376',
  'http://169.254.43518',
  'http://169。254。169。254',
  'http://[::ffff:169.254.169.254]',
  'http://[64:ff9b::a9fe:a9fe]',
  'http://[fe80::1]',
  'http://[fd00:ec2::254]',
  'http://0.0.0.0',
  'http://0',
  'http://224.0.0.1',
];
/** Of this machine or a private network: for a system administrator only. */
const PRIVATE = [
  'http://127.0.0.1',
  'http://2130706433',
  'http://0x7f.1',
  'http://[::1]',
  'http://[::ffff:10.0.0.1]',
].concat('http://192.168.1.1', 'http://localhost');

const resolvingTo =
  (...answers: string[][]) =>
  async () =>
    (answers.length > 1 ? answers.shift() : answers[0])?.map((address) => ({
      address,
      family: address.includes(':') ? 6 : 4,
    })) ?? [];

/** Data that a message shows as text: nothing calls it, and it is no link. */
const SHOWN = ['dispatchEvent'];

test('every route that takes a URL is in this table (S12)', () => {
  const fields = (schema: z.ZodType | undefined): string[] => {
    const shape = schema === undefined ? {} : z.toJSONSchema(schema, { unrepresentable: 'any', io: 'input' });
    return Object.keys((shape as { properties?: object }).properties ?? {});
  };
  const taking = routes.filter(({ body, query }) =>
    [...fields(body), ...fields(query)].some((field) => /url|^data$/i.test(field)),
  );
  expect(taking.map(({ operationId }) => operationId).sort()).toEqual(
    [...SHOWN, ...[CONNECTING, STORING, WEBHOOKS, LINKS].flatMap((table) => Object.keys(table))].sort(),
  );
});

test('an address in any notation is refused by every one of them (S12)', async () => {
  const api = await wizard.start({ ENV: 'production' });
  const base = await wizard.startAlone(api, { timeoutMs: 1000 });
  for (const headers of [system, plain]) {
    const urls = headers === system ? NEVER : [...NEVER, ...PRIVATE];
    for (const [send, errorOf] of Object.values(CONNECTING).flat()) {
      const answers = await Promise.all(urls.map((url) => send(base, url, headers)));
      expect(answers.map(errorOf)).toEqual(urls.map(() => REFUSED));
      await wizard.database.db.raw('delete from rate_limits');
    }
  }
  for (const send of Object.values(STORING).flat()) {
    for (const [headers, status] of [
      [system, 400],
      [plain, 403],
    ] as const) {
      for (const url of NEVER) expect((await send(api.url, url, headers)).status, url).toBe(status);
    }
  }
  for (const [name, send] of Object.entries(LINKS)) {
    for (const url of [...NEVER, ...PRIVATE])
      expect((await send(api.url, url, system)).status, `${name} ${url}`).toBe(400);
  }
  await wizard.database.db.raw(`insert into discord_webhooks (id, name, "webhookUrl") values ('w', 'W', 'stored')`);
  for (const [name, send] of Object.entries(WEBHOOKS)) {
    // With the path of a webhook, so that the host alone is refused.
    for (const url of [...NEVER, ...PRIVATE].map((base) => `${base}/api/webhooks/1/token`)) {
      expect((await send(api.url, url, system)).status, `${name} ${url}`).toBe(400);
    }
    await wizard.database.db.raw('delete from rate_limits');
  }
  const { rows } = await wizard.database.db.raw('select w."webhookUrl" as url from discord_webhooks w');
  expect(rows).toEqual([{ url: 'stored' }]);
  await wizard.database.db.raw('delete from discord_webhooks');
  expect(await wizard.stored('pterodactyl_url')).toBeUndefined();
  expect(await wizard.stored('virtfusion_url')).toBeUndefined();
});

test('a name that leads to such an address is refused when it is connected to, also when it changes (S12)', async () => {
  const api = await wizard.start({ ENV: 'production' });
  const inside = await wizard.serve((_request, response) => response.end('{"object":"list","data":[]}'));
  const url = `http://panel.example:${new URL(inside.url).port}`;
  const connect = async (at: Harness['url'], headers: Record<string, string>) => {
    const errors: unknown[] = [];
    for (const [send, errorOf] of Object.values(CONNECTING).flat()) errors.push(errorOf(await send(at, url, headers)));
    return errors;
  };
  const all = Object.values(CONNECTING)
    .flat()
    .map(() => REFUSED);
  for (const [addresses, headers] of [
    [['169.254.169.254'], system],
    [['1.1.1.1', '169.254.169.254'], system],
    [['::ffff:a9fe:a9fe'], system],
    [['127.0.0.1'], plain],
    [['1.1.1.1', '10.0.0.1'], plain],
  ] as const) {
    const at = await wizard.startAlone(api, { timeoutMs: 1000, resolve: resolvingTo([...addresses]) });
    expect(await connect(at, headers), addresses.join()).toEqual(all);
  }
  // The check and the connection use one answer of the resolver: a second, different one is not asked for.
  for (const [send] of Object.values(CONNECTING).flat()) {
    const resolve = resolvingTo(['192.88.99.1'], ['127.0.0.1']);
    const at = await wizard.startAlone(api, { timeoutMs: 300, resolve });
    await send(at, url, plain);
  }
  for (const send of Object.values(STORING).flat()) expect((await send(api.url, url, system)).status).toBe(200);
  const page = await wizard.startAlone(api, { timeoutMs: 1000, resolve: resolvingTo(['169.254.169.254']) });
  expect(await (await fetch(`${page}/api/admin/settings`, { headers: system })).json()).toMatchObject({
    pterodactylStatus: { success: false, error: REFUSED },
    virtfusionStatus: { success: false, error: REFUSED },
  });
  expect(inside.requests).toEqual([]);
});

test('a redirect is followed by none of them (S12)', async () => {
  const api = await wizard.start({ ENV: 'production' });
  const inside = await wizard.serve((_request, response) => response.end('{"object":"list","data":[]}'));
  const redirecting = await wizard.serve((request, response) => {
    response.writeHead(307, { location: `${inside.url}${request.url}` });
    response.end();
  });
  for (const [send, errorOf] of Object.values(CONNECTING).flat()) {
    expect(errorOf(await send(api.url, redirecting.url, system))).toMatch(/redirects to/);
  }
  for (const send of Object.values(STORING).flat()) {
    expect((await send(api.url, redirecting.url, system)).status).toBe(200);
  }
  const page = await fetch(`${api.url}/api/admin/settings`, { headers: system });
  const failed = { success: false, error: expect.stringMatching(/redirects to/) };
  expect(await page.json()).toMatchObject({ pterodactylStatus: failed, virtfusionStatus: failed });
  expect([inside.requests.length, redirecting.requests.length]).toEqual([0, 6]);
});

/** An api whose webhooks are checked and sent by the real client, with a webhook `w` in its database. */
async function webhookApi(hosts: string[], { url, resolve }: { url: string; resolve?: Resolver }) {
  const rules = { hosts, production: false };
  const discord = createDiscordClient({ ...rules, timeoutMs: 2_000, ...(resolve === undefined ? {} : { resolve }) });
  const deps = { discord, webhookUrlRules: rules };
  const api = await startHarness({ database: wizard.database, deps });
  await wizard.database.db.raw('delete from discord_webhooks');
  await wizard.database.db.raw(`insert into discord_webhooks (id, name, "webhookUrl") values ('w', 'W', ?)`, [url]);
  const test = post('/api/admin/settings/webhooks', () => ({ id: 'w' }), 'PATCH');
  return {
    async saves(): Promise<Answer[]> {
      const answers: Answer[] = [];
      for (const send of Object.values(WEBHOOKS)) answers.push(await send(api.url, `${url}?thread_id=7`, system));
      return answers;
    },
    /** Sends to the stored URL. */
    test: () => test(api.url, '', system),
    async close() {
      const { rows } = await wizard.database.db.raw('select w."webhookUrl" as url from discord_webhooks w');
      await api.close();
      await discord.close();
      await wizard.database.db.raw('delete from discord_webhooks');
      await wizard.database.db.raw('delete from rate_limits');
      return rows;
    },
  };
}
const webhookRefused = (details: RegExp) => ({
  status: 400,
  body: { error: 'Invalid Discord webhook URL', details: [{ message: expect.stringMatching(details) }] },
});

test('a webhook whose name leads to such an address, or comes to lead there, is refused at its save and at its test', async () => {
  for (const host of ['discord.com', 'gateway.example']) {
    const stored = `https://${host}/api/webhooks/1/token`;
    let addresses: string[] = [];
    const api = await webhookApi(['gateway.example'], { url: stored, resolve: () => resolvingTo(addresses)() });
    for (addresses of [
      ['127.0.0.1'],
      ['::1'],
      ['10.0.0.1'],
      ['fe80::1'],
      ['169.254.169.254'],
      ['::ffff:a9fe:a9fe'],
      ['1.1.1.1', '192.168.1.1'],
    ]) {
      const refused = webhookRefused(/may not be reached from here/);
      expect(await api.saves(), addresses.join()).toMatchObject(Object.keys(WEBHOOKS).map(() => refused));
      expect(await api.test()).toMatchObject({ status: 502, body: { success: false } });
    }
    expect(await api.close()).toEqual([{ url: stored }]);
  }
  // The name led to this machine when the webhook was saved, and leads to another place when a message is sent.
  const inside = await wizard.serve((_request, response) => response.end('{"id":"1","type":1}'));
  const url = `http://localhost:${new URL(inside.url).port}/api/webhooks/1/token`;
  const resolve = resolvingTo(['127.0.0.1'], ['169.254.169.254']);
  const saving = await webhookApi([new URL(url).host], { url, resolve });
  expect((await saving.saves()).map(({ status }) => status)).toEqual([200, 200, 200]);
  await saving.close();
  const sending = await webhookApi([new URL(url).host], { url, resolve });
  expect(await sending.test()).toMatchObject({ status: 502, body: { success: false } });
  await sending.close();
  expect(inside.requests.filter(({ method }) => method === 'POST')).toEqual([]);
});

test('a webhook that redirects is refused at its save, and its test is not redirected', async () => {
  const inside = await wizard.serve((_request, response) => response.end('{"id":"1","type":1}'));
  const redirecting = await wizard.serve((request, response) => {
    response.writeHead(307, { location: `${inside.url}${request.url}` }).end();
  });
  const url = `${redirecting.url}/api/webhooks/1/token`;
  const api = await webhookApi([new URL(url).host, new URL(inside.url).host], { url });
  const refused = webhookRefused(/redirects to another address/);
  expect(await api.saves()).toMatchObject(Object.keys(WEBHOOKS).map(() => refused));
  expect(await api.test()).toMatchObject({ status: 502, body: { success: false } });
  expect(await api.close()).toEqual([{ url }]);
  expect([inside.requests.length, redirecting.requests.length]).toEqual([0, 4]);
});
