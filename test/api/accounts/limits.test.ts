/** Rate limits of the auth routes: what they count and what they answer. */
import { createServer } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createDb } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { type Harness, json, makeUser, ORIGIN, PASSWORD, startHarness } from '../../support/api/harness.ts';
import {
  type Answer,
  call,
  countByStatus,
  emailsTo,
  login,
  outcome,
  post,
  resetRateLimits,
  tokenFor,
} from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

/** Runs `work` with a further api on the same database that trusts `hops` proxies. */
async function behindProxies(hops: number, work: (copy: Harness) => Promise<void>): Promise<void> {
  const copy = await startHarness({ database: harness.database, config: { trustedProxyHops: hops } });
  try {
    await work(copy);
  } finally {
    await copy.close();
  }
}
const limitOf = ({ headers }: Answer) => Number(headers.get('x-ratelimit-limit'));
const remainingOf = ({ headers }: Answer) => Number(headers.get('x-ratelimit-remaining'));
/** Lets `seconds` pass for all buckets. */
const pass = (seconds: number) =>
  harness.database.db.raw('update rate_limits set updated_at = updated_at - make_interval(secs => ?)', [seconds]);

interface Limited {
  route: string;
  max: number;
  /** As the refusal writes it. */
  window: string;
  /** A request that needs little time when the limit allows it. */
  send: () => Promise<Answer>;
}
const email = 'person@example.com';
const LIMITED: Limited[] = [
  { route: 'login', max: 10, window: '15m0s', send: () => post(harness, 'login', { email }) },
  { route: 'validate', max: 10, window: '15m0s', send: () => post(harness, 'validate', { email }) },
  { route: 'register', max: 20, window: '1h0m0s', send: () => post(harness, 'register', {}) },
  { route: 'refresh', max: 600, window: '15m0s', send: () => post(harness, 'refresh', {}) },
  { route: 'logout', max: 600, window: '15m0s', send: () => post(harness, 'logout', {}) },
  { route: 'verify-email', max: 30, window: '15m0s', send: () => post(harness, 'verify-email', {}) },
  { route: 'reset-password', max: 30, window: '15m0s', send: () => post(harness, 'reset-password', {}) },
  { route: 'magic-link/verify', max: 30, window: '15m0s', send: () => post(harness, 'magic-link/verify', {}) },
  { route: 'forgot-password', max: 5, window: '1h0m0s', send: () => post(harness, 'forgot-password', { email }) },
  { route: 'magic-link', max: 5, window: '1h0m0s', send: () => post(harness, 'magic-link', { email }) },
  { route: 'check-email', max: 20, window: '15m0s', send: () => call(harness, 'check-email') },
];

describe.each(LIMITED)('$route', ({ max, window, send }) => {
  test('answers the remaining requests, refuses further ones, and allows one again after the announced time', async () => {
    const before = Math.floor(Date.now() / 1000);
    const first = await send();
    expect(first.status).not.toBe(429);
    expect([limitOf(first), remainingOf(first)]).toEqual([max, max - 1]);
    expect(Number(first.headers.get('x-ratelimit-reset'))).toBeGreaterThanOrEqual(before);
    expect(first.headers.get('retry-after')).toBeNull();

    const left = Math.min(max - 1, 40);
    await harness.database.db.raw('update rate_limits set tokens = ? where capacity = ?', [left, max]);
    const more = await Promise.all(Array.from({ length: left }, send));
    expect(more.filter((answer) => answer.status === 429)).toEqual([]);
    if (max > 60) await harness.database.db.raw('update rate_limits set tokens = 0');
    const refused = await send();
    const wait = Number(refused.headers.get('retry-after'));
    const perToken = (window === '15m0s' ? 900 : 3600) / max;
    expect(wait).toBeGreaterThan(0);
    expect(wait).toBeLessThanOrEqual(Math.ceil(perToken));
    expect(refused.body).toEqual({
      success: false,
      error: 'rate_limited',
      code: 'RATE_LIMITED',
      message: `Rate limit exceeded. Maximum ${max} requests per ${window}. Retry after ${wait} seconds.`,
    });
    expect([refused.status, limitOf(refused), remainingOf(refused)]).toEqual([429, max, 0]);
    const reset = Number(refused.headers.get('x-ratelimit-reset'));
    expect(Math.abs(reset - (Math.floor(Date.now() / 1000) + wait))).toBeLessThanOrEqual(2);
    expect(refused.headers.get('cache-control')).toBe('no-store');

    // A token that takes more than 20 s to refill is not there ten seconds early.
    if (wait > 20) {
      await pass(wait - 10);
      expect((await send()).status).toBe(429);
      await pass(10);
    } else {
      await pass(wait);
    }
    expect((await send()).status).not.toBe(429);
  });
});

