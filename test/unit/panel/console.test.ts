/** The console client against the simulated daemon: what is read of a console, and what every refusal and fault means. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocketServer } from 'ws';
import type { DaemonFault } from '../../../simulators/panel/daemon/faults.ts';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import { createPanelClient, type PanelClient } from '../../../src/clients/panel/client.ts';
import type { ConsoleOptions } from '../../../src/clients/panel/console.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { connectRaw, consoleError, runningServers, tokenOf } from '../../support/console.ts';
import { startRawServer } from '../../support/panel.ts';

/** For what is awaited: how long a busy machine takes is no matter. */
const WAIT = { timeout: 10_000 };

/** Of RFC 6455, 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

let sim: PanelSimulator;
let next: ReturnType<typeof runningServers>;
let client: PanelClient;

const clientOf = (url: string, key = 'client'): PanelClient =>
  createPanelClient({ url, apiKey: new Secret('app'), clientApiKey: new Secret(key), guard: 'environment' });

beforeAll(async () => {
  sim = await startPanelSimulator({ servers: 240, clientLimit: 0 });
  next = runningServers(sim);
  client = clientOf(sim.url, sim.keys.client);
});
afterAll(async () => {
  await client.close();
  await sim.close();
});

/** A reading that ends with its n-th line, whatever time the machine takes. */
const exactly = (maxLines: number): NonNullable<ConsoleOptions['limits']> => {
  const forever = 20_000;
  return { maxLines, quietMs: forever, mostMs: forever, firstMs: forever };
};

/** Opens the console of a server of its own, with a fault. */
async function open(fault?: DaemonFault, limits: ConsoleOptions['limits'] = {}, lines = 200) {
  const server = next();
  const process = sim.console(server.uuid);
  process.generate(lines);
  if (fault !== undefined) sim.daemon.faults.add(fault, { server: server.uuid });
  const { console } = await client.openConsole(server.uuid, { limits });
  return { server, process, console };
}
const received = (uuid: string) => sim.daemon.received.filter((one) => one.server === uuid).map((one) => one.event);

