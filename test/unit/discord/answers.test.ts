/** What answers mean, down to headers and bodies that no honest server sends. */
import { describe, expect, test } from 'vitest';
import type { PostResult } from '../../../src/clients/discord/answers.ts';
import {
  type Called,
  readInspectAnswer,
  readPostAnswer,
  readPostFailure,
} from '../../../src/clients/discord/read-answer.ts';
import { HttpFailure } from '../../../src/clients/http/failures.ts';
import type { HttpAnswer } from '../../../src/clients/http/http.ts';

const MARKER = 'Zx9-marker_token-that-must-not-be-shown';
const CALLED: Called = { who: 'Discord', discord: true, version10: true, thread: false };
const GATEWAY: Called = { who: 'the host of the webhook', discord: false, version10: false, thread: false };

function answerOf(status: number, body: unknown = '', headers: Record<string, string> = {}): HttpAnswer {
  return {
    status,
    url: new URL(`https://discord.com/api/v10/webhooks/1/${MARKER}`),
    header: (name) => headers[name],
    text: typeof body === 'string' ? body : JSON.stringify(body),
  };
}
const read = (status: number, body: unknown = '', headers: Record<string, string> = {}, called = CALLED): PostResult =>
  readPostAnswer(called, answerOf(status, body, headers));
const limited = (body: unknown, headers: Record<string, string> = {}, called = CALLED) =>
  read(429, body, headers, called).pause;

describe('a 429', () => {
  const own = { message: 'You are being rate limited.', retry_after: 0.65, global: false };

  test('asks for the fraction of its body, not for the rounded header', () => {
    expect(limited(own, { 'retry-after': '1', 'x-ratelimit-scope': 'user' })).toEqual({ scope: 'webhook', ms: 650 });
    expect(limited({ ...own, retry_after: 44.1234 }, { 'x-ratelimit-scope': 'shared' })).toEqual({
      scope: 'channel',
      ms: 44_124,
    });
  });

  test.each([
    ['user', { 'x-ratelimit-scope': 'user' }, {}, 'webhook'],
    ['shared', { 'x-ratelimit-scope': 'shared', 'x-ratelimit-remaining': '3' }, {}, 'channel'],
    ['shared, whatever is left', { 'x-ratelimit-scope': 'shared', 'x-ratelimit-remaining': '0' }, {}, 'channel'],
    ['global', { 'x-ratelimit-scope': 'global' }, {}, 'all'],
    ['global by a header', { 'x-ratelimit-global': 'true' }, {}, 'all'],
    ['global by its body', {}, { global: true }, 'all'],
    ['none, and the limit of the webhook is used up', { 'x-ratelimit-remaining': '0' }, {}, 'webhook'],
    ['none, and the limit of the webhook is not used up', { 'x-ratelimit-remaining': '2' }, {}, 'channel'],
    ['none, without headers', {}, {}, 'channel'],
    ['a word that is unknown', { 'x-ratelimit-scope': 'planet' }, {}, 'channel'],
  ])('of scope %s', (_what, headers, body, scope) => {
    expect(limited({ ...own, ...body }, headers)).toEqual({ scope, ms: 650 });
  });

  test('that does not say how long pauses everything for a minute, or for its Retry-After up to an hour', () => {
    const ban = { code: 0, message: 'You are being blocked from accessing our API temporarily' };
    for (const body of [ban, 'error code: 1015', '<html>error code: 1015</html>', '', '[]', '{"retry_after":']) {
      expect(limited(body)).toEqual({ scope: 'all', ms: 60_000 });
      expect(limited(body, { 'retry-after': '5' })).toEqual({ scope: 'all', ms: 60_000 });
      expect(limited(body, { 'retry-after': '1800' })).toEqual({ scope: 'all', ms: 1_800_000 });
      expect(limited(body, { 'retry-after': '99999999999' })).toEqual({ scope: 'all', ms: 3_600_000 });
    }
    for (const value of ['soon', '-5', '1e99', 'NaN', '', ' ']) {
      expect(limited('error code: 1015', { 'retry-after': value })).toEqual({ scope: 'all', ms: 60_000 });
    }
  });

  test('with an absurd number is bounded', () => {
    const wait = (retry_after: unknown) => limited({ ...own, retry_after }, { 'x-ratelimit-scope': 'user' });
    expect(wait(1e300)).toEqual({ scope: 'webhook', ms: 3_600_000 });
    expect(wait(0)).toEqual({ scope: 'webhook', ms: 250 });
    for (const value of [-1, '1', null, {}]) expect(wait(value)).toEqual({ scope: 'all', ms: 60_000 });
    // 1e999 is Infinity after JSON.parse.
    expect(limited('{"retry_after":1e999}')).toEqual({ scope: 'all', ms: 60_000 });
  });

  test('of a path without version 10 has whole milliseconds', () => {
    const odd = { ...CALLED, version10: false };
    const headers = { 'x-ratelimit-scope': 'shared' };
    expect(limited({ ...own, retry_after: 44_123 }, headers, odd)?.ms).toBe(44_123);
    expect(limited({ ...own, retry_after: 44.5 }, headers, odd)?.ms).toBe(44_500);
    expect(limited({ ...own, retry_after: 3 }, headers, odd)?.ms).toBe(3_000);
  });

  test('of a host that is not Discord pauses no other webhook', () => {
    for (const [body, headers] of [
      ['error code: 1015', {}],
      [{ ...own, global: true }, {}],
    ] as const) {
      expect(limited(body, headers, GATEWAY)?.scope).toBe('webhook');
    }
    expect(read(403, 'error code: 1010', {}, GATEWAY).pause?.scope).toBe('webhook');
    const lost = new HttpFailure('body', { status: 429 });
    expect([readPostFailure(CALLED, lost).pause?.scope, readPostFailure(GATEWAY, lost).pause?.scope]).toEqual([
      'all',
      'webhook',
    ]);
  });
});

