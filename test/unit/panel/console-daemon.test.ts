/** The rules of the simulated daemon and of the panel's route to it, each as the sources of Wings and the panel have it. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { type PanelSimulator, startPanelSimulator } from '../../../simulators/panel/simulator.ts';
import type { ServerRow } from '../../../simulators/panel/world/rows.ts';
import { connectRaw, type RawConnection, runningServers, tokenOf } from '../../support/console.ts';

const WAIT = { timeout: 10_000, interval: 5 };
let sim: PanelSimulator;
let next: () => ServerRow;

beforeAll(async () => {
  sim = await startPanelSimulator({ servers: 240, clientLimit: 0 });
  next = runningServers(sim);
});
afterAll(() => sim.close());

const heard = (raw: RawConnection, ...events: string[]) => vi.waitFor(() => expect(raw.events()).toEqual(events), WAIT);
const closed = (raw: RawConnection) => vi.waitFor(() => expect(raw.code()).toBeDefined(), WAIT);

/** A connection that is authenticated. */
async function enter(server: ServerRow, options: Parameters<typeof tokenOf>[2] = {}): Promise<RawConnection> {
  const raw = await connectRaw(sim, server.uuid);
  raw.say('auth', tokenOf(sim, server, options));
  await vi.waitFor(() => expect(raw.events()).toContain('status'), WAIT);
  return raw;
}

describe.concurrent('before the connection', () => {
  test.each([
    ['no origin', undefined],
    ['another one', 'https://evil.test'],
    ['its host alone', '127.0.0.1'],
  ])('403 for %s', async (_, origin) => {
    await expect(connectRaw(sim, next().uuid, { origin })).rejects.toThrow('403');
  });

  test('other origins that the daemon allows, and 400 with too many connections', async () => {
    const own = await startPanelSimulator({ servers: 20 });
    own.daemon.settings.allowedOrigins = ['https://other.test'];
    own.daemon.settings.maxConnections = 1;
    const server = runningServers(own)();
    const first = await connectRaw(own, server.uuid, { origin: 'https://other.test' });
    const second = await connectRaw(own, server.uuid);
    first.say('auth', tokenOf(own, server));
    await heard(first, 'auth success', 'status');
    await expect(connectRaw(own, server.uuid)).rejects.toThrow('400');
    second.say('auth', tokenOf(own, server));
    await closed(second);
    expect(second.messages[0]?.event).toBe('daemon error');
    own.daemon.settings.allowedOrigins = ['*'];
    own.daemon.settings.authTimeoutMs = 30;
    own.daemon.settings.maxConnections = 9;
    const third = await connectRaw(own, server.uuid, { origin: 'https://any.test' });
    await closed(third);
    await own.close();
  });

  test('404 for a server that is not there, 400 without an upgrade', async () => {
    await expect(connectRaw(sim, '00000000-0000-4000-8000-000000000000')).rejects.toThrow('404');
    const plain = await fetch(`${sim.daemon.url.replace('ws', 'http')}/api/servers/${next().uuid}/ws`);
    expect(plain.status).toBe(400);
  });
});

