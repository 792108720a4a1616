/** Measures the lists of the administration beside their floor, at sizes M and L, with and without pg_trgm. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Pool } from 'undici';
import { readAuditFilter, readAuditPage } from '../../src/services/audit/read-audit.ts';
import { query } from '../../src/store/db/query.ts';
import { administratorToken } from './cases.ts';
import { SIZES, type Size, type SizeName } from './data.ts';
import type { ListStatements, Statement } from './list-floor.ts';
import { drive, type Exchange, expectAnswer, type Figures, httpLane, medianOf } from './load.ts';
import { childrenMs, parentOf, processorMs, sumSince } from './processor-time.ts';
import { type Entry, folder, prepare, profiled, requireRunning, type Stack, say, startEntry } from './stack.ts';
import { recordStatements } from './statements.ts';

interface ListCase {
  name: string;
  path: string;
  /** Key of the rows in the answer. */
  rows: string;
  /** Expected number of rows on the page. */
  length: number;
  /** Expected total. Missing for a list without one. */
  total?: number;
  /** Measured once more without pg_trgm. */
  search?: boolean;
}

export interface ListRow extends Figures {
  size: SizeName;
  name: string;
  /** Statements of a request, the one for its token included. */
  statements: number;
  /** Statements that run once a second for all requests of one filter. */
  statementsForTotal: number;
  floorPerSecond: number;
  /** The floor with a count for each request. */
  exactFloorPerSecond?: number;
  /** Processor milliseconds per request of the api, and of the database for it; missing where they cannot be read. */
  apiCpu?: number | undefined;
  databaseCpu?: number | undefined;
  /** The same of the floor. */
  floorCpu?: number | undefined;
  floorDatabaseCpu?: number | undefined;
  /** `perSecond` divided by that of the same case at size M. */
  ofM?: number;
}

export interface ListOptions {
  sizes: readonly SizeName[];
  /** Names of cases, or beginnings of names. Absent: all. */
  only: readonly string[] | undefined;
  seconds: number;
  concurrency: number;
  /** How often floor and api are measured in turn; the medians are reported. */
  repeat: number;
  /** Whether the floor with an exact total is measured, too. */
  exact: boolean;
  /** Folder for CPU profiles of the api. */
  profileInto: string | undefined;
}

/** How many numbers below `n` satisfy the condition. */
const howMany = (n: number, condition: (i: number) => boolean): number =>
  Array.from({ length: n }, (_, i) => i).filter(condition).length;

/** The first page, one in the middle and the last one of a list, and its orders. */
function pagesOf(list: string, pageSize: number, total: number, sorts: readonly string[] = []): ListCase[] {
  const at = `/api/admin/${list}?pageSize=${pageSize}`;
  const last = Math.ceil(total / pageSize);
  const page = (name: string, query: string, length = Math.min(pageSize, total)): ListCase => ({
    name: `${list} ${name}`,
    path: `${at}${query}`,
    rows: list,
    length,
    total,
  });
  return [
    page('first', ''),
    page('deep', `&page=${Math.ceil(last / 2)}`),
    page('last', `&page=${last}`, total - (last - 1) * pageSize),
    ...sorts.flatMap((sort) =>
      ['asc', 'desc'].map((order) => page(`${sort} ${order}`, `&sort=${sort}&order=${order}`)),
    ),
  ];
}

function found(list: string, pageSize: number, query: string, total: number): ListCase {
  const [, text = ''] = query.split('=');
  return {
    name: `${list} ${query.startsWith('search=') ? `search ${decodeURIComponent(text)}` : query}`,
    path: `/api/admin/${list}?pageSize=${pageSize}&${query}`,
    rows: list,
    length: Math.min(pageSize, total),
    total,
    search: query.startsWith('search='),
  };
}

