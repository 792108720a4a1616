import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';

const KEY = 're_test';
const EMAIL = { from: 'A <a@a.example>', to: ['b@b.example'], subject: 'S', html: '<p>h</p>', text: 't' };

let catcher: EmailCatcher;
beforeAll(async () => {
  catcher = await startEmailCatcher({ apiKey: KEY, requestsPerSecond: 1000 });
});
afterEach(() => catcher.clear());
afterAll(() => catcher.close());

async function post(body: unknown, headers: Record<string, string> = {}, to: { url: string } = catcher) {
  const response = await fetch(`${to.url}/emails`, {
    method: 'POST',
    headers: { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  const answer = z
    .object({ id: z.string(), name: z.string() })
    .partial()
    .parse(await response.json());
  return { status: response.status, ...answer };
}
const get = (path: string) => fetch(`${catcher.url}${path}`);
const page = async (path: string) => {
  const response = await get(path);
  return {
    status: response.status,
    policy: response.headers.get('content-security-policy') ?? '',
    body: await response.text(),
  };
};
const admin = (path: string, method = 'GET', body?: unknown) =>
  fetch(`${catcher.url}${path}`, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });

describe('the API', () => {
  test.each<[name: string, status: number, change: Record<string, unknown>]>([
    ['missing_required_field', 422, { from: undefined }],
    ['missing_required_field', 422, { to: undefined }],
    ['missing_required_field', 422, { subject: undefined }],
    ['missing_required_field', 422, { html: undefined, text: undefined }],
    ['validation_error', 422, { from: 'no-address' }],
    ['validation_error', 422, { to: ['b@b.example', 'b b@b.example'] }],
    ['validation_error', 422, { to: 5 }],
    ['validation_error', 422, { to: ['a@example.com'] }],
    ['validation_error', 422, { subject: ['S'] }],
  ])('%s (%i): %o', async (name, status, change) => {
    expect(await post({ ...EMAIL, ...change })).toEqual({ status, name });
    expect(catcher.emails()).toEqual([]);
  });

  test('a wrong key, method or path is refused', async () => {
    expect(await post('{')).toEqual({ status: 400, name: 'validation_error' });
    expect(await post(EMAIL, { authorization: '' })).toEqual({ status: 401, name: 'missing_api_key' });
    expect(await post(EMAIL, { authorization: 'Bearer re_other' })).toEqual({ status: 401, name: 'validation_error' });
    expect(await post(EMAIL, { 'idempotency-key': 'k'.repeat(257) })).toEqual({
      status: 400,
      name: 'invalid_idempotency_key',
    });
    expect((await get('/emails')).status).toBe(405);
    expect((await get('/audiences')).status).toBe(404);
    expect(catcher.emails()).toEqual([]);
  });

  test('requests with one idempotency key give one email; without a key each request gives one', async () => {
    const first = await post(EMAIL, { 'idempotency-key': 'k' });
    expect(first).toEqual({ status: 200, id: catcher.emails()[0]?.id });
    expect(await post(EMAIL, { 'idempotency-key': 'k' })).toEqual(first);
    expect(await post({ ...EMAIL, text: 'u' }, { 'idempotency-key': 'k' })).toEqual({
      status: 409,
      name: 'invalid_idempotent_request',
    });
    expect(catcher.emails()).toHaveLength(1);
    await post(EMAIL);
    await post(EMAIL);
    expect(catcher.emails()).toHaveLength(3);
  });

  test('concurrent requests with one idempotency key give one email', async () => {
    const slow = await startEmailCatcher({ apiKey: KEY, latencyMs: 1_000 });
    const answers = await Promise.all([1, 2, 3].map(() => post(EMAIL, { 'idempotency-key': 'k' }, slow)));
    await slow.close();
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
    expect(answers.filter(({ name }) => name === 'concurrent_idempotent_requests')).toHaveLength(2);
    expect(slow.emails()).toHaveLength(1);
  });
});

describe('limits and rights of the account', () => {
  test('five requests a second, with headers, as documented', async () => {
    const strict = await startEmailCatcher({ apiKey: KEY });
    const send = () =>
      fetch(`${strict.url}/emails`, {
        method: 'POST',
        headers: { authorization: `Bearer ${KEY}` },
        body: JSON.stringify(EMAIL),
      });
    const answers = await Promise.all(Array.from({ length: 14 }, send));
    await strict.close();
    const refused = answers.filter(({ status }) => status === 429);
    // Two seconds may have passed meanwhile.
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.headers.get('retry-after')).toBe('1');
    expect(answers[0]?.headers.get('ratelimit-limit')).toBe('5');
  });

  test('only verified domains send; a key that may only send lists none', async () => {
    const account = await startEmailCatcher({ apiKey: KEY, domains: ['a.example'], sendingOnly: true });
    expect((await post(EMAIL, {}, account)).status).toBe(200);
    expect(await post({ ...EMAIL, from: 'a@sub.a.example' }, {}, account)).toEqual({
      status: 403,
      name: 'validation_error',
    });
    const domains = await fetch(`${account.url}/domains`, { headers: { authorization: `Bearer ${KEY}` } });
    await account.close();
    expect([domains.status, await domains.json()]).toMatchObject([401, { name: 'restricted_api_key' }]);
  });
});

describe('from another process', () => {
  test('sets faults, reads emails, and clears both', async () => {
    const faults = [{ fault: { kind: 'status', status: 429, retryAfter: 9 }, times: 2 }, { fault: { kind: 'reset' } }];
    expect((await admin('/__sim/faults', 'POST', faults)).status).toBe(200);
    expect(await post(EMAIL)).toEqual({ status: 429, name: 'rate_limit_exceeded' });
    expect(await post(EMAIL)).toEqual({ status: 429, name: 'rate_limit_exceeded' });
    await expect(post(EMAIL)).rejects.toThrow();
    const { id } = await post(EMAIL);
    expect(await (await admin('/__sim/mails')).json()).toMatchObject({ mails: [{ id, ...EMAIL, via: 'resend' }] });
    expect((await admin('/__sim/mails', 'DELETE')).status).toBe(200);
    expect(catcher.emails()).toEqual([]);

    await admin('/__sim/faults', 'POST', { fault: { kind: 'status', status: 500 }, times: 5 });
    await admin('/__sim/faults', 'DELETE');
    expect((await post(EMAIL)).status).toBe(200);
    expect((await admin('/__sim/faults', 'POST', { fault: { kind: 'earthquake' } })).status).toBe(400);
    expect((await admin('/__sim/nothing')).status).toBe(404);
  });

  test('the command prints its URLs, and ends on a signal', async () => {
    const main = fileURLToPath(new URL('../../../simulators/email/main.ts', import.meta.url));
    const child = spawn(process.execPath, [main, '--api-key', KEY, '--smtp-port', '0'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [line]: unknown[] = await once(child.stdout, 'data');
      const said = z.object({ url: z.url(), smtpUrl: z.string(), apiKey: z.string() }).parse(JSON.parse(String(line)));
      expect(said.smtpUrl).toMatch(/^smtp:\/\/resend:re_test@127\.0\.0\.1:\d+$/);
      expect(said.apiKey).toBe(KEY);
      expect((await post(EMAIL, {}, said)).status).toBe(200);
      child.kill('SIGTERM');
      const [code]: unknown[] = await once(child, 'exit');
      expect(code).toBe(0);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('the page', () => {
  const HOSTILE = `"><script>alert(1)</script><img src=x onerror=alert(1)>'&amp;</title></pre></style>`;
  /** A value that was not escaped would add one of these. */
  const expectHarmless = (body: string) => {
    const tags = [...body.matchAll(/<\/?([a-z0-9]+)/gi)].map(([, name = '']) => name.toLowerCase());
    expect(tags).not.toContain('script');
    expect(tags).not.toContain('img');
    expect(tags.filter((name) => name === 'title')).toHaveLength(2);
    expect(tags.filter((name) => name === 'style')).toHaveLength(2);
    expect(body).not.toMatch(/<[^>]*\son[a-z]+=/i);
  };

  test('the content of an email is shown as text', async () => {
    const { id } = await post(
      { from: 'A <a@a.example>', to: ['b@b.example'], subject: HOSTILE, html: HOSTILE, text: HOSTILE },
      { 'idempotency-key': HOSTILE },
    );
    const list = await page('/');
    expectHarmless(list.body);
    expect(list.body).toContain('&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;');
    expect(list.body).toContain('http-equiv="refresh"');

    const one = await page(`/mails/${id}`);
    expectHarmless(one.body);
    expect(one.body.match(/&lt;script&gt;/g)?.length).toBeGreaterThanOrEqual(4);
    const sandbox = /<iframe [^>]*sandbox="([^"]*)"/.exec(one.body)?.[1];
    expect(sandbox).toBeDefined();
    expect(sandbox).not.toMatch(/allow-(scripts|same-origin|forms|top-navigation)/);
    for (const { policy } of [list, one]) {
      expect(policy).toMatch(/default-src 'none'/);
      expect(policy).not.toContain('script-src');
    }
  });

  test('the HTML part is unchanged, and can neither run nor load anything', async () => {
    const html =
      '<!doctype html><html><head><title>x</title></head><body><a href="https://s.example/">link</a></body></html>';
    const { id } = await post({ ...EMAIL, html });
    const { body, policy } = await page(`/mails/${id}/html`);
    expect(body.replace('<base target="_blank">', '')).toBe(html);
    expect(policy).toMatch(/default-src 'none'/);
    expect(policy).toMatch(/sandbox(?! [^;]*allow-(scripts|same-origin|forms|top-navigation))/);
    expect(policy).not.toContain('script-src');
  });

  test('lists the newest email first', async () => {
    for (const subject of ['one', 'two', 'three']) await post({ ...EMAIL, subject });
    const { body } = await page('/');
    expect([...body.matchAll(/<strong>(.*?)<\/strong>/g)].map(([, subject]) => subject)).toEqual([
      'three',
      'two',
      'one',
    ]);
  });

  test('answers 404 for a part or an email that does not exist', async () => {
    const { id } = await post({ ...EMAIL, html: undefined });
    expect((await page(`/mails/${id}`)).status).toBe(200);
    for (const path of [`/mails/${id}/html`, '/mails/none', '/mails/', '/mails/%00', '/mails/__proto__']) {
      const { status, body } = await page(path);
      expect(status).toBe(404);
      expectHarmless(body);
    }
  });
});
