/** What is read of the big server and of one in the middle, over HTTP, one request at a time. */
import { Pool } from 'undici';
import { query } from '../../src/store/db/query.ts';
import { drive, expectAnswer, type Figures, httpLane } from '../api/load.ts';
import { childrenMs, parentOf, processorMs, sumSince } from '../api/processor-time.ts';
import { type Entry, requireRunning, type Stack, say } from '../api/stack.ts';
import { serversOf, TEXTS } from './lines.ts';

interface Case {
  name: string;
  path: string;
}
export interface CaseRow extends Figures {
  name: string;
  /** Processor milliseconds per request, of the api and of the database; undefined where they cannot be read. */
  apiCpu: number | undefined;
  databaseCpu: number | undefined;
}

/** Offsets at which a page is read, to see where it takes longer than 50 ms. */
const OFFSETS = [1_000, 10_000, 50_000, 100_000, 200_000, 400_000, 800_000];

/** The cases of a server with `lines` lines. */
async function casesOf(stack: Stack, name: string, server: string, lines: number): Promise<Case[]> {
  const path = (rest: string) => `/api/v1/hytale/server-logs?server_uuid=${server}${rest}`;
  const one = (what: string, rest: string): Case => ({ name: `${name} ${what}`, path: path(rest) });
  const [middle] = await query<{ id: string; day: string }>(
    stack.db,
    `select id, to_char(log_timestamp, 'YYYY-MM-DD') as day from hytale_server_logs
      where server_uuid = ? order by log_timestamp desc, id desc offset ? limit 1`,
    [server, Math.floor(lines / 2)],
  );
  const cursor = `&before=${middle?.id}`;
  const range = `&since=${middle?.day}&until=${middle?.day}`;
  return [
    one('first page', ''),
    one('first page of 1000', '&limit=1000'),
    one('oldest first', '&order=asc'),
    one('deep page by cursor', cursor),
    one('deep page of 1000 by cursor', `${cursor}&limit=1000`),
    ...OFFSETS.filter((offset) => offset < lines).map((offset) => one(`page at offset ${offset}`, `&offset=${offset}`)),
    one('a day', range),
    one('a day, page of 1000', `${range}&limit=1000`),
    ...Object.entries(TEXTS).map(([kind, text]) => one(`${kind} text`, `&search=${encodeURIComponent(text)}`)),
    one('absent text in a day', `${range}&search=${encodeURIComponent(TEXTS.absent)}`),
    { name: `${name} count`, path: path('').replace('?', '/count?') },
  ];
}

/** Reads every case for `seconds`. @throws {Error} for a wrong answer. */
export async function measureCases(stack: Stack, api: Entry, seconds: number): Promise<CaseRow[]> {
  const uuids = await serversOf(stack.db);
  const servers = { big: uuids[0] ?? '', middle: uuids[Math.floor(uuids.length / 2)] ?? '' };
  const pool = new Pool(api.url, { connections: 1, pipelining: 1 });
  const [connection] = await query<{ pid: number }>(stack.db, 'select pg_backend_pid() as pid');
  const postgres = parentOf(connection?.pid ?? 0);
  const read = () => ({ api: processorMs(api.pid) ?? Number.NaN, database: childrenMs(postgres) });
  const rows: CaseRow[] = [];
  try {
    for (const [name, server] of Object.entries(servers)) {
      const [count] = await query<{ n: number }>(
        stack.db,
        'select count(*)::int as n from hytale_server_logs where server_uuid = ?',
        [server],
      );
      say(`${name} server: ${count?.n} lines`);
      for (const { name: what, path } of await casesOf(stack, name, server, count?.n ?? 0)) {
        requireRunning();
        const lane = httpLane(pool, {
          next: () => ({ method: 'GET', path, headers: { 'X-API-Key': stack.env['BACKEND_API_KEY'] ?? '' } }),
          check: (status, body) => expectAnswer(status === 200 && body.success === true, what, status, body),
        });
        await drive([lane], 0.5);
        const before = read();
        const figures = await drive([lane], seconds);
        const after = read();
        const database = sumSince(before.database, after.database);
        const row: CaseRow = {
          name: what,
          ...figures,
          apiCpu: (after.api - before.api) / figures.n,
          databaseCpu: database === undefined ? undefined : database / figures.n,
        };
        say(describeCase(row));
        rows.push(row);
      }
    }
    return rows;
  } finally {
    await pool.destroy();
  }
}

const ms = (value: number | undefined): string => (value ?? Number.NaN).toFixed(1).padStart(7);

/** One line of the table. */
export const describeCase = ({ name, n, p50, p99, max, apiCpu, databaseCpu, errors }: CaseRow): string =>
  `${name.padEnd(36)} ${String(n).padStart(6)} ${ms(p50)} ${ms(p99)} ${ms(max)} ${ms(apiCpu)} + ${ms(databaseCpu)} ${errors[0] ?? ''}`;

/** Looks for an absent text in the whole big server, as a program does: until the end. @returns requests and seconds. */
export async function searchWhole(stack: Stack, url: string): Promise<{ requests: number; seconds: number }> {
  const [server] = await serversOf(stack.db);
  const startedAt = performance.now();
  for (let requests = 1, before = ''; ; requests += 1) {
    const response = await fetch(
      `${url}/api/v1/hytale/server-logs?server_uuid=${server}&search=${encodeURIComponent(TEXTS.absent)}&before=${before}`,
      { headers: { 'X-API-Key': stack.env['BACKEND_API_KEY'] ?? '' } },
    );
    const { next } = (await response.json()) as { next: number | null };
    if (next === null) return { requests, seconds: (performance.now() - startedAt) / 1000 };
    before = String(next);
  }
}
