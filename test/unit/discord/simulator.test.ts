import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createLimits, DOCUMENTED_LIMITS } from '../../../simulators/discord/limits.ts';
import { linked, markdown } from '../../../simulators/discord/markdown.ts';
import { type DiscordSimulator, startDiscordSimulator } from '../../../simulators/discord/simulator.ts';

const NO_LIMITS = { perWebhook: 0, perChannel: 0, global: 0, invalid: 0, deadRepeats: 0 };
const AGENT = { 'user-agent': 'DiscordBot (https://nodebyte.host, 1.0.0)', 'content-type': 'application/json' };

let discord: DiscordSimulator;
beforeAll(async () => {
  discord = await startDiscordSimulator({ limits: NO_LIMITS });
});
afterEach(() => discord.clear());
afterAll(() => discord.close());

interface Sent {
  method?: string;
  /** A text is sent as it is. */
  body?: unknown;
  headers?: Record<string, string>;
}

async function call(url: string, { method = 'POST', body, headers = AGENT }: Sent = {}) {
  const response = await fetch(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}

/** The URL of a webhook for a version of the API, with a query. */
const at = (url: string, version: string, query = '') => `${url.replace('/api/', `/api/${version}`)}${query}`;
const v10 = (url: string, query = '') => at(url, 'v10/', query);
const post = (url: string, body: unknown) => call(v10(url), { body });
const leaf = (code: string) => ({ _errors: [{ code, message: expect.any(String) }] });
const refusal = (code: number, errors?: unknown) => ({
  message: expect.any(String),
  code,
  ...(errors === undefined ? {} : { errors }),
});

describe('the URL', () => {
  test('every form of it, by version', async () => {
    const { url, id, token } = discord.createWebhook();
    const empty = { body: {} };
    const nested = { message: 'Invalid Form Body', code: 50035, errors: { webhook_id: leaf('NUMBER_TYPE_COERCE') } };
    const table: [path: string, status: number, json: unknown][] = [
      [`/api/v10/webhooks/${id}/${token}`, 400, refusal(50006)],
      [`/api/webhooks/${id}/${token}`, 400, refusal(50006)],
      [`/api/v9/webhooks/${id}/${token}`, 400, refusal(50006)],
      ...['v3', 'v4', 'v5', 'v11'].map((version): [string, number, unknown] => [
        `/api/${version}/webhooks/${id}/${token}`,
        400,
        refusal(50041),
      ]),
      [`/api/v10/webhooks/${id}`, 405, { message: '405: Method Not Allowed', code: 0 }],
      [`/api/v10/webhooks/${id}/`, 404, { message: '404: Not Found', code: 0 }],
      [`/api/v10/webhooks/${id}/${token}/other`, 404, { message: '404: Not Found', code: 0 }],
      ['/api/v10/webhooks/abc/token', 400, nested],
      ['/api/v10/webhooks/9223372036854775808/token', 400, nested],
      ['/api/webhooks/abc/token', 400, { webhook_id: ['Value "abc" is not snowflake.'] }],
      ['/api/v10/webhooks/9223372036854775807/token', 404, refusal(10015)],
      [`/api/v10/webhooks/${id}/${token}x`, 401, refusal(50027)],
    ];
    for (const [path, status, json] of table) {
      const answer = await call(`${discord.url}${path}`, empty);
      expect([path, answer.status, answer.json]).toEqual([path, status, json]);
    }
    expect(url).toBe(`${discord.url}/api/webhooks/${id}/${token}`);
    expect(token).toMatch(/^[\w-]{68}$/);
  });

  test('wait decides between 204 and the message; other values are refused', async () => {
    const { url, id, channelId } = discord.createWebhook({ name: 'own name' });
    for (const query of ['', '?wait=false', '?wait=False', '?wait=0']) {
      const answer = await call(v10(url, query), { body: { content: 'x' } });
      expect([query, answer.status, answer.text]).toEqual([query, 204, '']);
    }
    for (const query of ['?wait=true', '?wait=True', '?wait=1']) {
      const answer = await call(v10(url, query), { body: { content: 'x' } });
      expect([answer.status, answer.json]).toMatchObject([
        200,
        { channel_id: channelId, webhook_id: id, content: 'x', author: { username: 'own name' } },
      ]);
    }
    const refused = await call(v10(url, '?wait=yes'), { body: { content: 'x' } });
    expect([refused.status, refused.json]).toEqual([400, refusal(50035, { wait: leaf('BOOLEAN_TYPE_CONVERT') })]);
    const [first, second] = discord.messages({ webhook: id }).slice(-2);
    expect(BigInt(second?.id ?? 0)).toBeGreaterThan(BigInt(first?.id ?? 0));
    expect(discord.messages()).toHaveLength(7);
  });

  test('threads and forums', async () => {
    const hook = discord.createWebhook();
    const forum = discord.createWebhook({ forum: true });
    const thread = discord.createThread(hook.channelId).id;
    const post = discord.createThread(forum.channelId).id;
    const table: [url: string, body: object, status: number, json: unknown][] = [
      [v10(hook.url, `?thread_id=${thread}&wait=1`), {}, 200, expect.objectContaining({ channel_id: thread })],
      [v10(hook.url, `?thread_id=${post}`), {}, 400, refusal(10003)],
      [v10(hook.url, '?thread_id=x'), {}, 400, refusal(50035, { thread_id: leaf('NUMBER_TYPE_COERCE') })],
      [v10(hook.url), { thread_name: 'T' }, 400, refusal(220003)],
      [v10(forum.url), {}, 400, refusal(220001)],
      [v10(forum.url, `?thread_id=${post}`), { thread_name: 'T' }, 400, refusal(220002)],
      [v10(forum.url), { thread_name: 'T' }, 204, undefined],
      [v10(forum.url, `?thread_id=${post}`), {}, 204, undefined],
      [v10(`${forum.url}/slack`), { text: 'x' }, 400, refusal(220004)],
    ];
    for (const [url, body, status, json] of table) {
      const answer = await call(url, { body: { content: 'x', ...body } });
      expect([url, answer.status, answer.json]).toEqual([url, status, json]);
    }
    expect(discord.messages({ channel: forum.channelId })).toHaveLength(2);
  });

  test('the endpoints for bodies of Slack and GitHub', async () => {
    const { url, id } = discord.createWebhook();
    expect(await call(v10(`${url}/slack`), { body: { text: 'from Slack' } })).toMatchObject({
      status: 200,
      text: 'ok',
    });
    const headers = { ...AGENT, 'x-github-event': 'push' };
    await call(v10(`${url}/github`), { body: { repository: { full_name: 'a/b' } }, headers });
    expect(discord.messages({ webhook: id })).toMatchObject([
      { content: 'from Slack' },
      { embeds: [{ title: '[a/b] push' }] },
    ]);
  });

  test('GET shows the webhook with its token; PATCH renames, DELETE removes it', async () => {
    const { url, id, token, channelId } = discord.createWebhook({ name: 'first' });
    const shown = { id, token, channel_id: channelId, name: 'first', type: 1, guild_id: '1', avatar: null };
    expect((await call(v10(url), { method: 'GET' })).json).toEqual({ ...shown, application_id: null });
    const renamed = await call(v10(url), { method: 'PATCH', body: { name: 'second' } });
    expect(renamed).toMatchObject({ status: 200, json: { name: 'second' } });
    discord.change(id, { type: 3 });
    expect((await call(v10(url), { method: 'GET' })).json).toMatchObject({ name: 'second', type: 3 });
    const { json } = await call(v10(url, '?wait=1'), { body: { content: 'x' } });
    const message = v10(`${url}/messages/${Reflect.get(Object(json), 'id')}`);
    expect((await call(message, { method: 'PATCH', body: { content: 'y' } })).json).toMatchObject({ content: 'y' });
    expect((await call(message, { method: 'GET' })).json).toMatchObject({ content: 'y' });
    expect((await call(message, { method: 'DELETE' })).status).toBe(204);
    expect(await call(message, { method: 'GET' })).toMatchObject({ status: 404, json: refusal(10008) });
    expect((await call(v10(url), { method: 'DELETE' })).status).toBe(204);
    for (const method of ['GET', 'POST']) {
      expect(await call(v10(url), { method })).toMatchObject({ status: 404, json: refusal(10015) });
    }
    expect(discord.counts().deadRepeats).toBe(1);
  });
});

describe('the request', () => {
  test('a client without a name, or with a blocked one, is stopped by the firewall', async () => {
    const { url } = discord.createWebhook();
    // `fetch` would send a name of its own.
    const unnamed = httpRequest(v10(url), { method: 'POST', headers: { 'content-type': 'application/json' } });
    const answer = once(unnamed, 'response');
    unnamed.end('{"content":"x"}');
    const [{ statusCode }] = await answer;
    expect(statusCode).toBe(403);
    for (const agent of [' ', 'Python-urllib/3.12', 'Java/1.8']) {
      const answer = await call(v10(url), { body: { content: 'x' }, headers: { ...AGENT, 'user-agent': agent } });
      expect([agent, answer.status, answer.text]).toEqual([agent, 403, 'error code: 1010']);
    }
    const browser = await call(v10(url), { body: {}, headers: { ...AGENT, 'user-agent': 'Mozilla/5.0' } });
    expect([browser.status, browser.json]).toEqual([403, refusal(40333)]);
    for (const agent of ['curl/8', 'node', 'nodebyte']) {
      const answer = await call(v10(url), { body: { content: 'x' }, headers: { ...AGENT, 'user-agent': agent } });
      expect(answer.status).toBe(204);
    }
    expect(discord.counts()).toMatchObject({ invalid: 5, stored: 3 });
  });

  test('the type of the body, and what is no JSON', async () => {
    const { url } = discord.createWebhook();
    const headers = (type: string) => ({ 'user-agent': 'node', 'content-type': type });
    for (const type of ['text/plain', 'text/plain; charset=utf-8', 'application/xml']) {
      const answer = await call(v10(url), { body: '{"content":"x"}', headers: headers(type) });
      expect([answer.status, answer.json]).toEqual([400, refusal(50035, leaf('CONTENT_TYPE_INVALID'))]);
    }
    // Bytes get no type from `fetch`.
    const bytes = new TextEncoder().encode('{"content":"x"}');
    const untyped = await fetch(v10(url), { method: 'POST', headers: { 'user-agent': 'node' }, body: bytes });
    expect([untyped.status, await untyped.json()]).toEqual([400, refusal(50035, leaf('CONTENT_TYPE_INVALID'))]);
    for (const body of ['{', '', "{'content':'x'}"]) {
      expect((await call(v10(url), { body })).json).toEqual(refusal(50109));
    }
    expect((await call(v10(url), { body: '[]' })).json).toEqual(refusal(50035, leaf('MODEL_TYPE_CONVERT')));
    const urlencoded = headers('application/x-www-form-urlencoded');
    expect((await call(v10(url), { body: 'content=x', headers: urlencoded })).status).toBe(204);
    const form = new FormData();
    form.set('payload_json', '{"content":"with a file"}');
    form.set('files[0]', new Blob(['text']), 'a.txt');
    const sent = await fetch(v10(url), { method: 'POST', headers: { 'user-agent': 'node' }, body: form });
    // With a file there is a body although nothing waits for it.
    expect(sent.status).toBe(200);
    form.set('files[0]', new Blob([new Uint8Array(10 * 1024 * 1024 + 1)]), 'a.bin');
    const large = await fetch(v10(url), { method: 'POST', headers: { 'user-agent': 'node' }, body: form });
    expect([large.status, await large.json()]).toEqual([413, refusal(40005)]);
    expect(discord.messages().map(({ content }) => content)).toEqual(['x', 'with a file']);
  });
});

const text = (length: number) => 'x'.repeat(length);
/** One character outside the BMP: one code point, two UTF-16 units. */
const face = (length: number) => '😀'.repeat(length);
const many = <T>(length: number, value: T) => Array.from({ length }, () => value);
const embed = (values: object) => ({ embeds: [{ title: 'T', ...values }] });
const inEmbed = (errors: object) => ({ embeds: { '0': errors } });
const field = { name: 'n', value: 'v' };

describe('the message', () => {
  test.each<[name: string, body: object]>([
    ['2000 characters, spaces around them', { content: `  ${text(2000)}\n` }],
    ['2000 code points outside the BMP', { content: face(2000) }],
    ['10 embeds', { embeds: many(10, { title: 'T' }) }],
    ['title, description', { embeds: [{ title: face(256), description: face(4096) }] }],
    ['names and values', embed({ fields: [{ name: face(256), value: face(1024) }] })],
    ['25 fields', embed({ fields: many(25, field) })],
    ['empty name and value', embed({ fields: [{ name: '', value: '' }] })],
    ['footer, author', embed({ footer: { text: face(2048) }, author: { name: face(256) } })],
    ['6000 characters over all embeds', { embeds: [{ description: text(4000) }, { description: text(2000) }] }],
    ['URLs are not counted', { embeds: many(4, { description: text(1500), url: `https://a.example/${text(1900)}` }) }],
    ['colors', { embeds: [0, 16_777_215, '10233776', 5.4].map((color) => ({ title: 'T', color })) }],
    [
      'timestamps',
      {
        embeds: ['2026-01-01T00:00:00Z', '2026-01-01T00:00:00.000+02:00', '2026-01-01T00:00:00'].map((timestamp) => ({
          title: 'T',
          timestamp,
        })),
      },
    ],
    ['an address as the host', embed({ url: 'http://192.0.2.1:8080/x' })],
    ['an attachment as the picture', embed({ image: { url: 'attachment://a.png' } })],
    ['null is absent', { content: 'x', embeds: null, username: null, avatar_url: null, allowed_mentions: null }],
    ['null in an embed', embed({ url: null, color: null, timestamp: null, fields: null, footer: null })],
    ['80 characters of a name', { content: 'x', username: face(80) }],
    ['mentions', { content: 'x', allowed_mentions: { parse: ['roles'], users: many(100, '1') } }],
    ['unknown keys', { content: 'x', unknown: 1, embeds: [{ title: 'T', type: 5, provider: 'x', video: 1 }] }],
    ['flags', { content: 'x', flags: 4 }],
  ])('accepted: %s', async (_name, body) => {
    const answer = await post(discord.createWebhook().url, body);
    expect([answer.status, answer.json]).toEqual([204, undefined]);
  });

  test.each<[name: string, body: object, errors: object]>([
    ['content', { content: text(2001) }, { content: leaf('BASE_TYPE_MAX_LENGTH') }],
    ['content outside the BMP', { content: face(2001) }, { content: leaf('BASE_TYPE_MAX_LENGTH') }],
    ['content as a list', { content: [] }, { content: leaf('STRING_TYPE_CONVERT') }],
    ['half of a surrogate pair', { content: '\ud83d' }, { content: leaf('STRING_TYPE_CONVERT') }],
    ['11 embeds', { embeds: many(11, { title: 'T' }) }, { embeds: leaf('BASE_TYPE_MAX_LENGTH') }],
    ['embeds as an object', { embeds: {} }, { embeds: leaf('LIST_TYPE_CONVERT') }],
    ['title', embed({ title: text(257) }), inEmbed({ title: leaf('BASE_TYPE_MAX_LENGTH') })],
    ['description', embed({ description: text(4097) }), inEmbed({ description: leaf('BASE_TYPE_MAX_LENGTH') })],
    ['26 fields', embed({ fields: many(26, field) }), inEmbed({ fields: leaf('BASE_TYPE_MAX_LENGTH') })],
    [
      'name and value of a field',
      embed({ fields: [field, { name: text(257), value: text(1025) }] }),
      inEmbed({ fields: { '1': { name: leaf('BASE_TYPE_MAX_LENGTH'), value: leaf('BASE_TYPE_MAX_LENGTH') } } }),
    ],
    [
      'a field without its keys',
      embed({ fields: [{ name: null }] }),
      inEmbed({ fields: { '0': { name: leaf('BASE_TYPE_REQUIRED'), value: leaf('BASE_TYPE_REQUIRED') } } }),
    ],
    [
      'footer and author',
      embed({ footer: { text: text(2049) }, author: { name: text(257) } }),
      inEmbed({ footer: { text: leaf('BASE_TYPE_MAX_LENGTH') }, author: { name: leaf('BASE_TYPE_MAX_LENGTH') } }),
    ],
    [
      '6001 characters over all embeds',
      { embeds: [{ description: text(4000) }, { description: text(1999), footer: { text: 'xx' } }] },
      { embeds: leaf('MAX_EMBED_SIZE_EXCEEDED') },
    ],
    ['an embed of nulls', { embeds: [{ title: null }] }, inEmbed({ description: leaf('BASE_TYPE_REQUIRED') })],
    ['an empty embed', { embeds: [{}] }, inEmbed(leaf('LIST_ITEM_VALUE_REQUIRED'))],
    ['a high color', embed({ color: 16_777_216 }), inEmbed({ color: leaf('NUMBER_TYPE_MAX') })],
    ['a negative color', embed({ color: -1 }), inEmbed({ color: leaf('NUMBER_TYPE_MIN') })],
    ['a color as HTML has it', embed({ color: '#9C27B0' }), inEmbed({ color: leaf('NUMBER_TYPE_COERCE') })],
    ['a number as the time', embed({ timestamp: 1 }), inEmbed({ timestamp: leaf('DATE_TIME_TYPE_PARSE') })],
    ['a boolean as the time', embed({ timestamp: true }), inEmbed({ timestamp: leaf('DATE_TIME_TYPE_PARSE') })],
    ['no time', embed({ timestamp: 'yesterday' }), inEmbed({ timestamp: leaf('DATE_TIME_TYPE_PARSE') })],
    ['another scheme', embed({ url: 'ftp://a.example' }), inEmbed({ url: leaf('URL_TYPE_INVALID_SCHEME') })],
    [
      'an attachment as the URL',
      embed({ url: 'attachment://a.png' }),
      inEmbed({ url: leaf('URL_TYPE_INVALID_SCHEME') }),
    ],
    ...[
      'http://panel:8080',
      'http://localhost/x',
      'https://a..example',
      'https://a b.example',
      `https://${text(64)}.example`,
      'a.example',
      '',
    ].map((url): [string, object, object] => [
      `the URL "${url}"`,
      embed({ url }),
      inEmbed({ url: leaf('URL_TYPE_INVALID_URL') }),
    ]),
    ['a long URL', embed({ url: `https://a.example/${text(2048)}` }), inEmbed({ url: leaf('BASE_TYPE_MAX_LENGTH') })],
    ['an empty name', { content: 'x', username: '' }, { username: leaf('BASE_TYPE_BAD_LENGTH') }],
    ['a long name', { content: 'x', username: text(81) }, { username: leaf('BASE_TYPE_BAD_LENGTH') }],
    ['a forbidden name', { content: 'x', username: 'My DisCord' }, { username: leaf('USERNAME_INVALID_CONTAINS') }],
    ['another forbidden name', { content: 'x', username: 'Clyde' }, { username: leaf('USERNAME_INVALID_CONTAINS') }],
    ['an avatar', { content: 'x', avatar_url: 'http://panel/a.png' }, { avatar_url: leaf('URL_TYPE_INVALID_URL') }],
    [
      'a type of mentions and its ids',
      { content: 'x', allowed_mentions: { parse: ['users'], users: ['1'] } },
      { allowed_mentions: leaf('MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE') },
    ],
    [
      'an unknown type of mentions',
      { content: 'x', allowed_mentions: { parse: ['all'] } },
      { allowed_mentions: { parse: { '0': leaf('BASE_TYPE_CHOICES') } } },
    ],
    [
      '101 ids',
      { content: 'x', allowed_mentions: { users: many(101, '1') } },
      { allowed_mentions: { users: leaf('BASE_TYPE_MAX_LENGTH') } },
    ],
    [
      'components of the second version beside content',
      { content: 'x', flags: 32_768, components: [{}] },
      { content: leaf('MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2') },
    ],
  ])('refused: %s', async (_name, body, errors) => {
    const answer = await post(discord.createWebhook().url, body);
    expect([answer.status, answer.json]).toEqual([400, refusal(50035, errors)]);
    expect(discord.messages()).toEqual([]);
  });

  test('a message without anything', async () => {
    const { url } = discord.createWebhook();
    for (const body of [{}, { content: '' }, { content: ' \n' }, { embeds: [] }, { components: [{}] }]) {
      const answer = await post(url, body);
      expect([answer.status, answer.json]).toEqual([400, refusal(50006)]);
    }
    const components = { body: { components: [{ type: 17 }], flags: 32_768 } };
    expect((await call(v10(url, '?with_components=true'), components)).status).toBe(204);
  });

  test('several faults are answered at once; without a version they are flat', async () => {
    const { url } = discord.createWebhook();
    const body = { content: text(2001), embeds: [{ title: 'T' }, { title: text(257), color: -1 }] };
    expect((await post(url, body)).json).toEqual(
      refusal(50035, {
        content: leaf('BASE_TYPE_MAX_LENGTH'),
        embeds: { '1': { title: leaf('BASE_TYPE_MAX_LENGTH'), color: leaf('NUMBER_TYPE_MIN') } },
      }),
    );
    const flat = { content: ['Must be 2000 or fewer in length.'], embeds: ['1'] };
    for (const version of ['', 'v6/', 'v7/']) expect((await call(at(url, version), { body })).json).toEqual(flat);
    const long = { embeds: many(2, { description: text(4000) }) };
    expect((await call(url, { body: long })).json).toEqual({ embeds: ['Embed size exceeds maximum size of 6000'] });
  });
});

describe('limits', () => {
  const limits = (timeScale = 1) => createLimits({ ...DOCUMENTED_LIMITS }, timeScale);

  test('a webhook: 5 in 2 s from the first request on, with headers', () => {
    const own = limits();
    const hits = [0, 100, 200, 300, 400, 1999, 2000].map((now) => own.webhook('a', 1_000_000 + now));
    expect(hits.map(({ waitMs }) => waitMs)).toEqual([...many(5, undefined), 1, undefined]);
    expect(hits.map(({ headers }) => headers['x-ratelimit-remaining'])).toEqual(['4', '3', '2', '1', '0', '0', '4']);
    expect(hits[1]?.headers).toMatchObject({
      'x-ratelimit-limit': '5',
      'x-ratelimit-reset': '1002.000',
      'x-ratelimit-reset-after': '1.900',
    });
    const other = own.webhook('b', 1_000_500);
    expect(other.waitMs).toBeUndefined();
    expect(other.headers['x-ratelimit-bucket']).toBe(hits[0]?.headers['x-ratelimit-bucket']);
    expect(own.most().perWebhook).toBe(6);
  });

  test('a channel: 30 in any 60 s; an address: 50 in any second', () => {
    const own = limits();
    for (let i = 0; i < 30; i += 1) expect(own.channel('c', i * 500)).toBeUndefined();
    expect(own.channel('c', 15_000)).toBe(45_000);
    expect(own.channel('c', 60_000)).toBeUndefined();
    expect(own.channel('c', 60_001)).toBe(499);
    for (let i = 0; i < 50; i += 1) expect(own.global('ip', i)).toBeUndefined();
    expect(own.global('ip', 999)).toBe(1);
    expect(own.global('ip', 1000)).toBeUndefined();
    expect(own.most()).toEqual({ perWebhook: 0, perChannel: 32, global: 51 });
    expect(limits(0.05).webhook('a', 0).headers['x-ratelimit-reset-after']).toBe('0.100');
  });

  test('10,000 invalid requests, or many to a deleted webhook, are followed by a ban', () => {
    const own = limits();
    for (let i = 0; i < 10_000; i += 1) own.invalid(i);
    expect(own.bannedUntil).toBe(0);
    own.invalid(10_000);
    expect(own.bannedUntil).toBe(3_610_000);
    const other = limits();
    for (let i = 0; i <= 100; i += 1) other.deadRepeat('w', i);
    expect(other.bannedUntil).toBe(3_600_100);
  });

  test('their answers: fractions and whole seconds, milliseconds without a version, scopes', async () => {
    const strict = await startDiscordSimulator({ limits: { perWebhook: 2, perChannel: 3, global: 5 } });
    try {
      const [a, b] = [strict.createWebhook({ channel: 'c' }), strict.createWebhook({ channel: 'c' })];
      const send = (url: string) => call(url, { body: { content: 'x' } });
      // A refused message uses up the limits, too.
      expect((await call(v10(a.url), { body: {} })).headers.get('x-ratelimit-remaining')).toBe('1');
      await send(v10(a.url));
      const user = await send(v10(a.url));
      expect(user).toMatchObject({ status: 429, json: { message: 'You are being rate limited.', global: false } });
      const wait: unknown = Reflect.get(Object(user.json), 'retry_after');
      expect(wait).toBeGreaterThan(0);
      expect(wait).toBeLessThanOrEqual(2);
      expect(user.headers.get('retry-after')).toMatch(/^[12]$/);
      expect(user.headers.get('x-ratelimit-scope')).toBe('user');
      await send(v10(b.url));
      const shared = await send(v10(b.url));
      expect(shared.status).toBe(429);
      expect(shared.headers.get('x-ratelimit-scope')).toBe('shared');
      expect(shared.headers.get('x-ratelimit-remaining')).toBe('0');
      expect(Number(shared.headers.get('retry-after'))).toBeGreaterThan(50);
      // The sixth request within a second, unless the machine was slow: then it is one of the webhook.
      const next = await send(a.url);
      expect(next.status).toBe(429);
      expect(Number(next.headers.get('retry-after'))).toBeGreaterThanOrEqual(3);
      expect(Reflect.get(Object(next.json), 'retry_after')).toBe(Number(next.headers.get('retry-after')));
      expect(strict.counts()).toMatchObject({ requests: 6, stored: 2, limited: { channel: 1 }, invalid: 2 });
      expect(strict.counts().limited.webhook + strict.counts().limited.global).toBe(2);
    } finally {
      await strict.close();
    }
  });
});

describe('faults', () => {
  test('every documented error, for the next requests of one webhook', async () => {
    const { url, id } = discord.createWebhook();
    const other = discord.createWebhook();
    const table: [code: number, status: number][] = [
      [10015, 404],
      [50027, 401],
      [10003, 400],
      [50006, 400],
      [50035, 400],
      [50109, 400],
      [40005, 413],
      [40333, 403],
      [220001, 400],
      [220002, 400],
      [220003, 400],
      [220004, 400],
      [160005, 400],
      [50083, 400],
      [160006, 400],
      [40067, 400],
      [200000, 400],
      [200001, 400],
      [240000, 400],
      [20016, 429],
      [20028, 429],
      [20029, 429],
      [40062, 429],
      [130000, 503],
      [40004, 503],
      [40006, 503],
      [50041, 400],
    ];
    for (const [code] of table) discord.fault({ kind: 'error', code }, { webhook: id });
    discord.fault(
      { kind: 'error', code: 10003, status: 404, message: 'M', errors: { a: 1 } },
      { webhook: id, times: 2 },
    );
    expect((await post(other.url, { content: 'x' })).status).toBe(204);
    for (const [code, status] of table) {
      const answer = await post(url, { content: 'x' });
      expect([answer.status, answer.json]).toEqual([status, refusal(code)]);
    }
    for (let i = 0; i < 2; i += 1) {
      expect(await post(url, {})).toMatchObject({ status: 404, json: { message: 'M', code: 10003, errors: { a: 1 } } });
    }
    expect((await post(url, { content: 'x' })).status).toBe(204);
    expect(discord.counts()).toMatchObject({ stored: 2, limited: { fault: 4 } });
  });

  test('limits, bans and pages of something in between', async () => {
    const { url } = discord.createWebhook();
    const send = async (version = 'v10/') => {
      const { status, headers, json, text } = await call(at(url, version), { body: { content: 'x' } });
      return { status, wait: headers.get('retry-after'), scope: headers.get('x-ratelimit-scope'), json, text };
    };
    discord.fault({ kind: 'limited', retryAfter: 0.25 });
    discord.fault({ kind: 'limited', retryAfter: 64.57, scope: 'global' });
    discord.fault({ kind: 'limited', retryAfter: 0.25 });
    discord.fault({ kind: 'limited', retryAfter: 3, headers: false, code: 40062 });
    discord.fault({ kind: 'limited', retryAfter: null });
    discord.fault({ kind: 'ban-json' });
    discord.fault({ kind: 'ban-page' });
    discord.fault({ kind: 'ban-page', html: true, retryAfter: 3600 });
    discord.fault({ kind: 'blocked' });
    discord.fault({ kind: 'html', status: 502 });
    const limited = { message: 'You are being rate limited.', global: false };
    const none = { wait: null, scope: null };
    expect(await send()).toMatchObject({
      status: 429,
      wait: '1',
      scope: 'user',
      json: { ...limited, retry_after: 0.25 },
    });
    expect(await send()).toMatchObject({ wait: '65', scope: 'global', json: { global: true, retry_after: 64.57 } });
    expect(await send('')).toMatchObject({ wait: '250', json: { ...limited, retry_after: 250 } });
    expect(await send()).toMatchObject({ ...none, json: { ...limited, retry_after: 3, code: 40062 } });
    expect(await send()).toMatchObject({ status: 429, ...none, json: { message: limited.message } });
    expect(await send()).toMatchObject({
      status: 429,
      ...none,
      json: { code: 0 },
      text: expect.stringContaining('You are being blocked'),
    });
    expect(await send()).toMatchObject({ status: 429, ...none, text: 'error code: 1015' });
    expect(await send()).toMatchObject({
      status: 429,
      wait: '3600',
      text: expect.stringContaining('<title>error code: 1015'),
    });
    expect(await send()).toMatchObject({ status: 403, ...none, text: 'error code: 1010' });
    expect(await send()).toMatchObject({ status: 502, ...none, text: expect.stringContaining('<html>') });
    discord.ban(60_000, { kind: 'ban-page' });
    expect(await send()).toMatchObject({ status: 429, text: 'error code: 1015' });
    discord.ban(0);
    expect(await send()).toMatchObject({ status: 204 });
    expect(discord.counts().limited).toMatchObject({ fault: 8, ban: 1 });
  });

  test('before a message is stored, and after', async () => {
    const { url, id } = discord.createWebhook();
    const send = () =>
      call(v10(url, '?wait=1'), { body: { content: 'x' }, headers: { ...AGENT, 'x-nodebyte-delivery': 'd' } });
    discord.fault({ kind: 'cut' });
    await expect(send()).rejects.toThrow();
    expect(discord.messages()).toHaveLength(0);
    for (const kind of ['stored-cut', 'stored-half'] as const) {
      discord.fault({ kind });
      await expect(send()).rejects.toThrow();
    }
    expect(discord.messages()).toHaveLength(2);
    discord.fault({ kind: 'stored-html' });
    expect(await send()).toMatchObject({ status: 200, json: undefined });
    discord.fault({ kind: 'stored-empty' });
    expect(await send()).toMatchObject({ status: 200, text: '' });
    discord.fault({ kind: 'slow', ms: 20 });
    expect(await send()).toMatchObject({ status: 200, json: { content: 'x' } });
    const stored = discord.messages();
    expect(stored).toHaveLength(5);
    const requests = discord.requests(id);
    expect(requests.map(({ status }) => status)).toEqual([0, 0, 200, 200, 200, 200]);
    expect(requests.map(({ messageId }) => messageId)).toEqual([null, ...stored.map((message) => message.id)]);
    expect(new Set([...requests, ...stored].map(({ deliveryId }) => deliveryId))).toEqual(new Set(['d']));
    expect(requests[5]?.answeredAt).toBeGreaterThanOrEqual((requests[5]?.at ?? 0) + 20);
  });

  test('what is true of a webhook until it is changed', async () => {
    const { url, id } = discord.createWebhook();
    const send = (body: object = { content: 'x' }) => post(url, body);
    discord.change(id, { tokenWrong: true });
    expect((await send()).json).toEqual(refusal(50027));
    discord.change(id, { tokenWrong: false, deleted: true });
    expect((await send()).json).toEqual(refusal(10015));
    discord.change(id, { deleted: false, refusedNames: ['here'] });
    const named = { content: 'x', username: 'NodeByte Sphere' };
    expect((await send(named)).json).toEqual(refusal(50035, { username: leaf('USERNAME_INVALID_CONTAINS') }));
    expect((await send()).status).toBe(204);
    discord.change(id, { refusedNames: ['*'] });
    expect((await send({ ...named, username: 'Any' })).status).toBe(400);
    discord.change(id, { refusedNames: [], delayMs: 30 });
    expect((await send(named)).status).toBe(204);
    const [last] = discord.requests(id).slice(-1);
    expect(last?.answeredAt).toBeGreaterThanOrEqual((last?.at ?? 0) + 30);
    discord.change(id, { delayMs: 0, unresponsive: true });
    const signal = AbortSignal.timeout(100);
    await expect(
      fetch(v10(url), { method: 'POST', headers: AGENT, body: '{"content":"x"}', signal }),
    ).rejects.toThrow();
    discord.fault({ kind: 'hang' });
    discord.fault({ kind: 'stored-hang' });
    discord.change(id, { unresponsive: false });
    for (let i = 0; i < 2; i += 1) {
      const short = { signal: AbortSignal.timeout(100) };
      await expect(
        fetch(v10(url), { method: 'POST', headers: AGENT, body: '{"content":"x"}', ...short }),
      ).rejects.toThrow();
    }
    expect(discord.messages({ webhook: id })).toHaveLength(3);
    expect(discord.counts().perWebhook).toEqual({ [id]: 3 });
    expect(() => discord.change('1', {})).toThrow();
  });
});

describe('from another process', () => {
  const admin = async (path: string, method = 'GET', body?: unknown) => {
    const response = await fetch(`${discord.url}/__sim/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const json: unknown = await response.json();
    return { status: response.status, json };
  };

  test('makes webhooks, changes them, sets faults, reads what arrived', async () => {
    const { json } = await admin('webhooks', 'POST', { name: 'remote', channel: 'remote' });
    const hook = discord.webhooks().at(-1);
    expect(json).toEqual(hook);
    const { url = '', id = '' } = hook ?? {};
    await admin('faults', 'POST', [
      { kind: 'error', code: 50035, errors: { content: {} }, webhook: id },
      { kind: 'limited', retryAfter: 1.5, times: 2 },
    ]);
    expect((await post(url, { content: 'x' })).json).toEqual(refusal(50035, { content: {} }));
    expect((await post(url, { content: 'x' })).json).toMatchObject({ retry_after: 1.5 });
    await admin('faults', 'DELETE');
    await post(url, { content: 'x' });
    expect((await admin(`messages?webhook=${id}`)).json).toEqual({ messages: discord.messages({ webhook: id }) });
    expect((await admin(`requests?webhook=${id}`)).json).toEqual({ requests: discord.requests(id) });
    expect((await admin('counts')).json).toMatchObject({ requests: 3, stored: 1 });
    await admin('webhooks', 'PATCH', { id, deleted: true });
    expect((await post(url, {})).status).toBe(404);
    await admin('ban', 'POST', { ms: 60_000, page: true, retryAfter: 60 });
    expect((await post(url, {})).headers.get('retry-after')).toBe('60');
    await admin('clear', 'POST');
    expect((await admin('counts')).json).toMatchObject({ requests: 0, stored: 0 });
    expect((await admin('webhooks')).json).toEqual({ webhooks: discord.webhooks(), channels: discord.channels() });
    for (const [path, method, body] of [
      ['faults', 'POST', { kind: 'earthquake' }],
      ['webhooks', 'PATCH', { id: '1' }],
    ] as const) {
      expect((await admin(path, method, body)).status).toBe(400);
    }
    expect((await admin('nothing')).status).toBe(404);
  });

  test('the command prints its URL, and ends on a signal', async () => {
    const main = fileURLToPath(new URL('../../../simulators/discord/main.ts', import.meta.url));
    const child = spawn(process.execPath, [main, '--time-scale', '0.1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line]: unknown[] = await once(child.stdout, 'data');
      const url: unknown = Reflect.get(JSON.parse(String(line)), 'url');
      expect((await fetch(`${url}/`)).status).toBe(200);
      child.kill('SIGTERM');
      const [code]: unknown[] = await once(child, 'exit');
      expect(code).toBe(0);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('the page', () => {
  const HOSTILE = `"><script>alert(1)</script><img src=x onerror=alert(1)>'&amp;</title></style>`;

  test.each([
    ['a **b *c*** _d_ ~~e~~', 'a <b>b <i>c</i></b> <i>d</i> <s>e</s>'],
    [String.raw`\*a\* \_b\_ c\\d`, String.raw`*a* _b_ c\d`],
    ['`**a** <b>`', '<code>**a** &lt;b&gt;</code>'],
    ['john_doe_x a*b', 'john_doe_x a*b'],
    ['[**a**](https://a.example/"x)', '<a href="https://a.example/&quot;x" rel="noreferrer"><b>a</b></a>'],
    ['[a](javascript:alert)', '[a](javascript:alert)'],
    ['https://a.example/x.', '<a href="https://a.example/x" rel="noreferrer">https://a.example/x</a>.'],
    [String.raw`@everyone \@here`, '<mark>@everyone</mark> @here'],
  ])('Markdown: %s', (text, shown) => {
    expect(markdown(text).toString()).toBe(shown);
    expect(linked('text', 'javascript:alert(1)').toString()).toBe('text');
  });

  test('shows channels, messages and refused requests; texts are only shown', async () => {
    const { url, channelId } = discord.createWebhook({ name: HOSTILE, channel: HOSTILE });
    const part = HOSTILE.slice(0, 70);
    const embeds = [
      {
        title: HOSTILE,
        description: HOSTILE,
        url: 'https://a.example/"><script>',
        color: 0x00ff01,
        timestamp: '2026-01-02T03:04:05Z',
        fields: [{ name: HOSTILE, value: HOSTILE, inline: true }],
        footer: { text: HOSTILE },
        author: { name: HOSTILE },
        image: { url: 'attachment://"><script>.png' },
      },
    ];
    const headers = { ...AGENT, 'x-nodebyte-delivery': HOSTILE };
    expect((await call(v10(url), { body: { content: HOSTILE, username: part, embeds }, headers })).status).toBe(204);
    await call(v10(url), { body: {}, headers });
    const page = await fetch(`${discord.url}/channels/${channelId}`);
    const body = await page.text();
    const tags = [...body.matchAll(/<\/?([a-z0-9]+)/gi)].map(([, name = '']) => name.toLowerCase());
    expect(tags).not.toContain('script');
    expect(tags).not.toContain('img');
    for (const name of ['title', 'style']) expect(tags.filter((tag) => tag === name)).toHaveLength(2);
    expect(body).not.toMatch(/<[^>]*\son[a-z]+=/i);
    expect(body).not.toMatch(/(?:src|href)="(?!\/|https:\/\/a\.example\/)/);
    expect(body).toContain('border-left-color: #00ff01');
    expect(body).toContain('2026-01-02 03:04 UTC');
    expect(body).toContain('1 request without a message');
    expect(body.match(/&lt;script&gt;/g)?.length).toBeGreaterThanOrEqual(12);
    expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'/);
    expect((await fetch(`${discord.url}/channels/1`)).status).toBe(404);
    expect((await fetch(`${discord.url}/`)).status).toBe(200);
  });
});
