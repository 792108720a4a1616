/** The list of audit events and its files: filters, cursor, what spreadsheets open, and what happens when a file breaks off. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

interface Row {
  at?: string;
  action?: string;
  outcome?: string;
  actor?: [string, string | null];
  target?: [string | null, string | null];
  network?: string | null;
  request?: string | null;
  details?: object;
}
interface Event {
  id: string;
  action: string;
  actor: { type: string; id: string | null; email: string | null; username: string | null };
  target: { type: string; id: string; email: string | null } | null;
  details: Record<string, unknown>;
  [key: string]: unknown;
}

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
let ada: Awaited<ReturnType<typeof makeUser>>;
let folder: string;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'], email: 'root@example.com' });
  ada = await makeUser(harness, { email: 'ada@example.com' });
  folder = mkdtempSync(join(tmpdir(), 'audit-'));
  // Two events of one microsecond, and one microsecond between two: a cursor of milliseconds would lose some.
  await add({
    at: '2020-03-01T10:00:00.000001Z',
    action: 'sign-in',
    actor: ['user', ada.id],
    target: ['user', ada.id],
  });
  await add({
    at: '2020-03-01T10:00:00.000001Z',
    action: 'roles-changed',
    actor: ['user', admin.id],
    target: ['user', ada.id],
  });
  await add({
    at: '2020-03-01T10:00:00.000002Z',
    action: 'settings-changed',
    actor: ['user', admin.id],
    request: 'request-1',
  });
  await add({
    at: '2020-03-02T00:00:00Z',
    action: 'sync-requested',
    actor: ['apiKey', null],
    target: ['sync', 'sync-1'],
  });
  await add({ at: '2020-03-02T09:00:00Z', action: 'account-disabled', actor: ['cli', null], target: ['user', 'gone'] });
  await add({
    at: '2020-03-03T09:00:00Z',
    action: 'sign-in',
    outcome: 'refused',
    actor: ['anonymous', null],
    network: 'net-1',
  });
  // What a release after this one might write, and what no release writes.
  await add({
    at: '2020-03-04T09:00:00Z',
    action: 'unheard-of',
    actor: ['robot', 'r2'],
    target: [null, 'x'],
    details: { text: '=cmd|\u2028 "ü"' },
  });
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await harness.close();
});

const add = ({ at, action, outcome, actor, target, network, request, details }: Row) =>
  query(
    harness.database.db,
    `insert into audit_events (at, action, outcome, actor_type, actor_id, target_type, target_id, network, request_id, details)
     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      at,
      action,
      outcome ?? 'success',
      actor?.[0],
      actor?.[1] ?? null,
      target?.[0] ?? null,
      target?.[1] ?? null,
      network ?? null,
      request ?? null,
      JSON.stringify(details ?? {}),
    ],
  );
const ask = (path: string, parameters: Record<string, string> = {}) =>
  harness.get(`/api/admin/audit${path}?${new URLSearchParams(parameters)}`, { headers: bearer(admin.token) });
async function list(parameters: Record<string, string> = {}): Promise<{ events: Event[]; nextCursor: string | null }> {
  const response = await ask('', parameters);
  expect(response.status).toBe(200);
  return (await response.json()) as never;
}
const OLD = { to: '2020-12-31', from: '2020-01-01' };
const actions = async (parameters: Record<string, string>) =>
  (await list({ ...OLD, ...parameters })).events.map((event) => event.action);
const ALL = [
  'unheard-of',
  'sign-in',
  'account-disabled',
  'sync-requested',
  'settings-changed',
  'roles-changed',
  'sign-in',
];

describe('the list', () => {
  test('has the newest first, with the accounts of now, and every row', async () => {
    const { events, nextCursor } = await list(OLD);
    expect(nextCursor).toBeNull();
    expect(events.map((event) => event.action)).toEqual(ALL);
    expect(events[5]).toEqual({
      id: expect.stringMatching(/^\d+$/),
      at: '2020-03-01T10:00:00.000Z',
      action: 'roles-changed',
      outcome: 'success',
      actor: { type: 'user', id: admin.id, email: 'root@example.com', username: 'root' },
      target: { type: 'user', id: ada.id, email: 'ada@example.com', username: 'ada' },
      network: null,
      requestId: null,
      details: {},
    });
    expect(events[2]?.target).toEqual({ type: 'user', id: 'gone', email: null, username: null });
    expect(events[0]?.target).toEqual({ type: null, id: 'x', email: null, username: null });
    expect(events[4]?.target).toBeNull();
  });

  test.each([
    [{ action: 'sign-in' }, ['sign-in', 'sign-in']],
    [{ action: 'sign-in, sync-requested' }, ['sign-in', 'sync-requested', 'sign-in']],
    [{ outcome: 'refused' }, ['sign-in']],
    [{ actor: 'cli' }, ['account-disabled']],
    [{ actor: 'apiKey' }, ['sync-requested']],
    [{ actor: '$admin' }, ['settings-changed', 'roles-changed']],
    [{ targetType: 'sync' }, ['sync-requested']],
    [{ targetType: 'user', targetId: 'gone' }, ['account-disabled']],
    [{ user: 'ADA@example.com' }, ['roles-changed', 'sign-in']],
    [{ user: '$admin' }, ['settings-changed', 'roles-changed']],
    [{ user: 'gone' }, ['account-disabled']],
    [{ user: 'stranger@example.com' }, []],
    [{ requestId: 'request-1' }, ['settings-changed']],
    [{ network: 'net-1' }, ['sign-in']],
    [{ from: '2020-03-02', to: '2020-03-02' }, ['account-disabled', 'sync-requested']],
    [{ from: '2020-03-02T00:00:00Z', to: '2020-03-02T09:00:00Z' }, ['sync-requested']],
    [{ from: '2020-03-02T10:00:00+01:00' }, ['unheard-of', 'sign-in', 'account-disabled']],
    [{ action: ' ', actor: '', outcome: '', user: '', unknown: 'key' }, ALL],
    [{ user: '$admin', action: 'roles-changed', targetType: 'user' }, ['roles-changed']],
  ])('filter %j', async (parameters: Record<string, string>, expected) => {
    const filled = Object.fromEntries(
      Object.entries(parameters).map(([key, text]) => [key, text.replace('$admin', admin.id)]),
    );
    expect(await actions(filled)).toEqual(expected);
  });

  test.each([
    ['action', 'sign-out,nothing'],
    ['outcome', 'maybe'],
    ['targetType', 'robot'],
    ['from', 'yesterday'],
    ['from', '2020-13-01'],
    ['to', '2020-03-01T10:00:00'],
    ['cursor', 'x'],
    ['cursor', Buffer.from('2020-02-31T00:00:00.000000Z 1').toString('base64url')],
    ['cursor', Buffer.from('2020-02-01T00:00:00.000000Z 9999999999999999999').toString('base64url')],
    ['cursor', Buffer.from(`2020-02-01T00:00:00.000000Z 1' or true`).toString('base64url')],
    ['user', 'a\0b'],
  ])('%s=%s is refused: it would show what was not asked for', async (key, text) => {
    const response = await ask('', { [key]: text });
    expect(response.status).toBe(400);
  });

  test.each([{}, { user: 'ada@example.com' }, { actor: 'user' }])(
    'pages of one row are the whole: %j',
    async (filter) => {
      const whole = (await list({ ...OLD, ...filter })).events;
      const paged: Event[] = [];
      for (let cursor: string | null = ''; cursor !== null; ) {
        const page: { events: Event[]; nextCursor: string | null } = await list({
          ...OLD,
          ...filter,
          limit: '1',
          cursor,
        });
        paged.push(...page.events);
        cursor = page.nextCursor;
      }
      expect(paged).toEqual(whole);
    },
  );

  test('limit is at most 200; only an administrator reads it', async () => {
    expect((await list({ limit: '100000' })).events.length).toBeLessThanOrEqual(200);
    for (const path of ['', '/export']) {
      const asMember = await harness.get(`/api/admin/audit${path}`, { headers: bearer(ada.token) });
      expect(asMember.status).toBe(403);
      expect((await harness.get(`/api/admin/audit${path}`)).status).toBe(401);
    }
  });
});

describe('the export', () => {
  test('CSV: the same events, RFC 4180, no formula; and it is recorded with the ids of its filter', async () => {
    const response = await ask('/export', { ...OLD, action: 'roles-changed' });
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/csv; charset=utf-8');
    expect(response.headers.get('content-disposition')).toBe('attachment; filename="audit.csv"');
    const lines = (await response.text()).split('\r\n');
    expect(lines).toEqual([
      '"id","at","action","outcome","actor_type","actor_id","actor_email","actor_username","target_type","target_id","target_email","target_username","network","request_id","details"',
      expect.stringMatching(
        new RegExp(
          `^"\\d+","2020-03-01T10:00:00.000Z","roles-changed","success","user","${admin.id}","root@example.com","root","user","${ada.id}","ada@example.com","ada","","","\\{\\}"$`,
        ),
      ),
      '',
    ]);
    const [event] = (await list({ action: 'audit-exported' })).events;
    expect(event).toMatchObject({
      actor: { type: 'user', id: admin.id },
      details: { format: 'csv', filter: { actions: ['roles-changed'], from: '2020-01-01T00:00:00.000Z' } },
    });
    await (await ask('/export', { user: 'stranger@example.com', actor: 'eve@example.com' })).text();
    expect(JSON.stringify((await list({ action: 'audit-exported', limit: '1' })).events[0]?.details)).not.toContain(
      'example',
    );
  });

  test('JSON Lines: each line is an event of the list', async () => {
    const response = await ask('/export', { ...OLD, format: 'jsonl' });
    expect(response.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8');
    const lines = (await response.text()).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual((await list(OLD)).events);
    const head = await harness.get('/api/admin/audit/export', { method: 'HEAD', headers: bearer(admin.token) });
    expect(head.status).toBe(200);
    expect((await ask('/export', { format: 'xml' })).status).toBe(400);
    expect((await ask('/export', { from: 'x' })).status).toBe(400);
  });

  describe('of more rows than a batch', () => {
    const MANY = { requestId: 'many' };
    beforeAll(() =>
      query(
        harness.database.db,
        `insert into audit_events (at, action, outcome, actor_type, request_id, details)
         select '2020-04-01'::timestamptz + (n / 3) * interval '1 microsecond', 'sign-in', 'success', 'anonymous', 'many', json_build_object('n', n, 'pad', repeat('x', 500))
           from generate_series(1, 5500) n`,
      ),
    );

    test('it is whole', async () => {
      const text = await (await ask('/export', { ...MANY, format: 'jsonl' })).text();
      const numbers = text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).details.n);
      expect(numbers).toEqual(Array.from({ length: 5500 }, (_, i) => 5500 - i));
    });

    /** Answers the reads of a batch until `fail`. @returns the number of batches read. */
    async function spoiled(onBatch: (batch: number) => void): Promise<Harness> {
      let batch = 0;
      const { db } = harness.database;
      const counting = new Proxy(db, {
        get(target, name) {
          if (name !== 'raw') return Reflect.get(target, name);
          return (sql: string, bindings: never) => {
            if (/from \(select a\.\* from audit_events/.test(sql)) {
              batch += 1;
              onBatch(batch);
            }
            return target.raw(sql, bindings);
          };
        },
      });
      return startHarness({ database: harness.database, deps: { db: counting } });
    }

    test('a failure in its middle breaks the connection: the file is not taken for the whole', async () => {
      const broken = await spoiled((batch) => {
        if (batch === 3) throw new Error('the database is gone');
      });
      const response = await fetch(`${broken.url}/api/admin/audit/export?requestId=many&format=jsonl`, {
        headers: bearer(admin.token),
      });
      expect(response.status).toBe(200);
      await expect(response.text()).rejects.toThrow('terminated');
      await broken.close();
    });

    test('a reader who stops reading, or leaves, costs no further statement', async () => {
      let read = 0;
      const watched = await spoiled((batch) => {
        read = batch;
      });
      const abort = new AbortController();
      const response = await fetch(`${watched.url}/api/admin/audit/export?format=jsonl&requestId=many`, {
        headers: bearer(admin.token),
        signal: abort.signal,
      });
      await response.body?.getReader().read();
      abort.abort();
      // The server closes when every connection and its stream have ended.
      await watched.close();
      expect(read).toBeLessThan(6);
    });
  });
});

