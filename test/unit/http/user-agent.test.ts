/** Every outbound request names the product: upstreams and their firewalls refuse requests without a name. */
import { createServer, request as nodeRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DiscordSimulator, startDiscordSimulator } from '../../../simulators/discord/simulator.ts';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createDiscordClient } from '../../../src/clients/discord/client.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import { createAddressGuard } from '../../../src/clients/http/address-guard.ts';
import { createHttpClient } from '../../../src/clients/http/http.ts';
import { createPanelClient } from '../../../src/clients/panel/client.ts';
import { testConnection } from '../../../src/clients/virtfusion.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { packageVersion } from '../../../src/version.ts';

const NAME = `nodebyte-backend/${packageVersion()} (+https://nodebyte.host)`;
const names: (string | undefined)[] = [];
const server = createServer((request, response) => {
  names.push(request.headers['user-agent']);
  response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
});
let origin: string;
let panel: PanelSimulator;
let catcher: EmailCatcher;
let discord: DiscordSimulator;
let webhook: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  panel = await startPanelSimulator({ servers: 1, users: 1 });
  catcher = await startEmailCatcher();
  discord = await startDiscordSimulator();
  webhook = discord.createWebhook().url;
});
afterAll(async () => {
  server.close();
  await Promise.all([panel.close(), catcher.close(), discord.close()]);
});

describe('a request of the product', () => {
  test('carries name and version, unless the upstream demands a form of its own', async () => {
    const client = createHttpClient({ origin, guard: 'environment', timeoutMs: 5_000, maxBodyBytes: 1_000 });
    await client.send({ method: 'GET', path: '/', headers: {} });
    await client.send({ method: 'GET', path: '/', headers: { 'user-agent': 'DiscordBot (https://x.example, 1)' } });
    await client.close();
    expect(names).toEqual([NAME, 'DiscordBot (https://x.example, 1)']);
  });

  test('to VirtFusion carries the name', async () => {
    names.length = 0;
    const guard = createAddressGuard({ policy: 'private' });
    await testConnection({ url: origin, apiKey: new Secret('k') }, { guard, timeoutMs: 5_000 });
    expect(names).toEqual([NAME]);
  });

  test('to Discord has the form that Discord demands', async () => {
    const client = createDiscordClient({ hosts: [discord.host], production: false });
    const result = await client.post(webhook, { content: 'x' }, { deliveryId: 'd1' });
    expect([result.outcome, (await client.inspect(webhook)).state]).toEqual(['delivered', 'alive']);
    await client.close();
    const name = `DiscordBot (https://nodebyte.host, ${packageVersion()})`;
    expect(discord.requests().map(({ userAgent }) => userAgent)).toEqual([name, name]);
  });

  test('passes the firewall of a panel and of Resend', async () => {
    const client = createPanelClient({ url: panel.url, guard: 'environment', apiKey: new Secret(panel.keys.full) });
    expect((await client.list('/servers', { page: 1, perPage: 1 })).pagination?.total).toBe(1);
    await client.close();
    const transport = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey) });
    const from = { name: '', address: 'a@a.example' };
    const email = { id: 'e1', key: 'e1', from, to: 'b@b.example', subject: 'S', html: '<p>h</p>', text: 't' };
    await transport.send(email, { signal: new AbortController().signal });
    expect(catcher.emails()).toHaveLength(1);
  });
});

/** Status and body of a request without a User-Agent: node:http sends none. */
const unnamed = (url: string, method: string, headers: Record<string, string>) =>
  new Promise<[number | undefined, string]>((resolve, reject) => {
    const sent = nodeRequest(url, { method, headers }, (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += String(chunk);
      });
      response.on('end', () => resolve([response.statusCode, text]));
    });
    sent.on('error', reject);
    sent.end();
  });

test.each([
  ['the panel', () => `${panel.url}/api/application/servers`, 'GET'],
  ["Resend's API", () => `${catcher.url}/emails`, 'POST'],
  ['Discord', () => webhook, 'POST'],
])('%s refuses a request without a name, whatever its key', async (_name, url, method) => {
  const headers = { authorization: `Bearer ${method === 'GET' ? panel.keys.full : catcher.apiKey}` };
  expect(await unnamed(url(), method, headers)).toEqual([403, 'error code: 1010']);
});
