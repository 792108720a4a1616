/** The client of Discord webhooks, with the simulated Discord and with servers that are none. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { DiscordFault } from '../../../simulators/discord/contract.ts';
import {
  type DiscordSimulator,
  type SimulatedWebhook,
  startDiscordSimulator,
} from '../../../simulators/discord/simulator.ts';
import type { PostResult } from '../../../src/clients/discord/answers.ts';
import {
  createDiscordClient,
  type DiscordClient,
  type DiscordClientOptions,
} from '../../../src/clients/discord/client.ts';
import type { Resolver } from '../../../src/clients/http/address-guard.ts';
import { packageVersion } from '../../../src/version.ts';
import { startRawServer } from '../../support/panel.ts';

const TOKEN = 'Zx9-marker_token-that-must-not-be-shown-0123456789abcdefghijklmnopqr';
const MESSAGE = { content: 'Hello', allowed_mentions: { parse: [] } };
const TO = { deliveryId: 'd1' };

let sim: DiscordSimulator;
let hook: SimulatedWebhook;
const clients: DiscordClient[] = [];
const clientOf = (options: Partial<DiscordClientOptions> = {}): DiscordClient => {
  const client = createDiscordClient({ hosts: [sim.host], production: false, timeoutMs: 5_000, ...options });
  clients.push(client);
  return client;
};
let client: DiscordClient;
let impatient: DiscordClient;
beforeAll(async () => {
  sim = await startDiscordSimulator({
    limits: { perWebhook: 0, perChannel: 0, global: 0, invalid: 0, deadRepeats: 0 },
  });
  client = clientOf();
  impatient = clientOf({ timeoutMs: 400 });
  hook = sim.createWebhook({ token: TOKEN, channel: 'alerts' });
});
afterEach(() => {
  sim.clear();
  sim.change(hook.id, { type: 1, deleted: false, tokenWrong: false, unresponsive: false, refusedNames: [] });
});
afterAll(async () => {
  await Promise.all(clients.map((one) => one.close()));
  await sim.close();
});

const post = (url = hook.url, by = client): Promise<PostResult> => by.post(url, MESSAGE, TO);
/** A result is seen by administrators: nothing of the URL may be in it. */
function harmless<Result>(result: Result): Result {
  const text = JSON.stringify(result);
  for (const part of [TOKEN, hook.id, 'marker']) expect(text).not.toContain(part);
  return result;
}
const withFault = async (fault: DiscordFault, by = client): Promise<PostResult> => {
  sim.fault(fault);
  return harmless(await post(hook.url, by));
};

test('a message is posted once, in version 10, with our name, the delivery id and wait', async () => {
  const result = await post(`${hook.url}?with_components=true&wait=false&wait=0`);
  const [message] = sim.messages();
  expect(result).toEqual({
    outcome: 'delivered',
    httpStatus: 200,
    messageId: message?.id,
    channelId: hook.channelId,
  });
  expect(message).toMatchObject({ content: 'Hello', deliveryId: 'd1', allowedMentions: { parse: [] } });
  expect(sim.requests()).toMatchObject([
    {
      method: 'POST',
      version: 10,
      query: '?with_components=true&wait=true',
      userAgent: `DiscordBot (https://nodebyte.host, ${packageVersion()})`,
      contentType: 'application/json',
    },
  ]);
});

test('a thread in the URL is kept, whatever version the URL has', async () => {
  const thread = sim.createThread(hook.channelId);
  for (const url of [hook.url, hook.url.replace('/api/', '/api/v9/'), `${hook.url}/`]) {
    expect(await post(`${url}?thread_id=${thread.id}`)).toMatchObject({ outcome: 'delivered', channelId: null });
  }
  expect(sim.messages().map(({ threadId }) => threadId)).toEqual([thread.id, thread.id, thread.id]);
});

