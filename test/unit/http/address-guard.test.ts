import type { LookupAddress } from 'node:dns';
import { afterEach, describe, expect, test } from 'vitest';
import {
  type AddressGuardOptions,
  createAddressGuard,
  guardFor,
  mayReach,
  type Resolver,
} from '../../../src/clients/http/address-guard.ts';
import { HttpFailure } from '../../../src/clients/http/failures.ts';
import { createHttpClient } from '../../../src/clients/http/http.ts';
import { createPanelClient } from '../../../src/clients/panel/client.ts';
import { createPanelProvider } from '../../../src/clients/panel/provider.ts';
import { testConnection } from '../../../src/clients/virtfusion.ts';
import { AppError } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { startRawServer } from '../../support/panel.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function serve(handler?: Parameters<typeof startRawServer>[0]) {
  const server = await startRawServer(handler ?? ((_request, response) => response.end('{}')));
  closers.push(server.close);
  return { ...server, port: new URL(server.url).port };
}
function client(origin: string, guard: AddressGuardOptions, timeoutMs = 5000) {
  const http = createHttpClient({ origin, timeoutMs, maxBodyBytes: 1000, guard: createAddressGuard(guard) });
  closers.push(() => http.close());
  return { send: () => http.send({ method: 'GET', path: '/', headers: {} }) };
}
const to = (...addresses: string[]): Resolver => {
  const found: LookupAddress[] = addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  return async () => found;
};

const PUBLIC = [
  '1.1.1.1',
  '9.255.255.255',
  '11.0.0.0',
  '100.63.255.255',
  '100.128.0.0',
  '126.255.255.255',
  '128.0.0.1',
  '172.15.255.255',
  '172.32.0.0',
  '192.167.255.255',
  '192.169.0.0',
  '198.17.255.255',
  '198.20.0.0',
  '223.255.255.255',
  '2606:4700:4700::1111',
  '2a01:4f8::1',
  '::ffff:1.1.1.1',
  '64:ff9b::1.1.1.1',
  '2002:101:101::1',
];
const PRIVATE = [
  '10.0.0.1',
  '10.255.255.255',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.0.1',
  '100.64.0.1',
  '100.127.255.255',
  '192.0.0.1',
  '192.0.2.1',
  '198.18.0.1',
  '198.51.100.7',
  '203.0.113.7',
  '240.0.0.1',
  '255.255.255.254',
  'fc00::1',
  'fdff:ffff::1',
  '2001::1',
  '2001:db8::1',
  '3fff::1',
  '4000::1',
  '64:ff9b:1::1',
  '::ffff:10.0.0.1',
  '::ffff:a00:1',
  '64:ff9b::c0a8:1',
  '2002:a00:1::1',
  '::10.0.0.1',
];
const LOOPBACK = [
  '127.0.0.1',
  '127.255.255.254',
  '::1',
  '0:0:0:0:0:0:0:1',
  '::ffff:127.0.0.1',
  '::ffff:7f00:1',
  '0:0:0:0:0:ffff:7f00:0001',
  '64:ff9b::127.0.0.1',
  '2002:7f00:1::',
];
const NEVER = [
  '0.0.0.0',
  '0.1.2.3',
  '169.254.0.1',
  '169.254.169.254',
  '224.0.0.1',
  '239.255.255.255',
  '255.255.255.255',
  '::',
  'fe80::1',
  'fe80::1%eth0',
  'febf::1',
  'ff02::1',
  'fd00:ec2::254',
  '100.100.100.200',
  '168.63.129.16',
  '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe',
  '::ffff:0:169.254.169.254',
  '64:ff9b::169.254.169.254',
  '2002:a9fe:a9fe::1',
  '::169.254.169.254',
  '::ffff:0.0.0.0',
];

describe('addresses', () => {
  test.each(PUBLIC)('%s is public', (address) => {
    expect(mayReach(address, { policy: 'public' })).toBe(true);
    expect(mayReach(address, { policy: 'private' })).toBe(true);
  });
  test.each(PRIVATE)('%s may be reached with the private policy only', (address) => {
    expect(mayReach(address, { policy: 'public' })).toBe(false);
    expect(mayReach(address, { policy: 'public', loopback: true })).toBe(false);
    expect(mayReach(address, { policy: 'private' })).toBe(true);
  });
  test.each(LOOPBACK)('%s is the local machine: it needs the private policy or `loopback`', (address) => {
    expect(mayReach(address, { policy: 'public' })).toBe(false);
    expect(mayReach(address, { policy: 'public', loopback: true })).toBe(true);
    expect(mayReach(address, { policy: 'private' })).toBe(true);
  });
  test.each(NEVER)('%s may never be reached', (address) => {
    expect(mayReach(address, { policy: 'public', loopback: true })).toBe(false);
    expect(mayReach(address, { policy: 'private' })).toBe(false);
  });
  test.each(['', 'localhost', '127.0.0.1:80', '1.1.1', '[::1]'])(
    '%j is not an address and may not be reached',
    (text) => {
      expect(mayReach(text, { policy: 'private' })).toBe(false);
    },
  );
});

