import { randomUUID } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { setActive } from '../../../src/services/accounts/roles.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import {
  bearer,
  changeLog,
  type Harness,
  insertLog,
  makeUser,
  ORIGIN,
  startHarness,
} from '../../support/api/harness.ts';
import { openedSession, post } from '../../support/api/sign-in.ts';

let harness: Harness;
let second: Harness;
let token: string;
beforeAll(async () => {
  harness = await startHarness({ streams: { pingMs: 200, pollMs: 100 } });
  second = await startHarness({ database: harness.database });
  token = (await makeUser(harness, { roles: ['SUPER_ADMIN'] })).token;
});
afterAll(async () => {
  await second.close();
  await harness.close();
});

interface Event {
  event: string;
  id: string | undefined;
  data: { id?: string; status?: string; syncLogId?: string; metadata?: Record<string, unknown> };
}

/** Reads a stream as EventSource would, event by event. */
function open(on: Harness, id: string, headers: Record<string, string> = {}, query = `?token=${token}`) {
  const abort = new AbortController();
  const events: Event[] = [];
  let comments = 0;
  let ended = false;
  let status = 0;
  let response: Response | undefined;
  const done = (async () => {
    response = await fetch(`${on.url}/api/admin/sync/stream/${id}${query}`, { headers, signal: abort.signal });
    status = response.status;
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += new TextDecoder().decode(chunk);
      let at = text.indexOf('\n\n');
      while (at >= 0) {
        const lines = text.slice(0, at).split('\n');
        text = text.slice(at + 2);
        const field = (name: string) => lines.find((l) => l.startsWith(`${name}: `))?.slice(name.length + 2);
        const event = field('event');
        if (event !== undefined) events.push({ event, id: field('id'), data: JSON.parse(field('data') ?? 'null') });
        else if (lines.some((l) => l.startsWith(':'))) comments += 1;
        at = text.indexOf('\n\n');
      }
    }
    ended = true;
  })().catch(() => {});
  return {
    events,
    names: () => events.map((e) => e.event),
    comments: () => comments,
    ended: () => ended,
    status: () => status,
    headers: () => response?.headers,
    abort: () => abort.abort(),
    done,
  };
}
const until = (check: () => boolean) => expect.poll(check, { timeout: 5000, interval: 20 }).toBe(true);