describe('the command line', () => {
  const cli = async (...args: string[]): Promise<string> =>
    (
      await promisify(execFile)(process.execPath, ['src/cli.ts', 'audit', ...args], {
        env: { PATH: process.env['PATH'], DATABASE_URL: harness.database.url },
      })
    ).stdout;

  test('lists with the same filters and cursor, and writes the same file', async () => {
    const first = JSON.parse(
      await cli('list', '--json', '--user', 'ada@example.com', '--limit', '1', '--to', '2020-03-05'),
    );
    const events = (await list({ ...OLD, user: ada.id })).events;
    expect(first.events).toEqual(events.slice(0, 1));
    const text = await cli('list', '--user', ada.id, '--cursor', first.nextCursor);
    expect(text.trimEnd().split('\n').at(-1)).toMatch(
      /^2020-03-01T10:00:00.000Z +sign-in +success +ada@example.com +ada@example.com/,
    );
    const file = join(folder, 'audit.csv');
    await cli('export', '--out', file, '--action', 'roles-changed', '--to', '2020-12-31');
    expect(readFileSync(file, 'utf8')).toBe(await (await ask('/export', { ...OLD, action: 'roles-changed' })).text());
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const lines = await cli(
      'export',
      '--out',
      '-',
      '--format',
      'jsonl',
      '--actor',
      'cli',
      '--action',
      'audit-exported',
    );
    expect(JSON.parse(lines.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
      action: 'audit-exported',
      actor: { type: 'cli' },
    });
  });
});