describe('hosts that are addresses', () => {
  test.each([
    'http://127.0.0.1',
    'http://127.1',
    'http://2130706433',
    'http://0x7f000001',
    'http://0177.0.0.1',
    'http://0x7f.1',
    'http://127.0.0.1.',
    'http://①②⑦.0.0.1',
    'http://[::1]',
    'http://[::ffff:127.0.0.1]',
    'http://0',
    'http://10.0.0.1',
    'http://169.254.169.254',
  ])('%s is refused before a connection is opened', (url) => {
    const guard = createAddressGuard({ policy: 'public' });
    expect(() => guard.checkHost(new URL(url).hostname)).toThrow(AppError);
  });
  test('names and public addresses are accepted', () => {
    const guard = createAddressGuard({ policy: 'public' });
    for (const host of ['panel.example', 'localhost', '1.1.1.1', '[2606:4700:4700::1111]']) guard.checkHost(host);
  });
});

describe('connections', () => {
  test('an address of the local machine is refused in any spelling, and receives no request', async () => {
    const server = await serve();
    for (const host of ['127.0.0.1', '2130706433', '0x7f.1', '[::ffff:127.0.0.1]']) {
      const { origin } = new URL(`http://${host}:${server.port}`);
      await expect(client(origin, { policy: 'public' }).send()).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    }
    expect(server.requests).toEqual([]);
  });

  test('an address that the policy allows is connected to', async () => {
    const server = await serve();
    for (const guard of [{ policy: 'private' }, { policy: 'public', loopback: true }] as const) {
      expect((await client(server.url, guard).send()).status).toBe(200);
    }
  });

  test('a name that the system resolves to the local machine is refused', async () => {
    const server = await serve();
    const refused = client(`http://localhost:${server.port}`, { policy: 'public' }).send();
    await expect(refused).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    expect(server.requests).toEqual([]);
  });

  test.each([
    ['an internal address', ['127.0.0.1']],
    ['an internal and a public address', ['1.1.1.1', '127.0.0.1']],
    ['an IPv4-mapped address', ['::ffff:127.0.0.1']],
    ['no address', []],
  ])('a name with %s is refused', async (_name, addresses) => {
    const server = await serve();
    const refused = client(`http://panel.example:${server.port}`, { policy: 'public', resolve: to(...addresses) });
    await expect(refused.send()).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    expect(server.requests).toEqual([]);
  });

  test('a name is resolved once per connection, and the checked address is the one that is used', async () => {
    const server = await serve();
    const answers = [to('127.0.0.1'), to('169.254.169.254')];
    let lookups = 0;
    const resolve: Resolver = async (hostname, options) => {
      lookups += 1;
      return (answers.shift() ?? to('169.254.169.254'))(hostname, options);
    };
    const http = client(`http://panel.example:${server.port}`, { policy: 'private', resolve });
    expect((await http.send()).status).toBe(200);
    expect(lookups).toBe(1);
  });

  test('each new connection is checked again', async () => {
    const server = await serve((_request, response) => {
      response.setHeader('Connection', 'close');
      response.end('{}');
    });
    const answers = [to('127.0.0.1'), to('169.254.169.254')];
    const resolve: Resolver = (hostname, options) => (answers.shift() ?? to())(hostname, options);
    const http = client(`http://panel.example:${server.port}`, { policy: 'private', resolve });
    expect((await http.send()).status).toBe(200);
    await expect(http.send()).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    expect(server.requests).toHaveLength(1);
  });

  test('a redirect is returned as an answer and not followed', async () => {
    const target = await serve();
    const server = await serve((_request, response) => {
      response.writeHead(302, { location: target.url });
      response.end();
    });
    expect((await client(server.url, { policy: 'private' }).send()).status).toBe(302);
    expect(target.requests).toEqual([]);
  });

  test('an unknown name and a closed port are network failures, not refusals', async () => {
    const resolve: Resolver = async () => {
      throw Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' });
    };
    const unknown = client('http://nowhere.example', { policy: 'public', resolve }).send();
    await expect(unknown).rejects.toMatchObject({ kind: 'network', reason: 'ENOTFOUND' });
    const server = await serve();
    await server.close();
    closers.pop();
    await expect(client(server.url, { policy: 'private' }).send()).rejects.toBeInstanceOf(HttpFailure);
  });

  test('a resolver that never answers fails at the timeout', async () => {
    const resolve: Resolver = () => new Promise(() => {});
    const http = createHttpClient({
      origin: 'http://panel.example',
      timeoutMs: 100,
      maxBodyBytes: 1000,
      guard: createAddressGuard({ policy: 'public', resolve }),
    });
    await expect(http.send({ method: 'GET', path: '/', headers: {} })).rejects.toMatchObject({ kind: 'timeout' });
  });
});