describe.concurrent('tokens', () => {
  test('without one nothing is answered but a jwt error, and nothing is sent live', async () => {
    const server = next();
    const raw = await connectRaw(sim, server.uuid);
    raw.say('send logs');
    await heard(raw, 'jwt error');
    expect(raw.messages[0]?.args).toEqual(['jwt: no jwt present']);
    sim.console(server.uuid).print('live');
    raw.say('send stats');
    await heard(raw, 'jwt error', 'jwt error');
    raw.end();
  });

  test.each<[string, (server: ServerRow) => string, string, RegExp]>([
    ['no token', () => 'x', 'daemon error', /unexpected error/],
    ['of another secret', (s) => `${tokenOf(sim, s).slice(0, -4)}AAAA`, 'daemon error', /unexpected error/],
    ['that expired', (s) => tokenOf(sim, s, { at: Date.now() - 700_000 }), 'jwt error', /jwt: exp claim is invalid$/],
    ['without the right', (s) => tokenOf(sim, s, { permissions: [] }), 'jwt error', /missing connect permission$/],
    ['of another server', (s) => tokenOf(sim, s, { uuid: next().uuid }), 'jwt error', /server uuid mismatch$/],
  ])('a token %s is refused', async (_, make, event, text) => {
    const server = next();
    const raw = await connectRaw(sim, server.uuid);
    raw.say('auth', make(server));
    await heard(raw, event);
    expect(raw.messages[0]?.args?.[0]).toMatch(text);
    raw.end();
  });

  test('a token is accepted, in parts too; the state comes once, usage only of a server that is offline', async () => {
    const server = next();
    const raw = await connectRaw(sim, server.uuid);
    const token = tokenOf(sim, server);
    raw.say('auth', token.slice(0, 20), token.slice(20));
    await heard(raw, 'auth success', 'status');
    expect(raw.messages).toEqual([{ event: 'auth success' }, { event: 'status', args: ['running'] }]);
    raw.say('auth', tokenOf(sim, server));
    await heard(raw, 'auth success', 'status', 'auth success');
    sim.console(server.uuid).stop();
    const offline = await enter(server);
    await heard(offline, 'auth success', 'status', 'stats');
    expect(offline.messages[1]?.args).toEqual(['offline']);
    raw.end();
    offline.end();
  });

  test('its end is announced, and nothing is sent after it', async () => {
    const own = await startPanelSimulator({ servers: 20 });
    own.daemon.settings.tickMs = 10;
    const server = runningServers(own)();
    const raw = await connectRaw(own, server.uuid);
    raw.say('auth', tokenOf(own, server, { at: Date.now() - 560_000 }));
    await vi.waitFor(() => expect(raw.events()).toContain('token expiring'), WAIT);
    own.daemon.settings.tickMs = 30_000;
    const last = await connectRaw(own, server.uuid);
    last.say('auth', tokenOf(own, server, { at: Date.now() - 599_500 }));
    await heard(last, 'auth success', 'status');
    await vi.waitFor(() => {
      own.console(server.uuid).print('after the end');
      expect(last.messages.at(-1)).toEqual({ event: 'jwt error', args: ['jwt: exp claim is invalid'] });
    }, WAIT);
    await own.close();
  });

  test('a restart of the daemon ends the connections and refuses tokens from before it', async () => {
    const own = await startPanelSimulator({ servers: 20 });
    const server = runningServers(own)();
    const raw = await connectRaw(own, server.uuid);
    const at = Date.now();
    own.daemon.reboot(at + 1_000);
    await closed(raw);
    const again = await connectRaw(own, server.uuid);
    again.say('auth', tokenOf(own, server, { at }));
    await heard(again, 'jwt error');
    expect(again.messages[0]?.args?.[0]).toMatch(/jwt: created too far in past \(denylist\)$/);
    again.say('auth', tokenOf(own, server, { at: at + 2_000 }));
    await heard(again, 'jwt error', 'auth success', 'status');
    await own.close();
  });
});