test('a path that is not of the API of Discord is called as it is', async () => {
  const server = await startRawServer((_request, response) => response.writeHead(204).end());
  const other = clientOf({ hosts: [new URL(server.url).host] });
  expect(await post(`${server.url}/relay/webhooks/5/${TOKEN}?a=b`, other)).toMatchObject({ outcome: 'delivered' });
  expect(await other.inspect(`${server.url}/relay/webhooks/5/${TOKEN}`)).toMatchObject({ state: 'unknown' });
  expect(server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
    `POST /relay/webhooks/5/${TOKEN}?a=b`,
    `GET /relay/webhooks/5/${TOKEN}`,
  ]);
  await server.close();
});

test('a dead webhook is distinguished from a message that is refused', async () => {
  sim.change(hook.id, { deleted: true });
  expect(harmless(await post())).toMatchObject({ outcome: 'refused', httpStatus: 404, discordCode: 10015, dead: true });
  sim.change(hook.id, { deleted: false, tokenWrong: true });
  expect(harmless(await post())).toMatchObject({ outcome: 'refused', httpStatus: 401, discordCode: 50027, dead: true });
  sim.change(hook.id, { tokenWrong: false });
  expect(harmless(await client.post(hook.url, { content: '' }, TO))).toMatchObject({ discordCode: 50006, dead: false });
  expect(harmless(await post(`${hook.url}?thread_id=77`))).toMatchObject({
    discordCode: 10003,
    dead: false,
    detail: expect.stringMatching(/correct thread_id/),
  });
});

test.each([
  [10003, 'refused', /thread_id/],
  [20016, 'limited', /Slow mode/],
  [20028, 'limited', /for a moment/],
  [20029, 'limited', /for a moment/],
  [40004, 'unavailable', /switched off/],
  [40005, 'refused', /too large/],
  [40006, 'unavailable', /switched off/],
  [40062, 'limited', /for a moment/],
  [40067, 'refused', /add \?thread_id=/],
  [40333, 'unavailable', /firewall/],
  [50006, 'refused', /nothing in it/],
  [50041, 'refused', /version 10/],
  [50083, 'refused', /archived/],
  [50109, 'refused', /JSON/],
  [130000, 'unavailable', /overloaded/],
  [160005, 'refused', /locked/],
  [160006, 'refused', /threads/],
  [200000, 'refused', /AutoMod/],
  [200001, 'refused', /AutoMod/],
  [220001, 'refused', /add \?thread_id=/],
  [220002, 'refused', /thread/],
  [220003, 'refused', /thread/],
  [220004, 'refused', /\/slack or \/github/],
  [240000, 'refused', /link/],
  [99999, 'refused', /status 400, code 99999/],
])('error %i is %s, by its code and not by its status', async (code, outcome, detail) => {
  const message = `quotes ${TOKEN}`;
  // The last status is one that was never seen with the code.
  for (const status of code === 99999 ? [400] : [undefined, 400, 403, 404]) {
    const result = await withFault({ kind: 'error', code, status, message });
    expect(result).toMatchObject({ outcome, discordCode: code, detail: expect.stringMatching(detail) });
    expect('dead' in result && result.dead).toBe(false);
    if (outcome === 'limited') expect('pause' in result && result.pause?.ms).toBe(60_000);
  }
});

test('a forum says what its URL needs', async () => {
  const forum = sim.createWebhook({ channel: 'forum', forum: true });
  expect(await post(forum.url)).toMatchObject({ outcome: 'refused', discordCode: 220001, dead: false });
  const thread = sim.createThread(forum.channelId);
  expect(await post(`${forum.url}?thread_id=${thread.id}`)).toMatchObject({ outcome: 'delivered' });
});

