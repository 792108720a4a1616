/** The HTTP client: content encodings, limits, deadlines, and the words and sentences of its failures. */
import { readFileSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { pipeline, Readable } from 'node:stream';
import { brotliCompressSync, createGzip, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { createAddressGuard } from '../../../src/clients/http/address-guard.ts';
import {
  failureText,
  HttpFailure,
  type NotReached,
  wasNeverSent,
  whyNotReached,
} from '../../../src/clients/http/failures.ts';
import { createHttpClient, type HttpAnswer, type HttpClient } from '../../../src/clients/http/http.ts';
import { type RawServer, startRawServer } from '../../support/panel.ts';

const LIMIT = 100_000;
const TEXT = JSON.stringify({ text: 'ä'.repeat(1_000) });

let answer: { status?: number; headers?: Record<string, string>; body: Buffer };
let server: RawServer;
let client: HttpClient;
beforeAll(async () => {
  server = await startRawServer((_request, response) => {
    response.on('error', () => {});
    response.writeHead(answer.status ?? 200, answer.headers ?? {}).end(answer.body);
  });
  client = createHttpClient({ origin: server.url, timeoutMs: 5_000, maxBodyBytes: LIMIT, guard: 'environment' });
});
afterEach(() => vi.restoreAllMocks());
afterAll(async () => {
  await server.close();
  await client.close();
});

const send = () => client.send({ method: 'GET', path: '/x', headers: {} });
const encoded = (encoding: string, body: Buffer, status = 200): Promise<HttpAnswer> => {
  answer = { status, headers: { 'content-encoding': encoding }, body };
  return send();
};
async function failureOf(promise: Promise<unknown>): Promise<HttpFailure> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof HttpFailure)) throw new Error(`expected an HttpFailure, got ${String(error)}`);
  return error;
}

describe('content encodings that were not asked for (C-4)', () => {
  test.each([
    ['gzip', gzipSync(TEXT)],
    ['x-gzip', gzipSync(TEXT)],
    ['deflate', deflateSync(TEXT)],
    ['deflate', deflateRawSync(TEXT)],
    ['br', brotliCompressSync(TEXT)],
    ['zstd', zstdCompressSync(TEXT)],
    ['GZIP', gzipSync(TEXT)],
    ['identity', Buffer.from(TEXT)],
    ['deflate, gzip', gzipSync(deflateSync(TEXT))],
  ])('%s is decoded', async (encoding, body) => {
    expect(await encoded(encoding, body)).toMatchObject({ status: 200, text: TEXT });
    expect(server.requests.at(-1)?.headers).not.toHaveProperty('accept-encoding');
  });

  test.each(['gzip', 'br', 'deflate', 'zstd'])('an empty body may name %s', async (encoding) => {
    expect((await encoded(encoding, Buffer.alloc(0))).text).toBe('');
  });

  test('the limit holds for the decoded bytes', async () => {
    const most = Buffer.alloc(LIMIT, 32);
    expect((await encoded('gzip', gzipSync(most))).text).toHaveLength(LIMIT);
    const more = gzipSync(Buffer.concat([most, Buffer.from(' ')]));
    expect(more.length).toBeLessThan(1_000);
    expect(await failureOf(encoded('gzip', more))).toMatchObject({ kind: 'too-large', status: 200 });
  });

  test('a body that unpacks without end is left at the limit', async () => {
    const zeros = Readable.from(
      (function* () {
        for (;;) yield Buffer.alloc(65_536);
      })(),
    );
    const endless = await startRawServer((_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' });
      pipeline(zeros, createGzip(), response, () => {});
    });
    const options = { timeoutMs: 5_000, maxBodyBytes: LIMIT, guard: 'environment' as const };
    const other = createHttpClient({ origin: endless.url, ...options });
    const failure = await failureOf(other.send({ method: 'GET', path: '/', headers: {} }));
    expect(failure).toMatchObject({ kind: 'too-large', status: 200 });
    await expect.poll(() => zeros.destroyed).toBe(true);
    await other.close();
    await endless.close();
  });

  test('of an error page only the beginning is decoded', async () => {
    const bomb = gzipSync(gzipSync(Buffer.alloc(16 * 1024 * 1024)));
    expect(bomb.length).toBeLessThan(1_000);
    const { status, text } = await encoded('gzip, gzip', bomb, 502);
    expect([status, text.length <= LIMIT]).toEqual([502, true]);
  });

  test.each([
    ['gzip', Buffer.from('<html>not compressed</html>')],
    ['br', Buffer.from('<html>not compressed</html>')],
    ['zstd', Buffer.from('<html>not compressed</html>')],
    ['deflate', Buffer.from('<html>not compressed</html>')],
    ['gzip', gzipSync(TEXT).subarray(0, 20)],
    ['br', brotliCompressSync(TEXT).subarray(0, 10)],
    ['compress', Buffer.from('x')],
    ['constructor', Buffer.from('x')],
    ['gzip, gzip, gzip, gzip', Buffer.from('x')],
  ])('%s that cannot be decoded is a failure of the body', async (encoding, body) => {
    const failure = await failureOf(encoded(encoding, body, 403));
    expect(failure).toMatchObject({ kind: 'body', status: 403, reason: 'CONTENT_ENCODING' });
    expect(failureText('the panel', failure)).toBe(
      'The panel sent an answer whose content encoding cannot be decoded (status 403)',
    );
    answer = { body: Buffer.from('ok') };
    expect((await send()).text).toBe('ok');
  });
});