describe.concurrent('reading', () => {
  test('a reading holds exactly the last 150 lines, in order', async () => {
    const { process, console } = await open(undefined, exactly(150), 400);
    expect((await console.tail()).lines).toEqual(process.all.slice(-150));
    expect(console.state).toBe('running');
    // Nothing came after them: the next reading begins with what is printed now.
    process.print('later');
    expect((await console.tail()).lines).toEqual(['later', ...process.all.slice(-150, -1)]);
    console.close();
  });

  test('of a console without a line it holds none', async () => {
    const { console } = await open(undefined, { firstMs: 300 }, 0);
    expect(await console.tail()).toEqual({ lines: [], complete: true });
    console.close();
  });

  test('of a short one all, and those that are printed meanwhile', async () => {
    const { process, console } = await open(undefined, exactly(12), 0);
    process.print(['one', '', 'one', '\u001b[31mred\u001b[0m', '10%\r20%', 'ü'.repeat(5_000)]);
    // They are sent live, and then as the last lines.
    expect((await console.tail()).lines).toEqual([...process.all, ...process.all]);
    console.close();
  });

  test('live lines come in between, and none of the last lines is lost', async () => {
    const { process, console } = await open({ kind: 'interleave', every: 10 }, exactly(165));
    const before = process.all.slice(-150);
    const { lines } = await console.tail();
    const live = process.all.slice(200);
    expect(live).toHaveLength(15);
    expect(lines).toEqual(before.flatMap((line, i) => ((i + 1) % 10 === 0 ? [line, live[(i + 1) / 10 - 1]] : [line])));
    console.close();
  });

  test('two readings of one connection, then the daemon asks to wait', async () => {
    const { server, process, console } = await open(undefined, exactly(150));
    expect((await console.tail()).lines).toEqual(process.all.slice(-150));
    expect((await console.tail()).lines).toEqual(process.all.slice(-150));
    const error = await consoleError(console.tail());
    expect(error.code).toBe('CONSOLE_THROTTLED');
    expect(error.retryAfterMs).toBe(5_000);
    expect(received(server.uuid)).toEqual(['connect', 'auth', 'send logs', 'send logs', 'send logs']);
    console.close();
  });

  test('a reading at a time', async () => {
    const { console } = await open(undefined, exactly(150));
    const first = console.tail();
    await expect(console.tail()).rejects.toThrow('one reading');
    expect((await first).lines).toHaveLength(150);
    console.close();
  });

  test('a server that is offline is not asked; the state follows the daemon', async () => {
    const { server, process, console } = await open(undefined, exactly(2));
    process.stop();
    await vi.waitFor(() => expect(console.state).toBe('offline'), WAIT);
    expect(await console.tail()).toEqual({ lines: [], complete: true });
    expect(received(server.uuid)).not.toContain('send logs');
    process.start();
    await vi.waitFor(() => expect(console.state).toBe('running'), WAIT);
    process.print('Booting');
    expect((await console.tail()).lines).toEqual(['Booting', 'Booting']);
    console.close();
  });

  test('other messages are passed over, also binary ones', async () => {
    const { process, console } = await open({ kind: 'garbage' }, exactly(150));
    expect((await console.tail()).lines).toEqual(process.all.slice(-150));
    console.close();
  });

  test('a line of 1 MB is read; a message above the limit ends the connection', async () => {
    const { console } = await open({ kind: 'huge', bytes: 1_000_000 }, exactly(1));
    expect((await console.tail()).lines.map((line) => line.length)).toEqual([1_000_000]);
    console.close();
    const other = await open({ kind: 'huge', bytes: 1_100_000 }, exactly(1));
    expect((await consoleError(other.console.tail())).code).toBe('CONSOLE_UNAVAILABLE');
  });

  test('a reading ends at its limits', async () => {
    const few = await open(undefined, exactly(100));
    expect(await few.console.tail()).toEqual({ lines: few.process.all.slice(-150, -50), complete: false });
    few.console.close();
    const small = await open(undefined, { ...exactly(150), maxCharacters: 2_000 });
    const { lines, complete } = await small.console.tail();
    expect(complete).toBe(false);
    expect(lines.slice(0, -1).join('').length).toBeLessThan(2_000);
    expect(lines.join('').length).toBeGreaterThanOrEqual(2_000);
    small.console.close();
  });

  test.each([
    ['a pause', { quietMs: 200, leastMs: 0, mostMs: 20_000 }],
    ['the time since its first line', { quietMs: 20_000, leastMs: 0, mostMs: 200 }],
  ])('a reading ends by %s', async (_, limits) => {
    const { process, console } = await open(undefined, { firstMs: 20_000, ...limits }, 3);
    const { lines, complete } = await console.tail();
    expect(complete).toBe(true);
    expect(process.all.slice(0, lines.length)).toEqual(lines);
    console.close();
  });

  test('a reading lasts at least so long, although lines pause', async () => {
    const { process, console } = await open(undefined, { quietMs: 0, leastMs: 2_000, mostMs: 0, firstMs: 0 }, 1);
    const reading = console.tail();
    await new Promise((resolve) => setTimeout(resolve, 100));
    process.print('late');
    expect((await reading).lines).toContain('late');
    console.close();
  });
});

