/** The lists of console lines: who may read them, in which order they come, and how they are paged and searched. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { API_KEY, bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

interface Line {
  id: number;
  line: string;
  timestamp: string | null;
}
interface Page {
  status: number;
  body: {
    success: boolean;
    error?: string;
    code?: string;
    details?: { path: string }[];
    data: Line[];
    next: number | null;
    search_complete: boolean;
    gaps: unknown[];
    state: unknown;
  };
}

let harness: Harness;
const API = { 'X-API-Key': API_KEY };
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(() => harness.close());

const run = (sql: string, bindings: readonly unknown[] = []) => query(harness.database.db, sql, bindings);
async function get(path: string, headers: Record<string, string> = API): Promise<Page> {
  const response = await harness.get(path, { headers });
  return { status: response.status, body: (await response.json()) as unknown as Page['body'] };
}
const list = (server: string, search = '', headers = API as Record<string, string>) =>
  get(`/api/v1/hytale/server-logs?server_uuid=${server}&${search}`, headers);
const texts = ({ body }: Page) => body.data.map(({ line }) => line);

/** A server, with its uuid. */
async function makeServer(ownerId: string | null = null): Promise<{ id: string; uuid: string }> {
  const [id, uuid] = [randomUUID(), randomUUID()];
  await run(`insert into servers (id, uuid, name, "ownerId") values (?, ?, 'Orbis', ?)`, [id, uuid, ownerId]);
  return { id, uuid };
}
/** Lines of a server, one second apart, from the time on. @returns their ids. */
async function addLines(server: string, lines: readonly string[], from = '2026-01-09T10:30:00.123456Z') {
  const rows = await query<{ id: string }>(
    harness.database.db,
    `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp)
     select ?, 'account', l.line, ?::timestamptz + make_interval(secs => l.n - 1)
       from unnest(?::text[]) with ordinality l(line, n) order by l.n returning id`,
    [server, from, [...lines]],
  );
  return rows.map(({ id }) => Number(id));
}
const numbered = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => `line ${from + n}`);