describe.concurrent('messages', () => {
  test('what is no message is passed over; one above 4,096 bytes ends the connection', async () => {
    const raw = await enter(next());
    for (const junk of ['no JSON', '[]', '{"event":1}', '{"event":"send stats","args":"x"}']) raw.send(junk);
    raw.send(Buffer.from('{"event":"send stats"}'));
    raw.say('unknown');
    raw.say('send stats');
    await heard(raw, 'auth success', 'status', 'stats');
    raw.send('x'.repeat(4_097));
    await closed(raw);
    expect(raw.code()).toBe(1_009);
  });

  test('readings: two at once; then one message of throttling for all that come too early', async () => {
    const server = next();
    sim.console(server.uuid).print('line');
    const raw = await enter(server);
    for (let i = 0; i < 5; i += 1) raw.say('send logs');
    raw.say('send stats');
    await heard(raw, 'auth success', 'status', 'console output', 'console output', 'throttled', 'stats');
    expect(raw.messages[4]?.args).toEqual(['send logs']);
    raw.end();
  });

  test('eleven messages at once are too many', async () => {
    const raw = await connectRaw(sim, next().uuid);
    for (let i = 0; i < 12; i += 1) raw.send('junk');
    await heard(raw, 'throttled');
    expect(raw.messages[0]?.args).toEqual(['global']);
    raw.end();
  });

  test('the last lines are sent only of a server that runs, one in a message; live ones to every connection', async () => {
    const server = next();
    const console = sim.console(server.uuid);
    const lines = console.generate(200);
    const [one, two] = [await enter(server), await enter(server)];
    one.say('send logs');
    await vi.waitFor(() => expect(one.messages).toHaveLength(152), WAIT);
    expect(one.messages.slice(2)).toEqual(lines.slice(-150).map((line) => ({ event: 'console output', args: [line] })));
    expect(two.messages).toHaveLength(2);
    console.print(['a <b> & c', 'cut \rhere']);
    await vi.waitFor(() => expect(two.messages).toHaveLength(5), WAIT);
    expect(two.messages.slice(2).map(({ args }) => args)).toEqual([['a <b> & c'], ['cut'], ['here']]);
    console.stop();
    two.say('send logs');
    two.say('send stats');
    await vi.waitFor(() => expect(two.events().slice(5)).toEqual(['status', 'stats']), WAIT);
    console.start();
    console.print('first');
    two.say('send logs');
    await vi.waitFor(() => expect(two.events().slice(7)).toEqual(['status', 'console output', 'console output']), WAIT);
    expect(console.log).toEqual(['first']);
    expect(console.all).toEqual([...lines, 'a <b> & c', 'cut \rhere', 'first']);
    one.end();
    two.end();
  });

  test('a line of 64 KiB ends a reading; of very many lines not all are sent live', async () => {
    const server = next();
    const console = sim.console(server.uuid);
    console.print(['before', 'x'.repeat(65_536), 'after']);
    const raw = await enter(server);
    raw.say('send logs');
    raw.say('send stats');
    await heard(raw, 'auth success', 'status', 'console output', 'stats');
    let live = 0;
    const count = await import('../../../simulators/panel/daemon/console.ts').then(({ createConsole }) => {
      const own = createConsole(1, 'running', () => {});
      own.listen({
        line: () => {
          live += 1;
        },
        state: () => {},
      });
      own.print(Array.from({ length: 2_500 }, () => ''));
      return own.log.length;
    });
    expect([count, live]).toEqual([2_500, 2_000]);
    raw.end();
  });

  test('a server that is deleted or suspended loses its connections', async () => {
    const [gone, suspended] = [next(), next()];
    const [one, two] = [await enter(gone), await enter(suspended)];
    sim.delete('servers', gone.id);
    await closed(one);
    sim.update('servers', suspended.id, { status: 'suspended' });
    await closed(two);
    const late = await connectRaw(sim, suspended.uuid);
    await closed(late);
    expect(late.code()).toBe(4_409);
  });
});

test('the lines of a seed are always the same, with repeats, colours, empty and long ones', () => {
  const server = next();
  const console = sim.console(server.uuid);
  const lines = console.generate(500);
  const wanted: [string, (line: string, i: number) => boolean][] = [
    ['repeats', (line, i) => line === lines[i - 1]],
    ['colours', (line) => line.includes('\u001b[')],
    ['empty', (line) => line === ''],
    ['long', (line) => line.length > 2_000],
    ['carriage returns', (line) => line.includes('\r')],
  ];
  for (const [name, is] of wanted) expect(lines.filter(is).length, name).toBeGreaterThan(3);
});