describe.concurrent('refusals of the daemon', () => {
  const cases: [DaemonFault, string, string][] = [
    [{ kind: 'status', status: 403 }, 'CONSOLE_REFUSED', 'origin'],
    [{ kind: 'status', status: 404 }, 'CONSOLE_REFUSED', 'server'],
    [{ kind: 'status', status: 400 }, 'CONSOLE_REFUSED', 'busy'],
    [{ kind: 'status', status: 502 }, 'CONSOLE_UNAVAILABLE', 'body'],
    [{ kind: 'status', status: 302 }, 'CONSOLE_UNAVAILABLE', 'body'],
    [{ kind: 'reset' }, 'CONSOLE_UNAVAILABLE', 'network'],
    [{ kind: 'hang' }, 'CONSOLE_UNAVAILABLE', 'timeout'],
    [{ kind: 'mute' }, 'CONSOLE_UNAVAILABLE', 'timeout'],
    [{ kind: 'slow', ms: 60_000 }, 'CONSOLE_UNAVAILABLE', 'timeout'],
    [{ kind: 'close', code: 1_001 }, 'CONSOLE_UNAVAILABLE', 'closed'],
    [{ kind: 'close', code: 4_409 }, 'CONSOLE_REFUSED', 'suspended'],
  ];
  test.each(cases)('%j: %s, %s', async (fault, code, kind) => {
    const error = await consoleError(
      open(fault, { openMs: 'status' in fault || fault.kind === 'close' ? 10_000 : 400 }),
    );
    expect([error.code, error.meta?.['kind']]).toEqual([code, kind]);
    expect(error.publicMessage).toMatch(/node/);
    expect(error.meta?.['throttle']).toEqual({});
  });

  test.each<[DaemonFault, string, string]>([
    [{ kind: 'cut', after: 75 }, 'CONSOLE_UNAVAILABLE', 'closed'],
    [{ kind: 'unreadable' }, 'CONSOLE_UNAVAILABLE', 'daemon'],
  ])('%j in a reading: %s, %s', async (fault, code, kind) => {
    const { console } = await open(fault, exactly(151));
    const error = await consoleError(console.tail());
    expect([error.code, error.meta?.['kind']]).toEqual([code, kind]);
    console.close();
  });

  test('the origin is that of the panel URL, which the daemon must know', async () => {
    const other = clientOf(sim.url.replace('127.0.0.1', 'localhost'), sim.keys.client);
    const error = await consoleError(other.openConsole(next().uuid));
    expect([error.code, error.meta?.['kind'], error.meta?.['status']]).toEqual(['CONSOLE_REFUSED', 'origin', 403]);
    await other.close();
  });

  test('a server that is deleted or suspended while its console is open', async () => {
    const { server, console } = await open(undefined, exactly(151));
    sim.update('servers', server.id, { status: 'suspended' });
    expect((await consoleError(console.tail())).code).toBe('CONSOLE_UNAVAILABLE');
    const gone = await open(undefined, exactly(151));
    sim.delete('servers', gone.server.id);
    expect((await consoleError(gone.console.tail())).code).toBe('CONSOLE_UNAVAILABLE');
  });
});