describe('the list', () => {
  let server: string;
  let ids: number[];
  beforeAll(async () => {
    server = (await makeServer()).uuid;
    ids = await addLines(server, numbered(0, 5));
    // Of the time of line 3, stored later.
    ids.push(...(await addLines(server, ['twin of 3'], '2026-01-09T10:30:03.123456Z')));
  });
  const id = (n: number) => ids[n] ?? 0;

  test('is newest first by the time of the lines, then by their ids', async () => {
    const { status, body } = await list(server);
    expect(status).toBe(200);
    expect(body).toEqual({
      success: true,
      data: [4, 5, 3, 2, 1, 0].map((n) => ({
        id: id(n),
        line: n === 5 ? 'twin of 3' : `line ${n}`,
        timestamp: `2026-01-09T10:30:0${n === 5 ? 3 : n}.123Z`,
      })),
      next: null,
      search_complete: true,
      gaps: [],
      state: null,
    });
    expect((await get(`/api/hytale/server-logs?server_uuid=${server}`)).body).toEqual(body);
  });

  test('an empty one is an empty list', async () => {
    const { uuid } = await makeServer();
    for (const unknown of [uuid, randomUUID(), 'no-uuid']) {
      expect(await list(unknown)).toMatchObject({ status: 200, body: { data: [], next: null, gaps: [], state: null } });
      const count = await get(`/api/hytale/server-logs/count?server_uuid=${unknown}`);
      expect(count.body).toEqual({ success: true, data: { server_uuid: unknown, total_logs: 0 } });
    }
  });

  test.each([
    ['limit=2', 'line 4,twin of 3'],
    ['limit=2&offset=2', 'line 3,line 2'],
    ['offset=5', 'line 0'],
    ['offset=6', ''],
    ['offset=-1&limit=1', 'line 4'],
    ['offset=x&limit=1', 'line 4'],
    ['order=asc&limit=2', 'line 0,line 1'],
    ['order=ASC&limit=2&offset=3', 'line 3,twin of 3'],
    ['order=sideways&limit=1', 'line 4'],
    ['since=2026-01-09T10:30:03Z', 'line 4,twin of 3,line 3'],
    ['until=2026-01-09T10:30:01.123456Z', 'line 0'],
    ['since=2026-01-09T10:30:01Z&until=2026-01-09T10:30:03Z', 'line 2,line 1'],
    ['since=2026-01-10', ''],
    ['until=2026-01-09&limit=1', 'line 4'],
    ['search=TWIN', 'twin of 3'],
    ['search=line&limit=2', 'line 4,line 3'],
    ['search=line&limit=2&offset=3', 'line 1,line 0'],
    ['search=line&order=asc&limit=1', 'line 0'],
    ['search=%20&limit=1', 'line 4'],
    ['unknown=1&limit=1', 'line 4'],
  ])('%s', async (search, expected) => {
    expect(texts(await list(server, search)).join(',')).toBe(expected);
  });

  test('cursors are lines, and stand beside every filter', async () => {
    const cases: [string, string][] = [
      [`before=${id(5)}`, 'line 3,line 2,line 1,line 0'],
      [`before=${id(3)}&limit=1`, 'line 2'],
      [`before=${id(3)}&limit=1&offset=1`, 'line 1'],
      [`after=${id(3)}`, 'line 4,twin of 3'],
      [`after=${id(1)}&order=asc&limit=2`, 'line 2,line 3'],
      [`after=${id(0)}&before=${id(5)}`, 'line 3,line 2,line 1'],
      [`before=${id(4)}&search=twin`, 'twin of 3'],
      [`after=${id(0)}&until=2026-01-09T10:30:02Z`, 'line 1'],
      ['before=&after=', 'line 4,twin of 3,line 3,line 2,line 1,line 0'],
    ];
    for (const [search, expected] of cases) expect(texts(await list(server, search)).join(','), search).toBe(expected);
  });

  test('what says nothing known is refused by name', async () => {
    const [other = 0] = await addLines((await makeServer()).uuid, ['of another server']);
    for (const [search, field] of [
      ['since=yesterday', 'since'],
      ['until=2026-13-01', 'until'],
      ['before=x', 'before'],
      ['before=999999999', 'before'],
      ['before=99999999999999999999', 'before'],
      [`after=${other}`, 'after'],
      ['after=-1', 'after'],
    ] as const) {
      expect(await list(server, search), search).toMatchObject({
        status: 400,
        body: { success: false, error: `Invalid ${field}`, details: [{ path: `query.${field}` }] },
      });
    }
    const error = 'server_uuid query parameter is required';
    for (const path of [
      'v1/hytale/server-logs',
      'hytale/server-logs',
      'v1/hytale/server-logs/count',
      'hytale/server-logs/count',
    ]) {
      expect(await get(`/api/${path}`)).toMatchObject({ status: 400, body: { success: false, error } });
    }
    expect((await list('%00')).status).toBe(400);
    expect((await list(server, 'search=%00')).status).toBe(400);
  });

  test('100 lines by default, 1,000 at most; the count has all, or those of a range', async () => {
    const { uuid } = await makeServer();
    await addLines(uuid, numbered(0, 1_002));
    const lengths = [];
    for (const limit of ['', 'limit=0', 'limit=-3', 'limit=many', 'limit=7', 'limit=5000']) {
      lengths.push((await list(uuid, limit)).body.data.length);
    }
    expect(lengths).toEqual([100, 100, 100, 100, 7, 1_000]);
    const count = (range: string) => get(`/api/v1/hytale/server-logs/count?server_uuid=${uuid}&${range}`);
    expect(await count('')).toEqual({
      status: 200,
      body: { success: true, data: { server_uuid: uuid, total_logs: 1_002 } },
    });
    expect((await count('since=2026-01-09T10:46:40Z')).body).toMatchObject({ data: { total_logs: 2 } });
    expect((await count('until=2026-01-08')).body).toMatchObject({ data: { total_logs: 0 } });
  });

  test('a line with nothing but what it must have is listed and counted', async () => {
    const { uuid } = await makeServer();
    await addLines(uuid, ['dated']);
    for (const created of ['2026-02-01T00:00:00Z', null]) {
      await run(
        `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp, created_at) values (?, '', '', null, ?)`,
        [uuid, created],
      );
    }
    await addLines(uuid, ['dated, stored later'], '2026-01-09T10:31:00Z');
    const all = [null, '2026-02-01T00:00:00.000Z', '2026-01-09T10:31:00.000Z', '2026-01-09T10:30:00.123Z'];
    const { body } = await list(uuid);
    expect(body.data.map(({ timestamp }) => timestamp)).toEqual(all);
    const paged: Line[] = [];
    for (let next: number | null | undefined; next !== null; ) {
      const page = await list(uuid, `limit=1&before=${next ?? ''}`);
      paged.push(...page.body.data);
      next = page.body.next;
    }
    expect(paged).toEqual(body.data);
    expect((await list(uuid, 'order=asc')).body.data).toEqual(body.data.toReversed());
    expect(texts(await list(uuid, `after=${body.data[1]?.id}`))).toEqual(['']);
    const count = await get(`/api/v1/hytale/server-logs/count?server_uuid=${uuid}`);
    expect(count.body).toMatchObject({ data: { total_logs: 4 } });
  });
});

