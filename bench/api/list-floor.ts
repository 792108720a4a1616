/**
 * The floor of the lists: bare `node:http` which checks the token as the api does (its signature, and the same statement
 * for its user and session), runs the list's own statements by `pg`, and sends the rows as they are. Totals are a second
 * old; below `/exact` they are counted for each request. It sends its URL over IPC.
 */
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { jwtVerify } from 'jose';
import pg from 'pg';
import type { ReadyMessage } from '../../src/embedded/process-group.ts';
// Sets the parser of dates that the api has.
import '../../src/store/db/db.ts';

export interface Statement {
  sql: string;
  bindings: readonly unknown[];
  /** Of a prepared one. */
  name?: string;
}

/** What the api runs for one list. */
export interface ListStatements {
  /** The user and the session of a token with a session: bindings are the session, the user, the user. */
  token: Statement;
  rows: readonly Statement[];
  total: readonly Statement[];
}

const lists = new Map(
  Object.entries(JSON.parse(readFileSync(process.env['LISTS_FILE'] ?? '', 'utf8')) as Record<string, ListStatements>),
);
const pool = new pg.Pool({
  connectionString: process.env['DATABASE_URL'],
  max: 10,
  options: '-c timezone=UTC -c lock_timeout=15000',
});
const key = new TextEncoder().encode(process.env['JWT_SECRET']);
const totals = new Map<string, { until: number; rows: Promise<unknown[]> }>();

async function run(statements: readonly Statement[]): Promise<unknown[]> {
  const rows: unknown[] = [];
  for (const { sql, bindings } of statements) rows.push(...(await pool.query(sql, [...bindings])).rows);
  return rows;
}

function totalOf(path: string, list: ListStatements): Promise<unknown[]> {
  const known = totals.get(path);
  if (known !== undefined && known.until > performance.now()) return known.rows;
  const rows = run(list.total);
  totals.set(path, { until: performance.now() + 1000, rows });
  return rows;
}

async function answer(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
  const url = request.url ?? '';
  const exact = url.startsWith('/exact/');
  const path = exact ? url.slice('/exact'.length) : url;
  const list = lists.get(path);
  if (list === undefined) return { status: 404, body: { success: false } };
  const token = request.headers.authorization?.replace(/^Bearer /, '') ?? '';
  const { payload } = await jwtVerify(token, key, { algorithms: ['HS256'] });
  const { sql: text, name } = list.token;
  const values = [payload['sid'], payload['id'], payload['id']];
  const { rows } = await pool.query({ text, values, ...(name === undefined ? {} : { name }) });
  if (rows[0]?.tokenLives !== true) return { status: 401, body: { success: false } };
  const [total, page] = await Promise.all([exact ? run(list.total) : totalOf(path, list), run(list.rows)]);
  return { status: 200, body: { success: true, rows: page, pagination: total } };
}

const server = createServer((request, response) => {
  void answer(request)
    .catch((error: unknown) => ({ status: 500, body: { success: false, error: String(error) } }))
    .then(({ status, body }) => {
      response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
    });
});
process.on('disconnect', () => process.exit(0));
process.on('SIGTERM', () => process.exit(0));
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as AddressInfo;
  const ready: ReadyMessage = { ready: true, url: `http://127.0.0.1:${port}` };
  process.send?.(ready);
});