test('a web site of an allowed origin can read the headers of a refusal', async () => {
  await Promise.all(Array.from({ length: 20 }, () => call(harness, 'check-email')));
  const { status, headers } = await call(harness, 'check-email', { headers: { Origin: ORIGIN } });
  expect([status, headers.get('access-control-allow-origin')]).toEqual([429, ORIGIN]);
  expect(headers.get('access-control-expose-headers')).toContain('Retry-After');
  expect(headers.get('access-control-expose-headers')).toContain('X-RateLimit-Remaining');
});

test('me is not limited', async () => {
  const user = await makeUser(harness);
  const me = await call(harness, 'me', { headers: { Authorization: `Bearer ${user.token}` } });
  expect([me.status, me.headers.get('x-ratelimit-limit')]).toEqual([200, null]);
});

test('public reads of the database share one wide limit (S7)', async () => {
  const read = async (path: string) => {
    const { status, headers } = await harness.get(path);
    return [status, headers.get('x-ratelimit-limit')];
  };
  const paths = ['/api/stats', '/api/panel/counts', '/api/panel/nodes', '/api/v1/setup'];
  for (const path of paths) expect([path, ...(await read(path))]).toEqual([path, 200, '600']);
  // Ten tokens a second: none comes back before this time.
  await harness.database.db.raw(`update rate_limits set tokens = 0, updated_at = now() + interval '1 minute'`);
  for (const path of paths) expect([path, ...(await read(path))]).toEqual([path, 429, '600']);
});

test('login and validate share one limit', async () => {
  for (let i = 0; i < 5; i += 1) {
    await post(harness, 'login', { email });
    await post(harness, 'validate', { email });
  }
  expect((await post(harness, 'login', { email })).status).toBe(429);
  expect((await post(harness, 'validate', { email })).status).toBe(429);
});

test('all spellings of an address share one limit; another address has its own', async () => {
  expect(remainingOf(await post(harness, 'login', { email }))).toBe(9);
  expect(remainingOf(await post(harness, 'login', { email: ` ${email.toUpperCase()}\t` }))).toBe(8);
  expect(remainingOf(await post(harness, 'login', { email: 'other@example.com' }))).toBe(9);
});

test('a correct password is refused, too, when the limit is used up', async () => {
  const user = await makeUser(harness);
  await Promise.all(Array.from({ length: 10 }, () => post(harness, 'login', { email: user.email })));
  expect((await login(harness, user.email, PASSWORD)).status).toBe(429);
  await pass(91);
  expect((await login(harness, user.email, PASSWORD)).status).toBe(200);
});

test('a request without a valid email field counts for the address of its client', async () => {
  for (const body of [{}, { email: 5 }, { email: ['a@b.co'] }, [], 'text']) {
    const answer = await post(harness, 'login', body);
    expect([answer.status, limitOf(answer)]).toEqual([400, 100]);
  }
  const unreadable = await call(harness, 'login', { ...json({}), body: '{' });
  expect([unreadable.status, limitOf(unreadable), remainingOf(unreadable)]).toEqual([400, 100, 94]);
});