describe('the route of the panel', () => {
  const ask = async (uuid: string, key: string) => {
    const response = await fetch(`${sim.url}/api/client/servers/${uuid}/websocket`, {
      headers: { accept: 'application/json', authorization: `Bearer ${key}`, 'user-agent': 'test' },
    });
    const data = z.object({ token: z.string(), socket: z.string() });
    const errors = z.array(z.object({ code: z.string() }));
    const body = z.object({ data: data.optional(), errors: errors.optional() }).parse(await response.json());
    return { status: response.status, data: body.data ?? { token: '', socket: '' }, errors: body.errors };
  };

  test('a token for ten minutes, with the rights of the user', async () => {
    const server = next();
    const { status, data } = await ask(server.uuid, sim.keys.client);
    expect(status).toBe(200);
    expect(data.socket).toBe(`${sim.daemon.url}/api/servers/${server.uuid}/ws`);
    const [header, claims] = data.token
      .split('.')
      .slice(0, 2)
      .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()));
    expect(header).toEqual({ typ: 'JWT', alg: 'HS256', jti: claims.jti });
    expect(claims).toMatchObject({
      iss: sim.url,
      server_uuid: server.uuid,
      user_id: 1,
      user_uuid: sim.world.users.get(1)?.uuid,
      permissions: ['*', 'admin.websocket.errors', 'admin.websocket.install', 'admin.websocket.transfer'],
    });
    expect([claims.exp - claims.iat, claims.iat - claims.nbf]).toEqual([600, 300]);
  });

  test('403 without the right; 404 without access; 409 in states, of which an administrator may pass some', async () => {
    const server = next();
    expect((await ask(server.uuid, sim.keys.userClient)).status).toBe(server.user === 3 ? 200 : 404);
    sim.update('servers', server.id, { user: 2 });
    const row = sim.create('subusers', { server_id: server.id, user_id: 3, permissions: ['control.console'] });
    expect(await ask(server.uuid, sim.keys.userClient)).toMatchObject({
      status: 403,
      errors: [{ code: 'HttpForbiddenException' }],
    });
    sim.update('subusers', row.id, { permissions: ['websocket.connect'] });
    expect((await ask(server.uuid, sim.keys.userClient)).status).toBe(200);
    const statuses = async () => [
      (await ask(server.uuid, sim.keys.client)).status,
      (await ask(server.uuid, sim.keys.userClient)).status,
    ];
    sim.update('servers', server.id, { status: 'installing' });
    expect(await statuses()).toEqual([200, 409]);
    sim.update('servers', server.id, { status: null, transferring: true });
    expect(await statuses()).toEqual([200, 409]);
    sim.update('servers', server.id, { status: 'suspended', transferring: false });
    expect(await statuses()).toEqual([409, 409]);
  });
});

describe('admin calls', () => {
  const call = async (path: string, body?: unknown) => {
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`${sim.url}/__sim/${path}`, init);
    return z.record(z.string(), z.unknown()).parse(await response.json());
  };

  test('print on a console, restart it, read it; faults and settings of the daemon', async () => {
    const server = next();
    expect(await call(`servers/${server.uuid}/console`, { print: ['a', 'b'], generate: 1 })).toMatchObject({
      state: 'running',
      log: ['a', 'b', expect.any(String)],
    });
    expect(await call(`servers/${server.id}/console`, { power: 'restart', print: ['c'] })).toMatchObject({
      log: ['c'],
    });
    expect(await call(`servers/${server.identifier}/console`)).toMatchObject({
      all: ['a', 'b', expect.any(String), 'c'],
    });
    expect(
      await call('daemon', { logCount: 150, fault: { kind: 'reset', server: server.uuid, times: 1 } }),
    ).toMatchObject({
      url: sim.daemon.url,
      settings: { logCount: 150 },
    });
    await expect(connectRaw(sim, server.uuid)).rejects.toThrow();
    expect((await connectRaw(sim, server.uuid)).code()).toBeUndefined();
    expect(await call('daemon', { fault: { kind: 'what' } })).toHaveProperty('error');
  });
});