/** The lists with pages. The expected totals follow from data.ts. */
function casesWithPages(size: Size): ListCase[] {
  const digits = (n: number, text: string): boolean => String(n).startsWith(text);
  const aliases = howMany(size.allocations, (n) => n % 4 === 0 && digits(n, '12'));
  const ofPort = howMany(
    size.allocations,
    (n) => Math.floor(n / size.nodes) === 17 || (n % 4 === 0 && String(n).includes('25017')),
  );
  return [
    ...pagesOf('users', 25, size.users + 1, ['username', 'email', 'createdAt', 'lastLoginAt']),
    found(
      'users',
      25,
      'search=customer12',
      howMany(size.users, (n) => digits(n, '12')),
    ),
    found('users', 25, 'search=missing', 0),
    ...pagesOf('servers', 25, size.servers, ['name', 'status', 'created']),
    found('servers', 25, 'search=lobby', size.servers / 100),
    ...pagesOf('allocations', 50, size.allocations),
    found('allocations', 50, 'search=play12', aliases),
    found('allocations', 50, 'search=25017', ofPort),
    found(
      'allocations',
      50,
      'nodeId=7',
      Math.floor(size.allocations / size.nodes) + (size.allocations % size.nodes > 6 ? 1 : 0),
    ),
    ...pagesOf('eggs', 25, size.eggs),
    found(
      'eggs',
      25,
      'search=game%2012',
      howMany(size.eggs + 1, (n) => n > 0 && digits(n, '12')),
    ),
    ...pagesOf('nodes', 25, size.nodes).slice(0, 1),
    ...pagesOf('nests', 25, size.nests).slice(0, 1),
  ];
}

/** The audit has a cursor in place of pages, and no total. */
async function auditCases({ db, filled }: Stack): Promise<ListCase[]> {
  const limit = 50;
  const one = (name: string, query: string): ListCase => ({
    name: `audit ${name}`,
    path: `/api/admin/audit?limit=${limit}${query}`,
    rows: 'events',
    length: limit,
  });
  // The events cover 300 days.
  const middle = new Date(Date.now() - 150 * 86_400_000).toISOString();
  const { nextCursor } = await readAuditPage(db, await readAuditFilter(db, { to: middle }), {
    limit,
    cursor: undefined,
  });
  return [
    one('first', ''),
    one('deep', `&cursor=${encodeURIComponent(nextCursor ?? '')}`),
    one('action', '&action=roles-changed'),
    one('period', `&to=${middle}`),
    one('user', `&user=${filled.admin.id}`),
  ];
}

/** An administrator who reads one page again and again. */
const reader = (one: ListCase, token: string): Exchange => ({
  next: () => ({ method: 'GET', path: one.path, headers: { authorization: `Bearer ${token}` } }),
  check(status, body) {
    const rows = (body as Record<string, unknown>)[one.rows];
    const right = Array.isArray(rows) && rows.length === one.length && body.pagination?.total === one.total;
    expectAnswer(status === 200 && right, one.path, status, body);
  },
});

const floorReader = (one: ListCase, token: string, exact: boolean): Exchange => ({
  next: () => ({
    method: 'GET',
    path: `${exact ? '/exact' : ''}${one.path}`,
    headers: { authorization: `Bearer ${token}` },
  }),
  check: (status, body) => expectAnswer(status === 200 && body.success === true, one.path, status, body),
});

/** Statements of each case: those that its second request repeats make the page, the others the total. */
async function statementsOf(stack: Stack, cases: readonly ListCase[], token: string) {
  const recorded = await recordStatements(
    stack.env,
    cases.map((one) => ({ name: one.path, open: async () => reader(one, token) })),
    { freshApp: true },
  );
  const lists: Record<string, ListStatements> = {};
  for (const { path: at } of cases) {
    const { first = [], second = [] } = recorded.get(at) ?? {};
    const isToken = ({ sql }: Statement): boolean => sql.includes('"tokenLives"');
    const again = new Set(second.map(({ sql }) => sql));
    lists[at] = {
      token: second.find(isToken) ?? { sql: '', bindings: [] },
      rows: second.filter((statement) => !isToken(statement)),
      total: first.filter(({ sql }) => !again.has(sql)),
    };
  }
  return lists;
}

interface Loaded extends Figures {
  /** Processor milliseconds per request; missing where they cannot be read. */
  cpu?: number;
  databaseCpu?: number;
}

