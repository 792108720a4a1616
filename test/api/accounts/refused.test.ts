/** Refusals below `/api/v1/auth` before a route handles the request: `error` is a code and `message` a sentence. */
import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { call, resetRateLimits } from '../../support/api/sign-in.ts';

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());
beforeEach(async () => {
  await resetRateLimits(harness);
});

test.each([
  ['an unknown path', 'nowhere', 'GET', 404, 'not_found'],
  ['POST to an unknown path', 'login/again', 'POST', 404, 'not_found'],
  ['a known path with another method', 'login', 'GET', 405, 'method_not_allowed'],
  ['a known path in capitals with another method', 'USERS/x', 'DELETE', 405, 'method_not_allowed'],
  ['a path that is not UTF-8', 'users/%ff', 'GET', 400, 'bad_request'],
  ['a path with an incomplete escape', 'users/%e', 'GET', 400, 'bad_request'],
  ['a path with a NUL', 'users/a%00b', 'GET', 400, 'bad_request'],
  ['a query with a NUL', 'check-email?email=%00', 'GET', 400, 'bad_request'],
])('%s is refused with a code and a sentence', async (_name, route, method, status, code) => {
  const answer = await call(harness, route, { method });
  expect([answer.status, answer.body]).toEqual([
    status,
    { success: false, error: code, code: code.toUpperCase(), message: expect.stringMatching(/^[A-Z][\w ]+$/) },
  ]);
  expect(answer.headers.get('cache-control')).toBe('no-store');
});

test('below other paths `error` is the sentence', async () => {
  const response = await harness.get('/api/v1/nowhere');
  const body = await response.json();
  expect([response.status, body.code]).toEqual([404, 'NOT_FOUND']);
  expect(body.error).toMatch(/^[A-Z][a-z]/);
  expect(body).not.toHaveProperty('message');
});

describe('a body of 10 MB', () => {
  const BYTES = 10_000_000;
  const CHUNK = Buffer.alloc(64 * 1024, 'x');

  /** Sends the body until the server stops reading. @returns status and body of the answer. */
  async function send(path: string, token: string, chunked: boolean): Promise<[number, unknown]> {
    const { hostname, port } = new URL(harness.url);
    const socket = connect(Number(port), hostname);
    const answer: Buffer[] = [];
    socket.on('data', (data: Buffer) => answer.push(data));
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => resolve());
      socket.once('error', () => resolve());
    });
    const length = chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${BYTES}`;
    const headers = `Host: x\r\nContent-Type: application/json\r\nAuthorization: Bearer ${token}\r\n${length}`;
    socket.write(`POST ${path} HTTP/1.1\r\n${headers}\r\n\r\n`);
    for (let sent = 0; sent < BYTES && socket.writable; sent += CHUNK.length) {
      const part = CHUNK.subarray(0, BYTES - sent);
      socket.write(chunked ? `${part.length.toString(16)}\r\n${part}\r\n` : part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (socket.writable) socket.end(chunked ? '0\r\n\r\n' : '');
    await closed;
    const text = Buffer.concat(answer).toString();
    const [head = '', body = ''] = text.split('\r\n\r\n');
    return [Number(head.split(' ')[1]), body === '' ? undefined : JSON.parse(body)];
  }

  describe.each([
    ['with a Content-Length', false],
    ['in chunks', true],
  ])('%s', (_name, chunked) => {
    test('is refused by login with a code', async () => {
      expect(await send('/api/v1/auth/login', 'x', chunked)).toEqual([
        413,
        {
          success: false,
          error: 'payload_too_large',
          code: 'PAYLOAD_TOO_LARGE',
          message: expect.stringMatching(/^[A-Z][\w ]+$/),
        },
      ]);
      expect((await harness.get('/health/live')).status).toBe(200);
    });

    test('is refused by change-email with a sentence, and the address stays', async () => {
      const user = await makeUser(harness);
      expect(await send('/api/v1/dashboard/account/change-email', user.token, chunked)).toEqual([
        413,
        { success: false, error: expect.stringMatching(/^[A-Z][\w ]+$/), code: 'PAYLOAD_TOO_LARGE' },
      ]);
      const [row] = await query<{ email: string }>(harness.database.db, 'select u.email from users u where u.id = ?', [
        user.id,
      ]);
      expect(row?.email).toBe(user.email);
      expect((await call(harness, 'me', { headers: bearer(user.token) })).status).toBe(200);
    });
  });
});

test('the connection of an endless body is closed: after a refusal the api reads a limited number of bytes', async () => {
  const { hostname, port } = new URL(harness.url);
  const socket = connect(Number(port), hostname).resume();
  const closed = new Promise<void>((resolve) => {
    socket.once('close', () => resolve()).once('error', () => resolve());
  });
  socket.write('POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n');
  const chunk = `100000\r\n${'x'.repeat(0x100000)}\r\n`;
  const limit = 200;
  let megabytes = 0;
  for (; megabytes < limit && !socket.destroyed; megabytes += 1) {
    await new Promise<void>((resolve) => socket.write(chunk, () => resolve()));
  }
  expect(megabytes).toBeLessThan(limit);
  await closed;
});