describe('the stream of a running sync', () => {
  test('connected, an update per change, done once, then the end', async () => {
    const id = await insertLog(harness.database, {
      status: 'RUNNING',
      type: 'full',
      metadata: { version: 1, progress: 0 },
    });
    const stream = open(harness, id, { Origin: ORIGIN });
    const other = open(second, id);
    await until(() => stream.events.length === 2 && other.events.length === 2);
    expect(stream.status()).toBe(200);
    expect(stream.headers()?.get('content-type')).toMatch(/^text\/event-stream/);
    expect(stream.headers()?.get('cache-control')).toBe('no-cache');
    expect(stream.headers()?.get('x-accel-buffering')).toBe('no');
    expect(stream.headers()?.get('access-control-allow-origin')).toBe(ORIGIN);
    expect(stream.events[0]).toEqual({ event: 'connected', id: undefined, data: { syncLogId: id } });
    expect(stream.events[1]).toEqual({
      event: 'update',
      id: '1',
      data: { id, status: 'RUNNING', itemsTotal: 10, itemsSynced: 4, metadata: { version: 1, progress: 0 } },
    });
    await changeLog(harness.database, id, 'RUNNING', { version: 2, progress: 15 });
    await until(() => stream.events.length === 3 && other.events.length === 3);
    expect(stream.events[2]).toMatchObject({ event: 'update', id: '2', data: { metadata: { progress: 15 } } });
    // The same state again is not a change.
    await changeLog(harness.database, id, 'RUNNING', { version: 2, progress: 15 });
    await until(() => stream.comments() >= 2);
    expect(stream.events).toHaveLength(3);
    await changeLog(harness.database, id, 'COMPLETED', { version: 3, progress: 100 });
    await Promise.all([stream.done, other.done]);
    for (const one of [stream, other]) {
      expect(one.names()).toEqual(['connected', 'update', 'update', 'update', 'done']);
      expect(one.events[4]?.data).toEqual(one.events[3]?.data);
      expect(one.ended()).toBe(true);
    }
    await until(() => harness.deps.streams.size() === 0);
  });

  test.each(['COMPLETED', 'FAILED', 'CANCELLED'])('already %s: done is sent immediately', async (status) => {
    const id = await insertLog(harness.database, { status });
    const stream = open(harness, id);
    await stream.done;
    expect(stream.names()).toEqual(['connected', 'update', 'done']);
    expect(stream.events[2]?.data.status).toBe(status);
  });

  test('with Last-Event-ID the state of that event is not sent again', async () => {
    const id = await insertLog(harness.database, { status: 'COMPLETED', metadata: { version: 7 } });
    const seen = open(harness, id, { 'Last-Event-ID': '7' });
    await seen.done;
    expect(seen.names()).toEqual(['connected', 'done']);
    const behind = open(harness, id, { 'Last-Event-ID': '6' });
    await behind.done;
    expect(behind.names()).toEqual(['connected', 'update', 'done']);
  });

  test('a burst is read at most every 100 ms and ends in the last state', async () => {
    const id = await insertLog(harness.database, { type: 'burst', status: 'COMPLETED', metadata: { version: 0 } });
    await harness.database.db.raw(`update sync_logs set status = 'RUNNING' where id = ?`, [id]);
    const stream = open(harness, id);
    await until(() => stream.events.length === 2);
    const startedAt = performance.now();
    for (let version = 1; version <= 100; version += 1) await changeLog(harness.database, id, 'RUNNING', { version });
    const tookMs = performance.now() - startedAt;
    await until(() => stream.events.at(-1)?.id === '100');
    expect(stream.events.length).toBeLessThanOrEqual(2 + Math.ceil(tookMs / 100) + 3);
    await changeLog(harness.database, id, 'CANCELLED', { version: 101 });
    await stream.done;
    expect(stream.events.at(-1)).toMatchObject({ event: 'done', data: { status: 'CANCELLED' } });
  });

  test('a lost LISTEN is bridged by reading', async () => {
    const id = await insertLog(harness.database, { status: 'RUNNING', metadata: { version: 1 } });
    const stream = open(harness, id);
    await until(() => stream.events.length === 2);
    await harness.database.db.raw(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listener' and datname = current_database()`,
    );
    await harness.database.db.raw(`update sync_logs set status = 'FAILED', error = 'x' where id = ?`, [id]);
    await stream.done;
    expect(stream.events.at(-1)).toMatchObject({ event: 'done', data: { status: 'FAILED' } });
  });

  test('the token may come in the header', async () => {
    const id = await insertLog(harness.database);
    const stream = open(harness, id, bearer(token), '');
    await stream.done;
    expect(stream.names()).toContain('done');
  });

  test('the stream of a caller that disconnects is removed', async () => {
    const id = await insertLog(harness.database, { status: 'RUNNING' });
    const streams = [open(harness, id), open(harness, id), open(harness, id)];
    await until(() => harness.deps.streams.size() === 3);
    for (const stream of streams) stream.abort();
    await until(() => harness.deps.streams.size() === 0);
    await harness.database.db.raw(`update sync_logs set status = 'COMPLETED' where id = ?`, [id]);
  });

  test('the stream of a caller that reads nothing is ended', async () => {
    const id = await insertLog(harness.database, { status: 'RUNNING', metadata: { version: 1 } });
    const { hostname, port } = new URL(harness.url);
    const socket = connect(Number(port), hostname);
    socket.write(`GET /api/admin/sync/stream/${id}?token=${token} HTTP/1.1\r\nHost: x\r\n\r\n`);
    socket.on('error', () => {});
    await until(() => harness.deps.streams.size() === 1);
    socket.pause();
    for (let version = 2; version < 60 && harness.deps.streams.size() > 0; version += 1) {
      await changeLog(harness.database, id, 'RUNNING', { version, filler: 'x'.repeat(300_000) });
      await new Promise((resolve) => setTimeout(resolve, 110));
    }
    await until(() => harness.deps.streams.size() === 0);
    // Its connection is cut, not only forgotten.
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.resume();
    await closed;
    await harness.database.db.raw(`update sync_logs set status = 'COMPLETED' where id = ?`, [id]);
  });

  test('a removed log ends the stream with an error event', async () => {
    const id = await insertLog(harness.database, { status: 'RUNNING' });
    const stream = open(harness, id);
    await until(() => stream.events.length === 2);
    await harness.database.db.raw('delete from sync_logs where id = ?', [id]);
    await stream.done;
    expect(stream.events.at(-1)).toEqual({ event: 'error', id: undefined, data: { error: 'log not found' } });
  });

  test('ends at a ping when its caller is disabled, signed out or no administrator any more (S18)', async () => {
    const id = await insertLog(harness.database, { status: 'RUNNING', metadata: { version: 1 } });
    const { db } = harness.database;
    const watched = async () => {
      const user = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
      const pair = await openedSession(harness, user.id);
      return { ...user, ...pair, stream: open(harness, id, bearer(pair.accessToken), '') };
    };
    const [kept, disabled, signedOut, demoted] = [await watched(), await watched(), await watched(), await watched()];
    const all = [kept, disabled, signedOut, demoted];
    await until(() => all.every(({ stream }) => stream.events.length === 2));
    await setActive(db, disabled.id, false, OPERATOR);
    await post(harness, 'logout', { refreshToken: signedOut.refreshToken });
    // As the site would do it, which leaves the session.
    await db.raw(`update users set roles = '{MEMBER}' where id = ?`, [demoted.id]);
    await Promise.all([disabled, signedOut, demoted].map(({ stream }) => stream.done));
    for (const { stream } of [disabled, signedOut, demoted]) {
      expect(stream.names()).toEqual(['connected', 'update', 'error']);
      expect(stream.events[2]?.data).toEqual({ error: 'signed out' });
    }
    const { comments } = kept.stream;
    const before = comments();
    await until(() => comments() > before + 1);
    await changeLog(harness.database, id, 'COMPLETED', { version: 2 });
    await kept.stream.done;
    expect(kept.stream.names().at(-1)).toBe('done');
  });

  test('a draining process ends its streams and takes no more', async () => {
    const own = await startHarness({ database: harness.database });
    const id = await insertLog(harness.database, { status: 'RUNNING' });
    const stream = open(own, id);
    await until(() => stream.events.length === 2);
    own.deps.streams.close();
    await stream.done;
    expect(stream.names()).toEqual(['connected', 'update']);
    expect((await own.get(`/api/admin/sync/stream/${id}?token=${token}`)).status).toBe(503);
    await own.close();
    await harness.database.db.raw(`update sync_logs set status = 'COMPLETED' where id = ?`, [id]);
  });
});