describe('lookup', () => {
  test('returns one address, or all with the option `all`', async () => {
    const { lookup } = createAddressGuard({ policy: 'public', resolve: to('1.1.1.1', '2606:4700:4700::1111') });
    const find = (options: object) =>
      new Promise<unknown[]>((resolve) => lookup('x.example', options, (...answer) => resolve(answer)));
    expect(await find({})).toEqual([null, '1.1.1.1', 4]);
    expect(await find({ all: true })).toEqual([
      null,
      [
        { address: '1.1.1.1', family: 4 },
        { address: '2606:4700:4700::1111', family: 6 },
      ],
    ]);
  });
});

describe('clients with a guard', () => {
  const apiKey = new Secret('a-secret-key');

  test('the sync refuses a stored panel URL that leads to a metadata service (S12)', async () => {
    const panelUrl = 'http://169.254.169.254';
    const provider = createPanelProvider(async () => ({ panelUrl, panelApiKey: apiKey }), {
      environmentUrl: 'http://panel.example',
    });
    await expect((await provider.client()).list('/servers')).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    await provider.close();
  });

  test('a stored URL may lead to networks of the operator; the origin of the environment is not judged (S12)', async () => {
    const url = 'http://169.254.169.254/panel';
    expect(guardFor(url, 'http://169.254.169.254')).toBe('environment');
    for (const environmentUrl of [undefined, '', 'http://169.254.169.254:81', 'https://169.254.169.254']) {
      const guard = guardFor(url, environmentUrl);
      if (guard === 'environment') throw new Error(`not judged beside ${environmentUrl}`);
      expect(() => guard.checkHost('169.254.169.254')).toThrow();
      expect(() => guard.checkHost('10.0.0.1')).not.toThrow();
    }
  });

  test('the panel client fails with ADDRESS_REFUSED for a refused address', async () => {
    const server = await serve();
    const panel = createPanelClient({ url: server.url, apiKey, guard: createAddressGuard({ policy: 'public' }) });
    await expect(panel.list('/servers')).rejects.toMatchObject({ code: 'ADDRESS_REFUSED' });
    await panel.close();
    expect(server.requests).toEqual([]);
  });

  test('VirtFusion is tested below its base path, with its key', async () => {
    const server = await serve();
    const guard = createAddressGuard({ policy: 'private' });
    await testConnection({ url: `${server.url}/vf/`, apiKey }, { guard, timeoutMs: 5000 });
    expect(server.requests).toMatchObject([
      { method: 'GET', url: '/vf/api/v1/connect', headers: { authorization: 'Bearer a-secret-key' } },
    ]);
  });

  test.each([
    [401, 'PANEL_AUTH'],
    [403, 'PANEL_AUTH'],
    [404, 'PANEL_NOT_FOUND'],
    [429, 'PANEL_RATE_LIMITED'],
    [422, 'PANEL_CONTRACT'],
    [500, 'PANEL_UNAVAILABLE'],
  ])('VirtFusion answering %i is %s', async (status, code) => {
    const server = await serve((_request, response) => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end('{"message":"a-secret-body"}');
    });
    const options = { guard: createAddressGuard({ policy: 'private' }), timeoutMs: 5000 };
    const failed = await testConnection({ url: server.url, apiKey }, options).catch((error: unknown) => error);
    expect(failed).toMatchObject({ code });
    expect(JSON.stringify([failed, String(failed)])).not.toContain('a-secret');
  });

  test('an HTML page is not VirtFusion; a key that is not a valid header value is not sent', async () => {
    const server = await serve((_request, response) => {
      response.setHeader('Content-Type', 'text/html; charset=utf-8');
      response.end('<html>');
    });
    const options = { guard: createAddressGuard({ policy: 'private' }), timeoutMs: 5000 };
    await expect(testConnection({ url: server.url, apiKey }, options)).rejects.toMatchObject({
      code: 'PANEL_UNAVAILABLE',
      meta: { sender: 'page' },
    });
    const bad = testConnection({ url: server.url, apiKey: new Secret('a\r\nb') }, options);
    await expect(bad).rejects.toMatchObject({ code: 'PANEL_NOT_CONFIGURED' });
    expect(server.requests).toHaveLength(1);
  });

  test('a server that does not answer fails at the timeout', async () => {
    const server = await serve(() => {});
    const options = { guard: createAddressGuard({ policy: 'private' }), timeoutMs: 100 };
    await expect(testConnection({ url: server.url, apiKey }, options)).rejects.toMatchObject({
      code: 'PANEL_UNAVAILABLE',
      meta: { kind: 'timeout' },
    });
  });
});