describe.concurrent('the token', () => {
  test('tokens from before the start of the daemon are refused, also while the console is open', async () => {
    const own = await startPanelSimulator({ servers: 20 });
    const ownClient = clientOf(own.url, own.keys.client);
    const server = runningServers(own)();
    const opened = await ownClient.openConsole(server.uuid, { limits: exactly(1) });
    own.daemon.reboot(Date.now() + 10_000);
    const ended = await consoleError(opened.console.tail());
    expect(ended.code).toBe('CONSOLE_UNAVAILABLE');
    const error = await consoleError(ownClient.openConsole(server.uuid));
    expect([error.code, error.meta?.['kind'], error.meta?.['reason']]).toEqual([
      'CONSOLE_REFUSED',
      'token',
      'denylist',
    ]);
    await ownClient.close();
    await own.close();
  });

  /** A panel that answers with this token and socket. */
  async function panelWith(data: unknown) {
    const raw = await startRawServer((_, response) => {
      response.setHeader('content-type', 'application/json');
      response.setHeader('x-ratelimit-remaining', '7');
      response.end(JSON.stringify({ data }));
    });
    sim.daemon.settings.allowedOrigins.push(raw.url);
    const other = clientOf(raw.url);
    const error = await consoleError(other.openConsole(next().uuid));
    await other.close();
    await raw.close();
    return error;
  }

  test('a token of another server, of another secret, expired, or without the right', async () => {
    const server = next();
    const socket = `${sim.daemon.url}/api/servers/${server.uuid}/ws?token=a.secret.token`;
    const reasons: Record<string, unknown> = {};
    const tokens = {
      other: tokenOf(sim, server, { uuid: next().uuid }),
      forged: `${tokenOf(sim, server).slice(0, -4)}AAAA`,
      none: 'a.secret.token',
      expired: tokenOf(sim, server, { at: Date.now() - 700_000 }),
      right: tokenOf(sim, server, { permissions: ['control.console'] }),
    };
    for (const [name, token] of Object.entries(tokens)) {
      const { code, meta } = await panelWith({ token, socket });
      expect([code, meta?.['kind'], meta?.['throttle']]).toEqual(['CONSOLE_REFUSED', 'token', { remaining: 7 }]);
      reasons[name] = meta?.['reason'];
    }
    expect(reasons).toEqual({
      other: 'server uuid mismatch',
      forged: undefined,
      none: undefined,
      expired: 'exp claim',
      right: 'missing connect permission',
    });
  });

  test.each([
    ['no address', 'PANEL_CONTRACT', { token: 'a.secret.token' }],
    ['no token', 'PANEL_CONTRACT', { socket: 'ws://127.0.0.1:9/' }],
    ['another scheme', 'PANEL_CONTRACT', { token: 'a.secret.token', socket: 'http://127.0.0.1:9/' }],
    ['credentials', 'PANEL_CONTRACT', { token: 'a.secret.token', socket: 'ws://user:pw@127.0.0.1:9/' }],
    ['text', 'PANEL_CONTRACT', { token: 'a.secret.token', socket: 'a.secret.token' }],
    ['a metadata service', 'ADDRESS_REFUSED', { token: 'a.secret.token', socket: 'ws://169.254.169.254/' }],
    ['a name that is not known', 'CONSOLE_UNAVAILABLE', { token: 'a.secret.token', socket: 'wss://node.invalid/' }],
    ['a closed port', 'CONSOLE_UNAVAILABLE', { token: 'a.secret.token', socket: 'ws://127.0.0.1:9/' }],
  ])('the panel names %s: %s', async (_, code, data) => {
    expect((await panelWith(data)).code).toBe(code);
  });
});

describe.concurrent('the panel', () => {
  test('its refusals are those of its other requests; the answer tells its throttle', async () => {
    const own = await startPanelSimulator({ servers: 30, clientLimit: 5 });
    const admin = clientOf(own.url, own.keys.client);
    const pick = runningServers(own);
    const suspended = pick();
    own.update('servers', suspended.id, { status: 'suspended' });
    expect((await consoleError(admin.openConsole(suspended.uuid))).code).toBe('PANEL_CONFLICT');
    expect((await consoleError(admin.openConsole('00000000-0000-4000-8000-000000000000'))).code).toBe(
      'PANEL_NOT_FOUND',
    );
    const server = pick();
    own.update('servers', server.id, { status: 'installing' });
    const opened = await admin.openConsole(server.uuid);
    expect(opened.throttle).toEqual({ limit: 5, remaining: 2 });
    opened.console.close();
    own.spend(5, { api: 'client' });
    expect((await consoleError(admin.openConsole(pick().uuid))).code).toBe('PANEL_RATE_LIMITED');
    const none = createPanelClient({ url: own.url, apiKey: new Secret('app'), guard: 'environment' });
    expect((await consoleError(none.openConsole(pick().uuid))).code).toBe('PANEL_NOT_CONFIGURED');
    await Promise.all([admin.close(), none.close(), own.close()]);
  });
});