describe('addresses of a name (C-6)', () => {
  test('each is tried for a part of the deadline', async () => {
    const connect = vi.spyOn(net, 'connect');
    for (const timeoutMs of [5_000, 30_000]) {
      const other = createHttpClient({ origin: server.url, timeoutMs, maxBodyBytes: LIMIT, guard: 'environment' });
      answer = { body: Buffer.from('ok') };
      await other.send({ method: 'GET', path: '/', headers: {} });
      await other.close();
    }
    const waits = connect.mock.calls.map(([options]) => Object(options).autoSelectFamilyAttemptTimeout as unknown);
    expect(waits).toEqual([1_250, 7_500]);
  });
});

describe('a host that is not reached (C-3)', () => {
  const failing = async (origin: string, guard: Parameters<typeof createHttpClient>[0]['guard'] = 'environment') => {
    const other = createHttpClient({ origin, timeoutMs: 5_000, maxBodyBytes: LIMIT, guard });
    const failure = await failureOf(other.send({ method: 'GET', path: '/', headers: {} }));
    await other.close();
    return [failure.kind, failureText('the panel', failure)];
  };

  test('a name that does not resolve', async () => {
    const resolve = async () => {
      throw Object.assign(new Error('x'), { code: 'ENOTFOUND' });
    };
    const guard = createAddressGuard({ policy: 'private', resolve });
    expect(await failing('http://panel.example', guard)).toEqual([
      'network',
      'The panel cannot be reached: its name cannot be resolved (DNS)',
    ]);
  });

  test('a port where nothing listens, on one address and on two', async () => {
    const closed = await startRawServer(() => {});
    await closed.close();
    const refused = ['network', 'The panel cannot be reached: nothing accepts connections there (connection refused)'];
    expect(await failing(closed.url)).toEqual(refused);
    const resolve = async () => ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }));
    const guard = createAddressGuard({ policy: 'private', resolve });
    expect(await failing(`http://panel.example:${new URL(closed.url).port}`, guard)).toEqual(refused);
  });

  test('a certificate that is not trusted names NODE_EXTRA_CA_CERTS', async () => {
    const read = (name: string) => readFileSync(new URL(`../../fixtures/tls/${name}`, import.meta.url));
    const secure = createTlsServer({ key: read('key.pem'), cert: read('certificate.pem') });
    await new Promise<void>((resolve) => secure.listen(0, '127.0.0.1', resolve));
    const [kind, text] = await failing(`https://localhost:${(secure.address() as AddressInfo).port}`);
    expect(kind).toBe('network');
    expect(text).toMatch(/^The panel cannot be reached: its certificate is not trusted\. .*NODE_EXTRA_CA_CERTS/);
    secure.close();
  });

  test('a port that does not speak TLS, and a connection that is closed', async () => {
    expect((await failing(server.url.replace('http:', 'https:')))[1]).toMatch(/no encrypted connection .*\(TLS\)/);
    const closing = await startRawServer((request) => request.socket.resetAndDestroy());
    expect((await failing(closing.url))[1]).toBe(
      'The panel cannot be reached: the connection was closed before an answer',
    );
    await closing.close();
  });

  test('a connection that is not made in time is distinguished from a request without an answer', async () => {
    // It accepts the connection, and never greets.
    const silent = net.createServer((socket) => socket.on('error', () => {}));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const hanging = await startRawServer(() => {});
    const { port } = silent.address() as AddressInfo;
    for (const [origin, neverSent, times] of [
      [`https://127.0.0.1:${port}`, true, { timeoutMs: 2_000, connectTimeoutMs: 300 }],
      [hanging.url, false, { timeoutMs: 300 }],
    ] as const) {
      const options = { ...times, maxBodyBytes: LIMIT, guard: 'environment' } as const;
      const other = createHttpClient({ origin, ...options });
      const failure = await failureOf(other.send({ method: 'GET', path: '/', headers: {} }));
      expect([failure.kind, wasNeverSent(failure)]).toEqual(['timeout', neverSent]);
      await other.close();
    }
    silent.close();
    await hanging.close();
  });

  test.each<[string | undefined, NotReached]>([
    ['EAI_AGAIN', 'dns'],
    ['EHOSTUNREACH', 'unreachable'],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout'],
    ['UND_ERR_SOCKET', 'reset'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'certificate-untrusted'],
    ['CERT_HAS_EXPIRED', 'certificate-expired'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'certificate-name'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls'],
    ['EPERM', 'unknown'],
    [undefined, 'unknown'],
  ])('the code %s is %s', (code, why) => expect(whyNotReached(code)).toBe(why));
});