describe('the headers of an answer', () => {
  const used = (remaining: string, after?: string) =>
    read(204, '', {
      'x-ratelimit-remaining': remaining,
      ...(after === undefined ? {} : { 'x-ratelimit-reset-after': after }),
    }).pause;

  test('pause the webhook when its limit is used up', () => {
    expect(used('0', '1.234')).toEqual({ scope: 'webhook', ms: 1_234 });
    expect(used('0', ' 2 ')).toEqual({ scope: 'webhook', ms: 2_000 });
    expect(used('0', '0.0004')).toEqual({ scope: 'webhook', ms: 1 });
    expect(used('0', '999999999')).toEqual({ scope: 'webhook', ms: 60_000 });
    expect(used('1', '1.234')).toBeUndefined();
    for (const after of [undefined, '', '-1', '0', 'NaN', '1e9', 'soon', '1,5', '0x10'])
      expect(used('0', after)).toBeUndefined();
    for (const remaining of ['', 'x', '00x', '-0']) expect(used(remaining, '1')).toBeUndefined();
  });

  test('of a refusal count too', () => {
    const headers = { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset-after': '0.5' };
    expect(read(400, { code: 50006, message: '' }, headers)).toMatchObject({
      outcome: 'refused',
      pause: { scope: 'webhook', ms: 500 },
    });
  });
});

describe('an error', () => {
  test.each([
    [10015, 404, true],
    [10015, 400, true],
    [50027, 401, true],
    [0, 404, false],
    [0, 401, false],
    [10003, 404, false],
    [10003, 400, false],
    [99999, 403, false],
  ])('of code %i with status %i: dead %s', (code, status, dead) => {
    expect(read(status, { code, message: MARKER })).toMatchObject({ outcome: 'refused', dead, discordCode: code });
  });

  test('that is not in the form of Discord says nothing about the webhook', () => {
    for (const status of [400, 401, 403, 404, 405, 410]) {
      for (const body of [
        '',
        'gone',
        `<html>${MARKER}</html>`,
        '[]',
        'null',
        '{}',
        '{"error":"not found"}',
        '{"code":"10015","message":"x"}',
        '{"code":10015}',
        '{"code":10015.5,"message":""}',
        '{"code":-1,"message":""}',
      ]) {
        const result = read(status, body);
        expect([result.outcome, JSON.stringify(result)]).toEqual([
          'unavailable',
          expect.not.stringContaining('marker'),
        ]);
      }
    }
  });

  test('of a server is none of the webhook, whatever its body is', () => {
    for (const body of [
      '',
      '<html>',
      { code: 10015, message: '' },
      { code: 50027, message: '' },
      { code: 0, message: '' },
    ]) {
      for (const status of [500, 502, 503, 529]) expect(read(status, body).outcome).toBe('unavailable');
    }
    expect(read(503, '', { 'retry-after': '30' }).pause).toEqual({ scope: 'webhook', ms: 30_000 });
    // A proxy gave up waiting: the message may have arrived.
    for (const status of [504, 524]) expect(read(status, '<html>').outcome).toBe('lost');
  });

  test('names the fields that are wrong, down to the leaf, and nothing else', () => {
    const leaf = (code: string) => ({ _errors: [{ code, message: MARKER }] });
    const errors = {
      embeds: {
        0: { fields: { 3: { value: leaf('BASE_TYPE_MAX_LENGTH'), name: leaf('BASE_TYPE_REQUIRED') } } },
        _errors: [{ code: 'MAX_EMBED_SIZE_EXCEEDED', message: MARKER }],
      },
      username: leaf('USERNAME_INVALID_CONTAINS'),
      content: leaf(MARKER),
      [MARKER]: { [MARKER]: leaf('URL_TYPE_INVALID_URL') },
    };
    expect(read(400, { code: 50035, message: 'Invalid Form Body', errors })).toMatchObject({
      detail:
        'Discord refused the message: embeds.0.fields.3.value (BASE_TYPE_MAX_LENGTH), embeds.0.fields.3.name (BASE_TYPE_REQUIRED), embeds (MAX_EMBED_SIZE_EXCEEDED), username (USERNAME_INVALID_CONTAINS) and 2 more',
      plainHelps: false,
    });
    expect(
      read(400, { code: 50035, message: '', errors: { [MARKER]: leaf(MARKER), _errors: [null, 1, {}] } }),
    ).toMatchObject({
      detail: 'Discord refused the message: ?, the whole',
    });
    const deep = '{"embeds":'.repeat(5_000) + JSON.stringify(leaf('X')) + '}'.repeat(5_000);
    expect(read(400, `{"code":50035,"message":"","errors":${deep}}`)).toMatchObject({
      detail: 'Discord refused the message: status 400, code 50035',
    });
  });

  test('without a version comes flat', () => {
    expect(read(400, { embeds: ['0'] })).toMatchObject({
      outcome: 'refused',
      discordCode: null,
      detail: 'Discord refused the message: embeds.0',
    });
    expect(read(400, { embeds: [`Embed size exceeds ${MARKER}`], username: [MARKER] })).toMatchObject({
      detail: 'Discord refused the message: embeds, username',
      plainHelps: false,
    });
  });

  test('of our name or picture alone is helped by leaving them out', () => {
    const errors = { username: { _errors: [{ code: 'USERNAME_INVALID_CONTAINS', message: '' }] } };
    const picture = { avatar_url: { _errors: [{ code: 'URL_TYPE_INVALID_URL', message: '' }] } };
    const content = { content: { _errors: [{ code: 'BASE_TYPE_MAX_LENGTH', message: '' }] } };
    const helps = (all: object) => read(400, { code: 50035, message: '', errors: all });
    expect(helps(errors)).toMatchObject({ plainHelps: true });
    expect(helps({ ...errors, ...picture })).toMatchObject({ plainHelps: true });
    expect(read(400, { username: ['x'] })).toMatchObject({ plainHelps: true });
    expect(helps({ ...errors, ...content })).toMatchObject({ plainHelps: false });
    expect(helps({})).toMatchObject({ plainHelps: false });
  });

  test('of a thread_id that is no id says which part of the URL is wrong', () => {
    const errors = { thread_id: { _errors: [{ code: 'NUMBER_TYPE_COERCE', message: MARKER }] } };
    expect(read(400, { code: 50035, message: '', errors })).toMatchObject({
      detail: expect.stringMatching(/correct thread_id/),
    });
  });
});

test('a redirect is a refusal that is not the fault of the webhook, and its address is not named', () => {
  for (const location of [`https://evil.example/${MARKER}/api`, `https://${MARKER}.example/login`, '/', undefined]) {
    const result = read(302, '', location === undefined ? {} : { location });
    expect(result).toMatchObject({ outcome: 'refused', dead: false });
    expect(JSON.stringify(result)).not.toMatch(/marker|evil/);
  }
});

test('a firewall in front of Discord stops everything for a time', () => {
  for (const [status, body, headers] of [
    [403, 'error code: 1010', {}],
    [403, '<title>Error 1020</title>', {}],
    [403, { code: 40333, message: 'internal network error' }, {}],
    [403, '<html>', { 'cf-mitigated': 'challenge' }],
  ] as const) {
    expect(read(status, body, headers)).toMatchObject({
      outcome: 'unavailable',
      httpStatus: 403,
      pause: { scope: 'all', ms: 300_000 },
    });
  }
});

test('every 2xx is a delivery, also without its body', () => {
  for (const [status, body] of [
    [200, '<html>'],
    [200, ''],
    [201, '{"id":'],
    [204, ''],
    [200, '{"id":5,"channel_id":"x1"}'],
    [200, 'null'],
  ] as const) {
    expect(read(status, body)).toEqual({ outcome: 'delivered', httpStatus: status, messageId: null, channelId: null });
  }
  for (const kind of ['body', 'too-large', 'timeout'] as const) {
    expect(readPostFailure(CALLED, new HttpFailure(kind, { status: 200 })).outcome).toBe('delivered');
    expect(readPostFailure(CALLED, new HttpFailure(kind, { status: 502 })).outcome).toBe('unavailable');
  }
  // The answer in a thread names the thread, which is not the channel whose limit counts.
  const message = { id: '5', channel_id: '6' };
  expect(read(200, message)).toMatchObject({ messageId: '5', channelId: '6' });
  expect(read(200, message, {}, { ...CALLED, thread: true })).toMatchObject({ messageId: '5', channelId: null });
});

test('what failed before the request was sent is not lost', () => {
  const outcome = (kind: HttpFailure['kind'], reason?: string) =>
    readPostFailure(CALLED, new HttpFailure(kind, { reason })).outcome;
  for (const reason of [
    'ENOTFOUND',
    'EAI_AGAIN',
    'ECONNREFUSED',
    'EHOSTUNREACH',
    'CERT_HAS_EXPIRED',
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'EPROTO',
  ])
    expect(outcome('network', reason), reason).toBe('unavailable');
  expect(outcome('timeout', 'UND_ERR_CONNECT_TIMEOUT')).toBe('unavailable');
  for (const reason of ['ECONNRESET', 'UND_ERR_SOCKET', 'EPIPE', 'SOMETHING_NEW', undefined])
    expect(outcome('network', reason)).toBe('lost');
  for (const reason of ['UND_ERR_ABORTED', 'ETIMEDOUT', undefined]) expect(outcome('timeout', reason)).toBe('lost');
});

describe('the answer about a webhook', () => {
  const own = { id: '5', type: 1, channel_id: '6', name: 'Alerts', token: MARKER, guild_id: '1' };
  const inspect = (status: number, body: unknown) => readInspectAnswer(CALLED, answerOf(status, body));

  test('gives its channel and its name, and never its token', () => {
    expect(inspect(200, own)).toEqual({ state: 'alive', channelId: '6', name: 'Alerts' });
    expect(inspect(200, { ...own, name: `x ${MARKER}`, channel_id: MARKER })).toEqual({
      state: 'alive',
      channelId: null,
      name: null,
    });
    expect(inspect(200, { id: '5', type: 1 })).toEqual({ state: 'alive', channelId: null, name: null });
  });

  test('says when nothing can be posted there', () => {
    for (const body of [
      { ...own, type: 2 },
      { ...own, type: 3 },
    ])
      expect(inspect(200, body).state).toBe('dead');
    expect(inspect(404, { code: 10015, message: MARKER }).state).toBe('dead');
    expect(inspect(401, { code: 50027, message: MARKER }).state).toBe('dead');
    // A message would not follow it.
    expect(inspect(302, '').state).toBe('dead');
  });

  test('else says nothing about it', () => {
    for (const [status, body] of [
      [200, '<html>'],
      [200, ''],
      [200, { type: 1 }],
      [200, { ...own, type: '1' }],
      [404, { code: 0, message: '' }],
      [404, '<html>'],
      [401, ''],
      [403, 'error code: 1010'],
      [429, { retry_after: 1, message: MARKER }],
      [429, 'error code: 1015'],
      [500, { code: 10015, message: '' }],
    ] as const) {
      const result = inspect(status, body);
      expect(result, `${status} ${JSON.stringify(body)}`).toEqual({
        state: 'unknown',
        detail: expect.stringMatching(/^[A-Z].{10}/),
      });
      expect(JSON.stringify(result)).not.toContain('marker');
    }
  });
});