describe.concurrent('the end', () => {
  const reason = new Error('stopped');

  test('an abort ends a reading, with its reason, and the connection', async () => {
    const server = next();
    const stop = new AbortController();
    const { console } = await client.openConsole(server.uuid, { signal: stop.signal, limits: exactly(1) });
    const reading = console.tail();
    stop.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await expect(console.tail()).rejects.toBe(reason);
  });

  test.each<DaemonFault>([{ kind: 'hang' }, { kind: 'mute' }])('an abort ends the opening: %j', async (fault) => {
    const server = next();
    sim.daemon.faults.add(fault, { server: server.uuid });
    const stop = new AbortController();
    const opening = client.openConsole(server.uuid, { signal: stop.signal });
    opening.catch(() => undefined);
    await vi.waitFor(() => expect(received(server.uuid).length).toBe(fault.kind === 'hang' ? 1 : 2), WAIT);
    stop.abort(reason);
    await expect(opening).rejects.toBe(reason);
    await expect(client.openConsole(server.uuid, { signal: stop.signal })).rejects.toBe(reason);
  });

  test('a closed console reads no more', async () => {
    const { console } = await open(undefined, exactly(151));
    const reading = console.tail();
    console.close();
    await expect(reading).rejects.toThrow('closed');
    await expect(console.tail()).rejects.toThrow('closed');
  });

  test('a daemon that floods is left: a reading ends at its limits, the connection at its own', async () => {
    const line = JSON.stringify({ event: 'console output', args: ['x'.repeat(60_000)] });
    const flood = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    let code: number | undefined;
    flood.on('connection', (socket) => {
      const pour = () => {
        if (socket.readyState === socket.OPEN) socket.send(line, () => setImmediate(pour));
      };
      socket
        .on('error', () => {})
        .on('close', (closed) => {
          code = closed;
        });
      socket.once('message', () => {
        socket.send('{"event":"auth success"}');
        socket.send('{"event":"status","args":["running"]}');
        for (let i = 0; i < 8; i += 1) pour();
      });
    });
    await once(flood, 'listening');
    const address = flood.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const panel = await startRawServer((_, response) => {
      response.end(JSON.stringify({ data: { token: 'a.secret.token', socket: `ws://127.0.0.1:${port}/` } }));
    });
    const other = clientOf(panel.url);
    const { console } = await other.openConsole('a');
    const { lines, complete } = await console.tail();
    expect(complete).toBe(false);
    expect(lines.length).toBe(Math.ceil((4 * 1024 * 1024) / 60_000));
    await vi.waitFor(() => expect(code).toBeDefined(), WAIT);
    expect((await consoleError(console.tail())).code).toBe('CONSOLE_UNAVAILABLE');
    flood.close();
    await Promise.all([other.close(), panel.close()]);
  });
});

describe.concurrent('peers that are no daemon', () => {
  /** Shakes hands; with bytes, sends them in the same packet and ends; without, does nothing more. */
  async function deafPeer(bytes: Buffer) {
    const server = createServer();
    let ended = false;
    server.on('upgrade', (request, socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}${WEBSOCKET_GUID}`)
        .digest('base64');
      const head = ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: upgrade'];
      const text = [...head, `sec-websocket-accept: ${accept}`, '', ''].join('\r\n');
      const packet = Buffer.concat([Buffer.from(text), bytes]);
      if (bytes.length === 0) socket.write(packet);
      else socket.end(packet);
      socket.on('error', () => {}).resume();
      socket.on('end', () => {
        ended = true;
        socket.end();
      });
    });
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const panel = await startRawServer((_, response) => {
      response.end(JSON.stringify({ data: { token: 'a.secret.token', socket: `ws://127.0.0.1:${port}/` } }));
    });
    const other = clientOf(panel.url);
    const error = await consoleError(other.openConsole('a', { limits: { openMs: 400 } }));
    await vi.waitFor(() => expect(ended).toBe(true), WAIT);
    server.close();
    await Promise.all([other.close(), panel.close()]);
    return error;
  }

  test('one that does not take part in the end loses its connection', async () => {
    expect((await deafPeer(Buffer.alloc(0))).meta?.['kind']).toBe('timeout');
  });

  test('a close frame in the packet of the handshake is heard', async () => {
    expect((await deafPeer(Buffer.from([0x88, 2, 0x11, 0x39]))).meta?.['kind']).toBe('suspended');
  });

  test('one that sends what is no frame', async () => {
    expect((await deafPeer(Buffer.from('HTTP/1.1 200 OK\r\n\r\n'))).meta?.['kind']).toBe('closed');
  });
});

test('after all of it no connection is left', async () => {
  await expect.poll(() => sim.daemon.open).toBe(0);
  const raw = await connectRaw(sim, next().uuid);
  expect(sim.daemon.open).toBe(1);
  raw.end();
});