async function load(entry: Entry, postgresPid: number, options: ListOptions, open: () => Exchange): Promise<Loaded> {
  const pool = new Pool(entry.url, { connections: options.concurrency, pipelining: 1 });
  const read = () => ({ own: processorMs(entry.pid) ?? Number.NaN, database: childrenMs(postgresPid) });
  try {
    const lanes = Array.from({ length: options.concurrency }, () => httpLane(pool, open()));
    const warm = await drive(lanes, Math.min(1, options.seconds));
    if (warm.errors.length > 0) return warm;
    const before = read();
    const figures = await drive(lanes, options.seconds);
    const after = read();
    const database = sumSince(before.database, after.database);
    return {
      ...figures,
      ...(database === undefined
        ? {}
        : { cpu: (after.own - before.own) / figures.n, databaseCpu: database / figures.n }),
    };
  } finally {
    await pool.destroy();
  }
}

/** Measures each case: api and floor in turn, so that both meet the same other load of the machine. */
async function measureCases(
  stack: Stack,
  cases: readonly ListCase[],
  run: { size: SizeName; suffix: string; options: ListOptions },
): Promise<ListRow[]> {
  const { options } = run;
  const token = await administratorToken(stack);
  const lists = await statementsOf(stack, cases, token);
  const file = path.join(folder, 'lists.json');
  writeFileSync(file, JSON.stringify(lists));
  const api: Entry = await startEntry('../../src/api/server.ts', profiled(stack.env, options.profileInto));
  const floor = await startEntry('./list-floor.ts', { ...stack.env, LISTS_FILE: file });
  const [connection] = await query<{ pid: number }>(stack.db, 'select pg_backend_pid() as pid');
  const postgres = parentOf(connection?.pid ?? 0);
  const rows: ListRow[] = [];
  for (const one of cases) {
    const ours: Loaded[] = [];
    const floors: Loaded[] = [];
    const exact: Loaded[] = [];
    for (let round = 0; round < options.repeat; round += 1) {
      requireRunning();
      floors.push(await load(floor, postgres, options, () => floorReader(one, token, false)));
      ours.push(await load(api, postgres, options, () => reader(one, token)));
      if (options.exact) exact.push(await load(floor, postgres, options, () => floorReader(one, token, true)));
    }
    const list = lists[one.path];
    const { cpu: apiCpu, ...median } = medianOf(ours);
    const floorMedian = medianOf(floors);
    const row: ListRow = {
      ...median,
      apiCpu,
      floorCpu: floorMedian.cpu,
      floorDatabaseCpu: floorMedian.databaseCpu,
      size: run.size,
      name: `${one.name}${run.suffix}`,
      statements: 1 + (list?.rows.length ?? 0),
      statementsForTotal: list?.total.length ?? 0,
      floorPerSecond: floorMedian.perSecond,
      ...(options.exact ? { exactFloorPerSecond: medianOf(exact).perSecond } : {}),
    };
    rows.push({ ...row, errors: [...ours, ...floors, ...exact].flatMap(({ errors }) => errors) });
    const share = ((row.perSecond / row.floorPerSecond) * 100).toFixed(0);
    say(`${run.size} ${row.name}: ${row.perSecond.toFixed(0)}/s, ${share} % of ${row.floorPerSecond.toFixed(0)}/s`);
    const [error] = rows.at(-1)?.errors ?? [];
    if (error !== undefined) say(`  ${error}`);
  }
  await Promise.all([api.stop(), floor.stop()]);
  return rows;
}

/** The cases of each size in turn; then the searches once more after pg_trgm and its indexes are dropped. */
export async function measureLists(options: ListOptions): Promise<ListRow[]> {
  const rows: ListRow[] = [];
  for (const size of options.sizes) {
    const stack = await prepare(SIZES[size]);
    const cases = [...casesWithPages(SIZES[size]), ...(await auditCases(stack))];
    const chosen = cases.filter(
      ({ name }) => options.only === undefined || options.only.some((wanted) => name.startsWith(wanted)),
    );
    if (chosen.length === 0)
      throw new Error(`--only: no case begins so; there are ${cases.map(({ name }) => name).join(', ')}`);
    rows.push(...(await measureCases(stack, chosen, { size, suffix: '', options })));
    const searches = chosen.filter(({ search }) => search === true);
    await stack.db.raw('drop extension if exists pg_trgm cascade');
    rows.push(...(await measureCases(stack, searches, { size, suffix: ', no pg_trgm', options })));
  }
  for (const row of rows) {
    const atM = rows.find(({ size, name }) => size === 'M' && name === row.name);
    if (row.size !== 'M' && atM !== undefined) row.ofM = row.perSecond / atM.perSecond;
  }
  return rows;
}