test('an overlong address is counted, and no email address is stored', async () => {
  const overlong = `${'a'.repeat(8192)}@example.com`;
  const answer = await post(harness, 'login', { email: overlong, password: 'x' });
  expect([...outcome(answer), remainingOf(answer)]).toEqual([400, 'invalid_email', 'INVALID_EMAIL', 9]);
  await post(harness, 'login', { email: 'secret-person@example.com', password: '' });
  const stored = await query<{ key: string }>(harness.database.db, 'select r.key from rate_limits r');
  expect(stored).not.toHaveLength(0);
  for (const { key } of stored) expect(key).toMatch(/^[a-z-]{1,30}:[\w-]{22}$/);
});

test('two api processes share the limits', async () => {
  await behindProxies(0, async (copy) => {
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, i) => post(i % 2 === 0 ? harness : copy, 'login', { email })),
    );
    expect(countByStatus(answers)).toEqual({ 400: 10, 429: 20 });
  });
});

describe('the client address', () => {
  const from = (copy: Harness, forwarded?: string) =>
    call(copy, 'check-email', forwarded === undefined ? {} : { headers: { 'X-Forwarded-For': forwarded } });
  /** The remaining requests after a request with each of these headers, in order. */
  const left = async (copy: Harness, ...forwarded: (string | undefined)[]) => {
    const counts: number[] = [];
    for (const header of forwarded) counts.push(remainingOf(await from(copy, header)));
    return counts;
  };

  test('without a trusted proxy X-Forwarded-For is ignored', async () => {
    expect(await left(harness, undefined, '1.2.3.4', '5.6.7.8, 9.9.9.9')).toEqual([19, 18, 17]);
  });
  test('with one trusted proxy only the last entry counts', async () => {
    await behindProxies(1, async (copy) => {
      expect(await left(copy, '1.2.3.4', '6.6.6.6, 1.2.3.4', '7.7.7.7,8.8.8.8,1.2.3.4', '1.2.3.4, 6.6.6.6')).toEqual([
        19, 18, 17, 19,
      ]);
    });
  });
  test('a list of the maximum header length works', async () => {
    await behindProxies(1, async (copy) => {
      expect(await left(copy, '1.2.3.4', `${'6.6.6.6, '.repeat(1500)}1.2.3.4`)).toEqual([19, 18]);
    });
  });
  test('with two trusted proxies the last but one entry counts', async () => {
    await behindProxies(2, async (copy) => {
      expect(await left(copy, '1.2.3.4, 10.0.0.1', '6.6.6.6, 1.2.3.4, 10.0.0.2', '1.2.3.5, 10.0.0.1')).toEqual([
        19, 18, 19,
      ]);
    });
  });
  test('all invalid entries count together, for the address of the proxy', async () => {
    await behindProxies(1, async (copy) => {
      expect(
        await left(copy, undefined, 'unknown', '1.2.3.4, garbage', '1.2.3.4,', '999.1.1.1', "' or 1=1 --"),
      ).toEqual([19, 18, 17, 16, 15, 14]);
    });
  });
  test('an IPv6 network of 64 bits counts as one client', async () => {
    await behindProxies(1, async (copy) => {
      expect(
        await left(
          copy,
          '2001:db8:1:2::1',
          '2001:DB8:1:2:ffff:ffff:ffff:ffff',
          '2001:0db8:0001:0002:0:0:0:9',
          '2001:db8:1:3::1',
          '2001:db8::1',
          '2001:db8:0:0:1::',
        ),
      ).toEqual([19, 18, 17, 19, 19, 18]);
    });
  });
  test('a home of many IPv6 networks has four times the limit for its /56 and sixteen times for its /48 (S7)', async () => {
    await behindProxies(1, async (copy) => {
      const home = (i: number) => `2001:db8:1:2${i.toString(16).padStart(2, '0')}::1`;
      const answers = await Promise.all(Array.from({ length: 90 }, (_, i) => from(copy, home(i % 10))));
      expect(countByStatus(answers)).toEqual({ 400: 80, 429: 10 });
      const refused = await from(copy, home(99));
      expect([refused.status, limitOf(refused)]).toEqual([429, 80]);
      expect((await from(copy, '2001:db8:1:300::1')).status).toBe(400);
      // Of the /48, 81 of 320 are taken: the rest goes to another home in it.
      await harness.database.db.raw('update rate_limits set tokens = 1 where capacity = 320');
      expect((await from(copy, '2001:db8:1:400::1')).status).toBe(400);
      const further = await from(copy, '2001:db8:1:500::1');
      expect([further.status, limitOf(further)]).toEqual([429, 320]);
      expect((await from(copy, '2001:db8:2:500::1')).status).toBe(400);
    });
  });
  test('an address with a port or in IPv6 form counts as the same client', async () => {
    await behindProxies(1, async (copy) => {
      expect(await left(copy, '1.2.3.4', '1.2.3.4:5678', '::ffff:1.2.3.4', '1.2.3.4:9')).toEqual([19, 18, 17, 16]);
      expect(await left(copy, '2001:db8::7', '[2001:db8::7]:443', '[2001:db8::8]')).toEqual([19, 18, 17]);
    });
  });
});