test.each(['desc', 'asc'])('pages by cursor (%s) are the whole list while lines arrive', async (order) => {
  const { uuid } = await makeServer();
  // Many lines of one time, so that only the id decides.
  const start = numbered(0, 40);
  await run(
    `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp)
     select ?, '', l.line, timestamptz '2026-01-09T10:30:00Z' + make_interval(secs => (l.n / 15)::int)
       from unnest(?::text[]) with ordinality l(line, n) order by l.n`,
    [uuid, start],
  );
  const whole = (await list(uuid, `order=${order}`)).body.data;
  expect(whole).toHaveLength(start.length);
  const cursor = order === 'desc' ? 'before' : 'after';
  for (const search of ['', '&search=line']) {
    const paged: Line[] = [];
    for (let next: number | null | undefined; next !== null; ) {
      const { body } = await list(uuid, `order=${order}&limit=7&${cursor}=${next ?? ''}${search}`);
      paged.push(...body.data);
      next = body.next;
      // New ones at the end of the console, and late ones of another server.
      await addLines(uuid, ['arrived meanwhile'], `2026-01-09T11:00:${String(paged.length).padStart(2, '0')}Z`);
    }
    expect(paged.filter(({ line }) => line !== 'arrived meanwhile')).toEqual(whole);
    if (order === 'desc') expect(paged).toHaveLength(whole.length);
    expect(new Set(paged.map(({ id }) => id)).size).toBe(paged.length);
  }
});

describe('the search', () => {
  test('takes its text as it stands, in any case', async () => {
    const { uuid } = await makeServer();
    const odd = ['50% of', '500 of', 'a_b', 'axb', 'c\\d', 'cd', '(x|y)+.*', 'xyz', "it's [INFO]", 'Grüße'];
    await addLines(uuid, odd);
    const found = async (text: string) => texts(await list(uuid, `order=asc&search=${encodeURIComponent(text)}`));
    expect(await found('50%')).toEqual(['50% of']);
    expect(await found('A_B')).toEqual(['a_b']);
    expect(await found('\\')).toEqual(['c\\d']);
    expect(await found('(x|y)+.*')).toEqual(['(x|y)+.*']);
    expect(await found('.*')).toEqual(['(x|y)+.*']);
    expect(await found("IT'S [info]")).toEqual(["it's [INFO]"]);
    expect(await found('grüß')).toEqual(['Grüße']);
    expect(await found('?')).toEqual([]);
  });

  test('reads 10,000 lines, says where it stopped, and goes on there', async () => {
    const { uuid } = await makeServer();
    await run(
      `insert into hytale_server_logs (server_uuid, account_id, log_line, log_timestamp)
       select ?, '', case when n in (1, 2001, 5000) then 'needle ' else 'hay ' end || n, timestamptz '2026-01-01' + n * interval '1 s'
         from generate_series(1, 12000) n`,
      [uuid],
    );
    const first = await list(uuid, 'search=needle');
    // The last line that it reads is one of those that match.
    expect(first.body).toMatchObject({
      search_complete: false,
      data: [{ line: 'needle 5000' }, { line: 'needle 2001' }],
    });
    expect(first.body.next).toBe(first.body.data[1]?.id);
    const second = await list(uuid, `search=needle&before=${first.body.next}`);
    expect(second.body).toMatchObject({ search_complete: true, data: [{ line: 'needle 1' }], next: null });
    const absent = await list(uuid, 'search=nothing&order=asc');
    expect(absent.body).toMatchObject({ search_complete: false, data: [] });
    expect(texts(await list(uuid, `order=asc&limit=1&after=${absent.body.next}`))).toEqual(['hay 10001']);
    // A full page ends where its last line is, however far the search would go.
    const page = await list(uuid, 'search=needle&limit=1');
    expect(page.body).toMatchObject({ search_complete: true, next: page.body.data[0]?.id });
  });
});