describe('who may watch', () => {
  test('texts of refusals', async () => {
    const member = await makeUser(harness);
    const id = await insertLog(harness.database);
    const read = async (query: string) => {
      const response = await harness.get(`/api/admin/sync/stream/${id}${query}`);
      return [response.status, (await response.json()).error];
    };
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    expect(await read('')).toEqual([401, 'missing token']);
    expect(await read('?token=abc')).toEqual([401, 'invalid token format']);
    expect(await read('?token=a.!!.c')).toEqual([401, 'invalid token encoding']);
    expect(await read('?token=a.bm90anNvbg.c')).toEqual([401, 'invalid token claims']);
    expect(await read(`?token=a.${part({ sub: 'x' })}.c`)).toEqual([401, 'missing user ID in token']);
    expect(await read(`?token=a.${part({ id: 'x' })}.c`)).toEqual([401, 'invalid token']);
    expect(await read(`?token=${member.token}`)).toEqual([403, 'forbidden']);
    const unknown = await harness.get(`/api/admin/sync/stream/${randomUUID()}?token=${token}`);
    expect([unknown.status, (await unknown.json()).error]).toEqual([404, 'sync log not found']);
  });

  test('the token is not logged', () => {
    expect(harness.logged()).toContain('/api/admin/sync/stream/');
    expect(harness.logged()).not.toContain(token);
  });
});