describe('guessing passwords', () => {
  test('from many clients at one account reaches the limit of the account', async () => {
    await behindProxies(1, async (copy) => {
      const answers: Answer[] = [];
      for (let i = 0; i < 60; i += 1) {
        answers.push(await post(copy, 'login', { email }, { 'X-Forwarded-For': `10.1.${i}.1` }));
      }
      expect(countByStatus(answers.slice(0, 50))).toEqual({ 400: 50 });
      expect(countByStatus(answers.slice(52))).toEqual({ 429: 8 });
      expect(limitOf(answers[59] ?? (answers[0] as Answer))).toBe(50);
    });
  });
  test('from all places together is allowed at most 100 times in any hour (S7)', async () => {
    await post(harness, 'login', { email });
    const [bucket] = await query<{ capacity: number; hourly: number }>(
      harness.database.db,
      `select r.capacity, r.refill_per_second * 3600 as hourly from rate_limits r where r.key like 'login-account:%'`,
    );
    expect((bucket?.capacity ?? 0) + (bucket?.hourly ?? 0)).toBeCloseTo(100);
  });
  test('by strangers does not lock out an owner who signed in from the same network before (S7)', async () => {
    await behindProxies(1, async (copy) => {
      const user = await makeUser(harness);
      const other = await makeUser(harness);
      const signIn = (to: string, at: string) =>
        post(copy, 'login', { email: to, password: PASSWORD }, { 'X-Forwarded-For': at });
      for (const at of ['192.0.2.1', '2001:db8:7:1::1']) expect((await signIn(user.email, at)).status).toBe(200);
      expect((await signIn(other.email, '198.51.100.1')).status).toBe(200);
      await harness.database.db.raw(`update rate_limits set tokens = 0 where key like 'login-account:%'`);
      expect((await signIn(user.email, '198.51.100.1')).status).toBe(429);
      for (const at of ['192.0.2.77', '2001:db8:7:ff::2', '192.0.2.1']) {
        expect([at, (await signIn(user.email, at)).status]).toEqual([at, 200]);
      }
      // The network's own limit is as tight.
      const own = await post(copy, 'login', { email: user.email }, { 'X-Forwarded-For': '192.0.2.200' });
      expect([own.status, limitOf(own)]).toEqual([400, 10]);
      await harness.database.db.raw(`update rate_limits set tokens = 0 where key like 'login-account:%'`);
      expect((await signIn(user.email, '192.0.2.201')).status).toBe(429);
    });
  });
  test('by strangers does not lock out an owner who sets a new password by a link (S7)', async () => {
    await behindProxies(1, async (copy) => {
      const user = await makeUser(harness);
      const token = await tokenFor(harness, 'password-reset', user);
      await post(copy, 'login', { email: user.email }, { 'X-Forwarded-For': '198.51.100.1' });
      await harness.database.db.raw(`update rate_limits set tokens = 0 where key like 'login-account:%'`);
      const at = { 'X-Forwarded-For': '192.0.2.1' };
      const credentials = { email: user.email, password: 'Another-horse-8' };
      expect((await post(copy, 'login', credentials, at)).status).toBe(429);
      expect((await post(copy, 'reset-password', { token, password: credentials.password }, at)).status).toBe(200);
      expect((await post(copy, 'login', credentials, at)).status).toBe(200);
    });
  });
  test.each([
    ['forgot-password', 'password-reset-account'],
    ['magic-link', 'magic-link-account'],
  ])(
    'beyond the emails of an account %s answers as before and sends nothing, but to a known network (S7)',
    async (route, bucket) => {
      await behindProxies(1, async (copy) => {
        const user = await makeUser(harness);
        const ask = (at: string) => post(copy, route, { email: user.email }, { 'X-Forwarded-For': at });
        const sent = async () => (await emailsTo(harness, user.email)).length;
        await post(copy, 'login', { email: user.email, password: PASSWORD }, { 'X-Forwarded-For': '192.0.2.1' });
        const first = await ask('198.51.100.1');
        expect([first.status, await sent()]).toEqual([200, 1]);
        await harness.database.db.raw('update rate_limits set tokens = 0 where key like ?', [`${bucket}:%`]);
        const beyond = await ask('198.51.101.1');
        expect([beyond.status, beyond.body, remainingOf(beyond)]).toEqual([200, first.body, remainingOf(first)]);
        expect(await sent()).toBe(1);
        expect([(await ask('192.0.2.9')).status, await sent()]).toEqual([200, 2]);
      });
    },
  );
  test('from one client at many accounts reaches the limit of the client', async () => {
    const answers: Answer[] = [];
    for (let i = 0; i < 110; i += 1) answers.push(await post(harness, 'login', { email: `u${i}@example.com` }));
    expect(countByStatus(answers.slice(0, 100))).toEqual({ 400: 100 });
    expect(answers.at(-1)?.status).toBe(429);
  });
  test.each([
    ['login', 150],
    ['forgot-password', 30],
    ['magic-link', 30],
  ])('from one client does not lock out the owner of the account at another client: %s', async (route, times) => {
    await behindProxies(1, async (copy) => {
      await Promise.all(
        Array.from({ length: times }, () => post(copy, route, { email }, { 'X-Forwarded-For': '6.6.6.6' })),
      );
      const owner = await post(copy, route, { email }, { 'X-Forwarded-For': '1.2.3.4' });
      expect(owner.status).not.toBe(429);
    });
  });
});

test('without the database all limited routes answer 503', async () => {
  const closed = createServer();
  const port = await new Promise<number>((resolve) => {
    closed.listen(0, '127.0.0.1', () => {
      const address = closed.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  await new Promise((resolve) => closed.close(resolve));
  const url = new URL(harness.database.url);
  url.port = String(port);
  const db = createDb({ connectionString: url.toString(), applicationName: 'test' });
  const offline = await startHarness({ database: harness.database, deps: { db } });
  try {
    for (const { route } of LIMITED) {
      const answer =
        route === 'check-email'
          ? await call(offline, `${route}?email=${email}`)
          : await post(offline, route, { email });
      expect([route, answer.status, answer.headers.get('retry-after'), answer.body]).toEqual([
        route,
        503,
        '5',
        {
          success: false,
          error: 'service_unavailable',
          code: 'SERVICE_UNAVAILABLE',
          message: 'Service temporarily unavailable',
        },
      ]);
    }
  } finally {
    await offline.close();
    await db.destroy();
  }
});