test('gaps stand before their line, once; the state says when lines arrived last', async () => {
  const { uuid } = await makeServer();
  const ids = await addLines(uuid, numbered(0, 4));
  const gap = `insert into hytale_log_gaps (server_uuid, after_id, before_id, reason, found_at) values (?, ?, ?, ?, '2026-01-09T11:00:00Z')`;
  await run(gap, [uuid, ids[0], ids[1], 'the console was longer than its tail']);
  await run(gap, [uuid, 999_999_999, ids[3], 'the line before is deleted']);
  await run(gap, [uuid, null, ids[2], 'of the other page']);
  await run(gap, [(await makeServer()).uuid, null, ids[3], 'of another server']);
  await run(
    `insert into hytale_log_sync_state (server_uuid, last_sync_time, sync_status, error_message) values (?, '2026-01-09T11:00:00Z', 'failed', 'The node did not answer')`,
    [uuid],
  );
  const state = {
    last_sync_time: '2026-01-09T11:00:00.000Z',
    sync_status: 'failed',
    error_message: 'The node did not answer',
  };
  const newest = await list(uuid, 'limit=1');
  expect(newest.body).toMatchObject({ state, data: [{ id: ids[3] }] });
  expect(newest.body.gaps).toEqual([
    { after_id: null, before_id: ids[3], reason: 'the line before is deleted', found_at: '2026-01-09T11:00:00.000Z' },
  ]);
  const rest = await list(uuid, `before=${newest.body.next}`);
  expect(rest.body.gaps).toMatchObject([
    { after_id: null, before_id: ids[2] },
    { after_id: ids[0], before_id: ids[1] },
  ]);
  await run(
    `update hytale_log_sync_state set last_sync_time = null, sync_status = null, error_message = null where server_uuid = ?`,
    [uuid],
  );
  expect((await list(uuid)).body.state).toEqual({ last_sync_time: null, sync_status: null, error_message: null });
});

describe('rights', () => {
  test('a user reads own and shared servers; foreign and unknown ones are answered alike', async () => {
    const [owner, subuser, stranger] = [await makeUser(harness), await makeUser(harness), await makeUser(harness)];
    const administrator = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
    const disabled = await makeUser(harness, { isSystemAdmin: true, isActive: false });
    const { id, uuid } = await makeServer(owner.id);
    await run(`insert into server_subusers (id, "serverId", "userId") values (?, ?, ?)`, [
      randomUUID(),
      id,
      subuser.id,
    ]);
    await addLines(uuid, ['secret']);
    const unknown = randomUUID();
    for (const suffix of ['', '/count']) {
      const ask = (server: string, headers: Record<string, string>, prefix = '/api/v1') =>
        get(`${prefix}/hytale/server-logs${suffix}?server_uuid=${server}`, headers);
      for (const headers of [API, bearer(administrator.token), bearer(owner.token), bearer(subuser.token)]) {
        expect((await ask(uuid, headers)).status).toBe(200);
        expect((await ask(uuid, headers, '/api')).status).toBe(200);
      }
      const foreign = await ask(uuid, bearer(stranger.token));
      expect(foreign).toMatchObject({ status: 404, body: { error: 'Server not found', code: 'NOT_FOUND' } });
      for (const { token } of [stranger, owner, subuser]) {
        expect(await ask(unknown, bearer(token))).toEqual(foreign);
      }
      expect((await ask(unknown, bearer(administrator.token))).status).toBe(200);
      expect(await ask(uuid, {})).toMatchObject({ status: 401, body: { error: 'Invalid or missing API key' } });
      expect(await ask(uuid, { 'X-API-Key': 'wrong' })).toMatchObject({ status: 401 });
      expect(await ask(uuid, bearer(disabled.token))).toMatchObject({
        status: 401,
        body: { error: 'Account disabled' },
      });
    }
    // No filter shows more, and what is wrong in it does not show that the server exists.
    expect(await list(uuid, 'before=1', bearer(stranger.token))).toMatchObject({ status: 404 });
    await run(`delete from server_subusers where "userId" = ?`, [subuser.id]);
    expect((await list(uuid, '', bearer(subuser.token))).status).toBe(404);
  });
});
