/** Node daemons push console lines: what is accepted, what is refused, and that a repeated batch adds nothing. */
import { randomUUID } from 'node:crypto';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { ACCOUNT, addServer, storedLines, storedTexts } from '../../support/hytale/console.ts';

const NODE_KEY = 'test-key-of-the-node-daemons-of-more-than-32-characters';
const PATH = '/api/v1/hytale/server-logs';
const MEBIBYTE = 1024 * 1024;

let harness: Harness;
/** A second api on the same database. */
let copy: Harness;
let server: string;
beforeAll(async () => {
  const config = { hytale: { ...loadConfig({}).hytale, logPushKey: new Secret(NODE_KEY) } };
  harness = await startHarness({ config });
  copy = await startHarness({ config, database: harness.database });
  // Closes the set-up wizard.
  await makeUser(harness, { isSystemAdmin: true });
});
afterAll(async () => {
  await copy.close();
  await harness.close();
});
beforeEach(async () => {
  server = randomUUID();
  await addServer(harness.database.db, server);
});

type Answer = { status: number; body: Record<string, unknown>; headers: Headers };
async function send(
  body: string | Uint8Array<ArrayBuffer>,
  { at = harness, path = PATH, headers = {} }: { at?: Harness; path?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await at.get(path, {
    method: 'POST',
    headers: { 'X-API-Key': NODE_KEY, 'Content-Type': 'application/json', ...headers },
    body,
  });
  return {
    status: response.status,
    body: (await response.json()) as unknown as Record<string, unknown>,
    headers: response.headers,
  };
}
const push = (logs: unknown, options: Parameters<typeof send>[1] = {}) =>
  send(JSON.stringify({ server_uuid: server, account_id: ACCOUNT, logs }), options);
const gzipped = (text: string | Buffer) => new Uint8Array(gzipSync(text));
const texts = () => storedTexts(harness.database.db, server);

/** Lines of one moment each. */
const timed = (from: number, to: number, text = (n: number) => `line ${n}`) =>
  Array.from({ length: to - from }, (_, i) => ({
    line: text(from + i),
    timestamp: new Date(Date.UTC(2026, 0, 1) + from + i).toISOString(),
  }));
const saved = (count: number, repeated: number) => ({
  status: 201,
  body: { success: true, data: { saved_count: count, server_uuid: server, repeated_count: repeated } },
});

test.each([PATH, '/api/hytale/server-logs'])(
  '%s stores lines with their times, and keeps the sync state',
  async (path) => {
    const logs = [
      { line: 'one', timestamp: '2026-01-01T10:00:00.123Z', level: 'ignored' },
      { line: '', timestamp: '2026-01-01T12:00:00.123456789+02:00' },
      { line: '', timestamp: '2026-01-01T10:00:00.124Z' },
      { line: '\u001b[31mred\u001b[0m  ', timestamp: '2026-01-01t10:00:60z' },
    ];
    expect(await push(logs, { path })).toMatchObject(saved(4, 0));
    const stored = await storedLines(harness.database.db, server);
    expect(stored.map(({ log_line, log_timestamp }) => [log_line, log_timestamp.toISOString()])).toEqual([
      ['one', '2026-01-01T10:00:00.123Z'],
      ['', '2026-01-01T10:00:00.123Z'],
      ['', '2026-01-01T10:00:00.124Z'],
      ['\u001b[31mred\u001b[0m  ', '2026-01-01T10:00:59.999Z'],
    ]);
    const state = await query<Record<string, unknown>>(
      harness.database.db,
      `select last_line_id, sync_status, error_message, last_sync_time > now() - interval '1 minute' as recent
       from hytale_log_sync_state where server_uuid = ?`,
      [server],
    );
    expect(state).toEqual([
      { last_line_id: stored.at(-1)?.id, sync_status: 'success', error_message: null, recent: true },
    ]);
  },
);

describe('a request that is not valid', () => {
  const entry = { line: 'x' };
  const base = { account_id: ACCOUNT, logs: [entry] };
  const late = (field: string, value: unknown) => ({
    ...base,
    logs: [entry, entry, entry, { line: 'x', [field]: value }],
  });
  test.each([
    ['{', 'Invalid request format', 'BAD_REQUEST', undefined],
    [[], 'Invalid request format', 'BAD_REQUEST', undefined],
    [{ ...base, logs: 'x' }, 'Invalid request format', 'BAD_REQUEST', 'body.logs'],
    [{ ...base, account_id: 5 }, 'Invalid request format', 'BAD_REQUEST', 'body.account_id'],
    [{ ...base, server_uuid: '' }, 'server_uuid and account_id are required', 'VALIDATION_ERROR', 'server_uuid'],
    [{ ...base, account_id: null }, 'server_uuid and account_id are required', 'VALIDATION_ERROR', 'account_id'],
    [
      { ...base, account_id: 'x'.repeat(256) },
      'account_id must have at most 255 characters',
      'VALIDATION_ERROR',
      'account_id',
    ],
    [{ ...base, logs: [] }, 'At least one log entry is required', 'VALIDATION_ERROR', 'logs'],
    [{ account_id: ACCOUNT }, 'At least one log entry is required', 'VALIDATION_ERROR', 'logs'],
    [{ ...base, logs: Array(1001).fill(entry) }, 'logs must have at most 1000 entries', 'VALIDATION_ERROR', 'logs'],
    [late('line', undefined), 'logs[3].line must be a text', 'VALIDATION_ERROR', 'logs[3].line'],
    [late('line', 'ä'.repeat(8193)), 'logs[3].line is longer than 16384 bytes', 'VALIDATION_ERROR', 'logs[3].line'],
    [
      late('timestamp', '2026-01-01T00:00:00'),
      expect.stringContaining('logs[3].timestamp must be'),
      'VALIDATION_ERROR',
      'logs[3].timestamp',
    ],
    [
      late('timestamp', 1767225600),
      expect.stringContaining('logs[3].timestamp must be'),
      'VALIDATION_ERROR',
      'logs[3].timestamp',
    ],
    [
      late('timestamp', '2026-13-01T00:00:00Z'),
      expect.stringContaining('logs[3].timestamp must be'),
      'VALIDATION_ERROR',
      'logs[3].timestamp',
    ],
    [{ ...base, logs: [null] }, 'logs[0].line must be a text', 'VALIDATION_ERROR', 'logs[0].line'],
  ])('%#: 400 names what is wrong', async (body, error, code, path) => {
    const sent = typeof body === 'string' || Array.isArray(body) ? body : { server_uuid: server, ...body };
    const answer = await send(typeof sent === 'string' ? sent : JSON.stringify(sent));
    expect(answer).toMatchObject({ status: 400, body: { success: false, error, code } });
    if (path !== undefined) expect(answer.body).toMatchObject({ details: [{ path }] });
    expect(await texts()).toEqual([]);
  });

  test('a server that is not known is 404', async () => {
    server = randomUUID();
    expect(await push([entry])).toMatchObject({ status: 404, body: { error: 'Server not found', code: 'NOT_FOUND' } });
    const rows = await query(harness.database.db, 'select 1 from hytale_consoles where server_uuid = ?', [server]);
    expect(rows).toEqual([]);
  });
});

describe('a compressed body', () => {
  const body = () => JSON.stringify({ server_uuid: server, account_id: ACCOUNT, logs: timed(0, 3) });
  const coded = (coding: string, bytes: Uint8Array<ArrayBuffer>, path = PATH) =>
    send(bytes, { path, headers: { 'Content-Encoding': coding } });

  test.each(['gzip', 'GZIP', 'x-gzip'])('%s is accepted', async (coding) => {
    expect(await coded(coding, gzipped(body()))).toMatchObject(saved(3, 0));
    expect(await texts()).toEqual(['line 0', 'line 1', 'line 2']);
  });

  test('one that ends early, is broken, or has another coding is 400', async () => {
    const whole = gzipped(body());
    const broken = Uint8Array.from(whole);
    broken.fill(255, 20, 30);
    const refused = [
      coded('gzip', whole.slice(0, -9)),
      coded('gzip', broken),
      coded('gzip', new TextEncoder().encode(body())),
      coded('gzip, gzip', gzipped(Buffer.from(whole))),
      coded('deflate', new Uint8Array(deflateSync(body()))),
      coded('br', new Uint8Array(brotliCompressSync(body()))),
      coded('', whole),
    ];
    for (const answer of await Promise.all(refused)) {
      expect(answer).toMatchObject({ status: 400, body: { error: 'Invalid request format' } });
    }
    expect(await texts()).toEqual([]);
  });

  test('its limit is 4 MiB, decoded; more is 413, whatever it would hold', async () => {
    const fill = (bytes: number) => {
      const text = body();
      return text.replace('{', `{"pad":"${'x'.repeat(bytes - text.length - 9)}",`);
    };
    expect(fill(4 * MEBIBYTE)).toHaveLength(4 * MEBIBYTE);
    expect(await coded('gzip', gzipped(fill(4 * MEBIBYTE)))).toMatchObject(saved(3, 0));
    expect(await send(fill(4 * MEBIBYTE))).toMatchObject(saved(0, 3));
    expect(await coded('gzip', gzipped(fill(4 * MEBIBYTE + 1)))).toMatchObject({ status: 413 });
    expect(await send(fill(4 * MEBIBYTE + 1))).toMatchObject({ status: 413 });
    // 64 MiB in 64 KiB.
    const bomb = await coded('gzip', gzipped(Buffer.alloc(64 * MEBIBYTE)));
    expect(bomb).toMatchObject({ status: 413, body: { code: 'PAYLOAD_TOO_LARGE' } });
  });

  test('no other route takes one', async () => {
    const answer = await coded('gzip', gzipped('{}'), '/api/v1/hytale/oauth/profiles');
    expect(answer).toMatchObject({ status: 401 });
    const withKey = await send(gzipped(JSON.stringify({ account_id: ACCOUNT })), {
      path: '/api/v1/hytale/oauth/profiles',
      headers: { 'X-API-Key': API_KEY, 'Content-Encoding': 'gzip' },
    });
    expect(withKey).toMatchObject({ status: 400, body: { error: 'Invalid request format' } });
  });
});

test('characters that cannot be stored are replaced, and no batch is lost for them', async () => {
  const text = `{"server_uuid":"${server}","account_id":"${ACCOUNT}","logs":[{"line":"a\\u0000b"},{"line":"c\\ud800d"},{"line":"eXf"},{"line":"g\\ud83d\\ude00"}]}`;
  const bytes = new TextEncoder().encode(text);
  bytes[text.indexOf('X')] = 0xff;
  expect(await send(bytes)).toMatchObject(saved(4, 0));
  expect(await texts()).toEqual(['a\uFFFDb', 'c\uFFFDd', 'e\uFFFDf', 'g😀']);
});

describe('a batch that is sent again', () => {
  test('whole, in part, and with further lines: each line is stored once', async () => {
    expect(await push(timed(0, 10))).toMatchObject(saved(10, 0));
    expect(await push(timed(0, 10))).toMatchObject(saved(0, 10));
    expect(await push(timed(3, 7))).toMatchObject(saved(0, 4));
    expect(await push(timed(6, 14))).toMatchObject(saved(4, 4));
    expect(await push(timed(20, 24))).toMatchObject(saved(4, 0));
    // A batch that arrives late takes its place.
    expect(await push(timed(12, 22))).toMatchObject(saved(6, 4));
    expect(await texts()).toEqual(timed(0, 24).map(({ line }) => line));
  });

  test('equal lines of one moment are as many as one batch had', async () => {
    const dots = (count: number) => Array(count).fill({ line: '.', timestamp: '2026-01-01T00:00:00.000Z' });
    expect(await push(dots(2))).toMatchObject(saved(2, 0));
    expect(await push(dots(3))).toMatchObject(saved(1, 2));
    expect(await push(dots(3))).toMatchObject(saved(0, 3));
    expect(await texts()).toEqual(['.', '.', '.']);
  });

  test('at once to two copies of the api', async () => {
    const answers = await Promise.all(
      [harness, copy, harness, copy].map((at, i) => push(timed(i % 2 === 0 ? 0 : 100, 500), { at })),
    );
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    const counts = answers.map(({ body }) => (body['data'] as { saved_count: number }).saved_count);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(500);
    expect(await texts()).toEqual(timed(0, 500).map(({ line }) => line));
  });
});

describe('who may push', () => {
  test('a node with its key and a program with the API key, without a limit; an administrator; no one else', async () => {
    const admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const member = await makeUser(harness);
    const as = (headers: Record<string, string>) => push(timed(0, 1), { headers: { 'X-API-Key': '', ...headers } });
    for (const key of [NODE_KEY, API_KEY]) {
      const answer = await as({ 'X-API-Key': key });
      expect([answer.status, answer.headers.get('X-RateLimit-Limit')]).toEqual([201, null]);
    }
    expect(await as(bearer(admin.token))).toMatchObject({ status: 201 });
    expect(await as(bearer(member.token))).toMatchObject({ status: 403 });
    expect(await as({})).toMatchObject({ status: 401, body: { error: 'Invalid or missing API key' } });
    expect(await as({ 'X-API-Key': `${NODE_KEY}x` })).toMatchObject({ status: 401 });
  });

  test('strangers where no key is required: their address has a limit; without HYTALE_LOG_PUSH_KEY no text is that key', async () => {
    const hytale = { ...loadConfig({}).hytale, requireAuth: false };
    const open = await startHarness({ database: harness.database, config: { hytale } });
    const closed = await startHarness({
      database: harness.database,
      config: { hytale: { ...hytale, requireAuth: true } },
    });
    try {
      const answer = await push(timed(0, 1), { at: open, headers: { 'X-API-Key': '' } });
      expect([answer.status, answer.headers.get('X-RateLimit-Limit')]).toEqual([201, '600']);
      for (const key of ['', 'undefined', NODE_KEY]) {
        expect(await push(timed(0, 1), { at: closed, headers: { 'X-API-Key': key } })).toMatchObject({ status: 401 });
      }
    } finally {
      await open.close();
      await closed.close();
    }
  });
});

test('lines stand in no log, and a failure says nothing of the database', async () => {
  const logs = [{ line: 'marker-line-of-a-customer' }];
  const { db } = harness.database;
  // PostgreSQL names the refused row in its error.
  await query(db, `alter table hytale_server_logs add constraint refused check (log_line not like 'marker%')`);
  try {
    expect(await push(logs)).toMatchObject({
      status: 500,
      body: { success: false, error: 'Failed to store logs', code: 'INTERNAL_ERROR' },
    });
  } finally {
    await query(db, 'alter table hytale_server_logs drop constraint refused');
  }
  const [state] = await query<Record<string, unknown>>(
    db,
    'select sync_status, error_message from hytale_log_sync_state where server_uuid = ?',
    [server],
  );
  expect(state).toEqual({ sync_status: 'failed', error_message: 'Pushed lines could not be stored' });
  expect(await push(logs)).toMatchObject(saved(1, 0));
  expect(harness.logged()).not.toContain('marker-line');
});
