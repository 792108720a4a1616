/** Checks before a body is read: its maximum size per route, and the rate limits of the client address. */
import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, type Harness, json, startHarness } from '../../support/api/harness.ts';
import { login, post, resetRateLimits } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

/** Sends the head of a request without its body. @returns the answer. */
async function sendHead(path: string, length: number): Promise<{ status: number; head: string; body: unknown }> {
  const { hostname, port } = new URL(harness.url);
  const socket = connect(Number(port), hostname);
  try {
    const text = await new Promise<string>((resolve, reject) => {
      let answer = '';
      socket.on('error', reject);
      socket.on('close', () => reject(new Error(`closed after: ${answer}`)));
      socket.on('data', (chunk) => {
        answer += String(chunk);
        if (/\r\n\r\n.*\}$/s.test(answer)) resolve(answer);
      });
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n`,
      );
    });
    const [head = '', body = ''] = text.split('\r\n\r\n');
    return { status: Number(head.split(' ')[1]), head: head.toLowerCase(), body: JSON.parse(body) };
  } finally {
    socket.destroy();
  }
}

/** The text of an object of at least `bytes` bytes with as many keys as possible. */
function manyKeys(bytes: number): string {
  const parts: string[] = [];
  let length = 2;
  for (let key = 0; length < bytes; key += 1) {
    const part = `"${key.toString(36)}":0`;
    parts.push(part);
    length += part.length + 1;
  }
  return `{${parts.join(',')}}`;
}

describe.each(['login', 'logout', 'refresh', 'register'])('%s', (route) => {
  test('refuses a body of 4 MiB with many keys, already by its Content-Length', async () => {
    const body = manyKeys(4 * 1024 * 1024);
    const sent = await harness.get(`/api/v1/auth/${route}`, { ...json({}), body });
    expect([sent.status, (await sent.json()).code]).toEqual([413, 'PAYLOAD_TOO_LARGE']);
    const announced = await sendHead(`/api/v1/auth/${route}`, body.length);
    expect(announced).toMatchObject({ status: 413, body: { error: 'payload_too_large' } });
    // The refused request does not count for the rate limits.
    expect(sent.headers.get('x-ratelimit-limit')).toBeNull();
  });
});

test('a path without a route has the default limit', async () => {
  expect(await sendHead('/api/v1/nothing', 64 * 1024 + 1)).toMatchObject({ status: 413 });
  expect(await sendHead('/api/v1/nothing', 64 * 1024)).toMatchObject({ status: 404 });
});

test('the route that queues an email has a limit of 128 KiB', async () => {
  const send = (bytes: number) =>
    harness.get('/api/v1/email/queue', json({ to: '', pad: 'x'.repeat(bytes) }, { 'X-API-Key': API_KEY }));
  expect((await send(100 * 1024)).status).toBe(400);
  expect((await send(128 * 1024)).status).toBe(413);
});

describe('the rate limits of login', () => {
  const email = 'person@example.com';
  const empty = (name: string) =>
    harness.database.db.raw('update rate_limits set tokens = 0 where key like ?', [`${name}:%`]);
  /** Remaining tokens of the buckets of login, per rule. */
  const left = async () => {
    const rows = await query<{ name: string; tokens: number }>(
      harness.database.db,
      `select split_part(r.key, ':', 1) as name, floor(r.tokens)::int as tokens from rate_limits r
        where r.key like 'login%'`,
    );
    return Object.fromEntries(rows.map((row) => [row.name, row.tokens]));
  };

  test('the limit of the client address is checked before the body is read', async () => {
    await login(harness, email, 'wrong');
    await empty('login-address');
    const { status, head, body } = await sendHead('/api/v1/auth/login', 100);
    expect([status, body]).toMatchObject([429, { error: 'rate_limited' }]);
    expect(head).toContain('x-ratelimit-limit: 100');
    expect(head).toContain('x-ratelimit-remaining: 0');
    expect(head).toMatch(/retry-after: [1-9]\b/);
  });

  test('a refusal by the client address takes no token from the account', async () => {
    await login(harness, email, 'wrong');
    await empty('login-address');
    expect((await login(harness, email, 'wrong')).status).toBe(429);
    expect(await left()).toEqual({ login: 9, 'login-account': 49, 'login-address': 0 });
  });

  test('a refusal by one limit of the body takes no token from the other, but one from the client address', async () => {
    await login(harness, email, 'wrong');
    await empty('login');
    const refused = await login(harness, email, 'wrong');
    expect([refused.status, refused.headers.get('x-ratelimit-limit')]).toEqual([429, '10']);
    expect(await left()).toEqual({ login: 0, 'login-account': 49, 'login-address': 98 });
  });

  test('the headers show the limit with the fewest remaining requests', async () => {
    await login(harness, email, 'wrong');
    await harness.database.db.raw("update rate_limits set tokens = 4 where key like 'login-address:%'");
    const { headers } = await post(harness, 'login', { email });
    expect([headers.get('x-ratelimit-limit'), headers.get('x-ratelimit-remaining')]).toEqual(['100', '3']);
  });
});