test('fields that are wrong are named; a name that is refused can be left out', async () => {
  const embeds = [{ title: 'x'.repeat(257) }, { fields: [{ name: 'n', value: TOKEN.repeat(20) }] }];
  expect(harmless(await client.post(hook.url, { embeds }, TO))).toMatchObject({
    outcome: 'refused',
    discordCode: 50035,
    detail: expect.stringMatching(/embeds\.0\.title \(BASE_TYPE_MAX_LENGTH\), embeds\.1\.fields\.0\.value \(/),
    plainHelps: false,
  });
  sim.change(hook.id, { refusedNames: ['*'] });
  const named = { ...MESSAGE, username: 'NodeByte' };
  expect(await client.post(hook.url, named, TO)).toMatchObject({ outcome: 'refused', plainHelps: true, dead: false });
  expect(await post()).toMatchObject({ outcome: 'delivered' });
});

test.each<[DiscordFault, outcome: string, pause: object | undefined]>([
  [{ kind: 'limited', retryAfter: 0.65 }, 'limited', { scope: 'webhook', ms: 650 }],
  [{ kind: 'limited', retryAfter: 42.5, scope: 'shared' }, 'limited', { scope: 'channel', ms: 42_500 }],
  [{ kind: 'limited', retryAfter: 0.4, scope: 'global' }, 'limited', { scope: 'all', ms: 400 }],
  [{ kind: 'limited', retryAfter: 2, headers: false }, 'limited', { scope: 'channel', ms: 2_000 }],
  [{ kind: 'limited', retryAfter: 7, code: 20016, scope: 'shared' }, 'limited', { scope: 'channel', ms: 7_000 }],
  [{ kind: 'limited', retryAfter: null }, 'limited', { scope: 'all', ms: 60_000 }],
  [{ kind: 'ban-json' }, 'limited', { scope: 'all', ms: 60_000 }],
  [{ kind: 'ban-page' }, 'limited', { scope: 'all', ms: 60_000 }],
  [{ kind: 'ban-page', html: true }, 'limited', { scope: 'all', ms: 60_000 }],
  [{ kind: 'ban-page', retryAfter: 3_000 }, 'limited', { scope: 'all', ms: 3_000_000 }],
  [{ kind: 'blocked' }, 'unavailable', { scope: 'all', ms: 300_000 }],
  [{ kind: 'html', status: 502 }, 'unavailable', undefined],
  [{ kind: 'html', status: 503, retryAfter: 9 }, 'unavailable', { scope: 'webhook', ms: 9_000 }],
  [{ kind: 'html', status: 404 }, 'unavailable', undefined],
  [{ kind: 'html', status: 302 }, 'refused', undefined],
  [{ kind: 'cut' }, 'lost', undefined],
  [{ kind: 'stored-cut' }, 'lost', undefined],
  [{ kind: 'stored-half' }, 'delivered', undefined],
  [{ kind: 'stored-html' }, 'delivered', undefined],
  [{ kind: 'stored-empty' }, 'delivered', undefined],
  [{ kind: 'slow', ms: 5 }, 'delivered', undefined],
])('%j', async (fault, outcome, pause) => {
  const result = await withFault(fault);
  expect(result.outcome).toBe(outcome);
  expect(result.pause).toEqual(pause);
  expect(sim.requests()).toHaveLength(1);
  expect(sim.messages()).toHaveLength(fault.kind.startsWith('stored') || fault.kind === 'slow' ? 1 : 0);
});

test('an answer that does not come is lost, whether the message was stored or not', async () => {
  for (const kind of ['hang', 'stored-hang'] as const) {
    expect(await withFault({ kind }, impatient)).toMatchObject({ outcome: 'lost', httpStatus: null });
  }
  const stopped = AbortSignal.abort(new Error('stopped'));
  await expect(client.post(hook.url, MESSAGE, { ...TO, signal: stopped })).rejects.toThrow('stopped');
  expect(sim.messages()).toHaveLength(1);
});

test('a host where nothing listens, or whose name is unknown, has certainly not seen the message', async () => {
  const gone = await startRawServer(() => {});
  await gone.close();
  const host = new URL(gone.url).host;
  const nowhere = clientOf({ hosts: [host] });
  expect(await post(`${gone.url}/api/webhooks/5/${TOKEN}`, nowhere)).toMatchObject({
    outcome: 'unavailable',
    httpStatus: null,
    detail: expect.stringMatching(/^Discord cannot be reached/),
  });
  const resolve: Resolver = async () => Promise.reject(Object.assign(new Error(TOKEN), { code: 'ENOTFOUND' }));
  const unknown = await clientOf({ resolve }).post(`https://discord.com/api/webhooks/5/${TOKEN}`, MESSAGE, TO);
  expect(harmless(unknown)).toMatchObject({ outcome: 'unavailable', detail: expect.stringMatching(/DNS/) });
});

test('the limit of the webhook that the headers tell becomes a pause, so that no 429 follows', async () => {
  const strict = await startDiscordSimulator({ limits: { perChannel: 0 } });
  const webhook = strict.createWebhook();
  const polite = clientOf({ hosts: [strict.host] });
  const results = [];
  for (let n = 0; n < 6; n += 1) results.push(await polite.post(webhook.url, MESSAGE, TO));
  expect(results.slice(0, 5).map(({ outcome, pause }) => [outcome, pause?.scope])).toEqual([
    ...Array.from({ length: 4 }, () => ['delivered', undefined]),
    ['delivered', 'webhook'],
  ]);
  expect(results[4]?.pause?.ms).toBeLessThanOrEqual(2_000);
  expect(results[5]).toMatchObject({ outcome: 'limited', pause: { scope: 'webhook' } });
  await strict.close();
});

test('a webhook is asked about without a message, and its token does not come back', async () => {
  expect(harmless(await client.inspect(`${hook.url}?thread_id=7`))).toEqual({
    state: 'alive',
    channelId: hook.channelId,
    name: hook.name,
  });
  for (const settings of [{ type: 2 }, { type: 3 }, { deleted: true }, { tokenWrong: true }] as const) {
    sim.change(hook.id, { type: 1, deleted: false, tokenWrong: false, ...settings });
    expect(harmless(await client.inspect(hook.url)), JSON.stringify(settings)).toMatchObject({ state: 'dead' });
  }
  sim.change(hook.id, { type: 1, tokenWrong: false, deleted: false });
  for (const fault of [
    { kind: 'ban-page' },
    { kind: 'blocked' },
    { kind: 'html', status: 200 },
    { kind: 'html', status: 404 },
    { kind: 'html', status: 502 },
    { kind: 'cut' },
    { kind: 'limited', retryAfter: 1 },
  ] as const) {
    sim.fault(fault, { method: 'GET' });
    expect(harmless(await client.inspect(hook.url)), JSON.stringify(fault)).toMatchObject({ state: 'unknown' });
  }
  sim.change(hook.id, { unresponsive: true });
  expect(harmless(await impatient.inspect(hook.url))).toMatchObject({ state: 'unknown' });
  expect([sim.messages(), sim.requests().filter(({ method }) => method !== 'GET')]).toEqual([[], []]);
  expect(sim.requests()[0]).toMatchObject({ version: 10, query: '' });
});

test('an answer without end is left at its limit', async () => {
  let written = 0;
  const chunk = 'x'.repeat(65_536);
  const server = await startRawServer((request, response) => {
    response.on('error', () => {});
    response.writeHead(request.url?.includes('/1/') ? 200 : 404, { 'content-type': 'application/json' });
    const write = () => {
      if (response.destroyed) return;
      written += chunk.length;
      response.write(chunk, () => setImmediate(write));
    };
    response.write('{"code":10015,"message":"', write);
  });
  const other = clientOf({ hosts: [new URL(server.url).host] });
  const url = (id: number) => `${server.url}/api/webhooks/${id}/${TOKEN}`;
  expect(await post(url(1), other)).toMatchObject({ outcome: 'delivered', messageId: null });
  expect(await post(url(2), other)).toMatchObject({ outcome: 'unavailable' });
  // What the sockets hold comes on top of two limits of 256 KiB.
  expect(written).toBeLessThan(64 * 1024 * 1024);
  await server.close();
});

/** Finds these addresses, one list for each look-up; the last one for all further ones. */
const resolvingTo = (...lists: string[][]): { resolve: Resolver; asked: string[] } => {
  const asked: string[] = [];
  return {
    asked,
    resolve: async (hostname) => {
      asked.push(hostname);
      const addresses = (lists.length > 1 ? lists.shift() : lists[0]) ?? [];
      return addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
    },
  };
};

test('no message goes to an address that is not public, by a name that leads there or comes to lead there', async () => {
  for (const url of [`https://discord.com/api/webhooks/5/${TOKEN}`, `https://gateway.example/webhooks/${TOKEN}`]) {
    for (const addresses of [
      ['127.0.0.1'],
      ['::1'],
      ['::ffff:127.0.0.1'],
      ['10.1.2.3'],
      ['192.168.0.1'],
      ['100.64.0.1'],
      ['fd00::1'],
      ['169.254.169.254'],
      ['fe80::1'],
      ['100.100.100.200'],
      ['0.0.0.0'],
      ['162.159.128.233', '169.254.169.254'],
      [],
    ]) {
      const { resolve } = resolvingTo(addresses);
      const guarded = clientOf({ hosts: ['gateway.example'], production: true, resolve });
      const result = harmless(await guarded.post(url, MESSAGE, TO));
      expect(result, addresses.join()).toMatchObject({
        outcome: 'refused',
        httpStatus: null,
        dead: false,
        plainHelps: false,
      });
      expect(harmless(await guarded.inspect(url)).state).toBe('dead');
    }
  }
});

test('the check of an address and the connection use one look-up', async () => {
  const url = hook.url.replace('127.0.0.1', 'localhost');
  const hosts = [new URL(url).host];
  const changing = resolvingTo(['127.0.0.1'], ['169.254.169.254']);
  expect(await post(url, clientOf({ hosts, resolve: changing.resolve }))).toMatchObject({ outcome: 'delivered' });
  expect(changing.asked).toEqual(['localhost']);
  expect(await post(url, clientOf({ hosts, resolve: changing.resolve }))).toMatchObject({
    outcome: 'refused',
    httpStatus: null,
  });
  expect(sim.requests()).toHaveLength(1);
});

test('a URL that the rules refuse is not called', async () => {
  const production = clientOf({ production: true });
  const port = new URL(sim.url).port;
  for (const [by, url] of [
    [production, hook.url],
    [clientOf({ hosts: [] }), hook.url],
    [client, hook.url.replace('127.0.0.1', 'localhost')],
    [client, hook.url.replace('127.0.0.1', '0x7f.1')],
    [client, hook.url.replace('127.0.0.1', '2130706433')],
    [client, hook.url.replace('127.0.0.1', '[::ffff:127.0.0.1]')],
    [client, hook.url.replace('http:', 'https:')],
    [client, hook.url.replace('//', '//discord.com@')],
    [client, `http://discord.com:${port}/api/webhooks/5/${TOKEN}`],
    [client, `${hook.url}/slack#`],
    [client, ''],
  ] as const) {
    expect(harmless(await by.post(url, MESSAGE, TO)), url).toMatchObject({
      outcome: 'refused',
      httpStatus: null,
      dead: false,
    });
    expect(harmless(await by.inspect(url))).toMatchObject({ state: 'dead' });
  }
  expect(sim.requests()).toEqual([]);
});

test('a redirect is not followed', async () => {
  const server = await startRawServer((request, response) => {
    response.writeHead(307, { location: `${sim.url}${request.url}` }).end();
  });
  const other = clientOf({ hosts: [new URL(server.url).host, sim.host] });
  const url = `${server.url}/api/webhooks/${hook.id}/${TOKEN}`;
  expect(harmless(await post(url, other))).toMatchObject({ outcome: 'refused', httpStatus: 307, dead: false });
  expect(harmless(await other.inspect(url))).toMatchObject({ state: 'dead' });
  expect([server.requests.length, sim.requests().length]).toEqual([2, 0]);
  await server.close();
});

test('a slow webhook does not keep the requests of others waiting', async () => {
  const slow = Array.from({ length: 99 }, () => sim.createWebhook());
  for (const { id } of slow) sim.change(id, { unresponsive: true });
  const stop = new AbortController();
  const hanging = slow.map(({ url }) => client.post(url, MESSAGE, { ...TO, signal: stop.signal }));
  const ended = Promise.allSettled(hanging);
  expect((await post()).outcome).toBe('delivered');
  stop.abort();
  expect((await ended).map(({ status }) => status)).toEqual(slow.map(() => 'rejected'));
});
