/** The requests that are measured, and what each must be answered with. */
import { randomBytes } from 'node:crypto';
import type { AuthUser } from '../../src/domain/accounts/account.ts';
import { Secret } from '../../src/domain/secret.ts';
import { createTokens, REFRESH_TTL_SECONDS } from '../../src/services/accounts/access-tokens.ts';
import { insertSession } from '../../src/store/accounts/session-store.ts';
import type { TestDb } from '../../test/support/database.ts';
import { emailOf, type Filled, FOUND, PASSWORD, SEARCH, SERVERS_PER_CUSTOMER, SIZE, WEAK_FROM } from './data.ts';
import { type Exchange, expectAnswer } from './load.ts';

export interface Case {
  name: string;
  /** The request, for the reader. */
  what: string;
  /** What it is held against: an answer of `node:http` alone, or the comparison of a password alone. */
  floor: 'http' | 'bcrypt';
  /** A caller of its own. */
  open(): Promise<Exchange>;
}

/** Requests from one client address: below a quarter of the tightest limit that counts by address (100 in 15 minutes). */
const REQUESTS_PER_ADDRESS = 25;
let requests = 0;

/** The header a proxy of ours sets: another client every few requests, so that no limit is met. */
function fromSomewhere(): Record<string, string> {
  const n = Math.floor(requests++ / REQUESTS_PER_ADDRESS);
  return { 'x-forwarded-for': `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` };
}

/** A POST of JSON from some client. */
export const post = (path: string, body: object) => ({
  method: 'POST' as const,
  path,
  headers: { 'content-type': 'application/json', ...fromSomewhere() },
  body: JSON.stringify(body),
});

const get = (path: string, token?: string) => ({
  method: 'GET' as const,
  path,
  headers: token === undefined ? fromSomewhere() : { authorization: `Bearer ${token}`, ...fromSomewhere() },
});

/** Gives the values one after the other, and again from the beginning. */
function inTurn<T>(values: readonly T[]): () => T {
  let next = 0;
  return () => {
    const value = values[next++ % values.length];
    if (value === undefined) throw new Error('nothing to take from');
    return value;
  };
}

/** All cases over a filled database. */
export async function createCases(db: TestDb, filled: Filled, jwtSecret: string): Promise<Case[]> {
  const tokens = createTokens({
    jwtSecret: new Secret(jwtSecret),
    nextAuthSecret: undefined,
    accessTtlSeconds: 86_400,
  });
  const issuedAt = Math.floor(Date.now() / 1000);
  const withToken = async (user: AuthUser) => ({ user, token: await tokens.sign(user, issuedAt) });
  const nextCustomer = inTurn(await Promise.all(filled.customers.map(withToken)));
  const admin = await withToken(filled.admin);
  const nextEmail = inTurn(Array.from({ length: WEAK_FROM }, (_, n) => emailOf(n)));

  /** A page of servers: its path, who asks, and how many there are in all. */
  const page = (path: string, caller: () => { token: string }, total: number) => async (): Promise<Exchange> => ({
    next: () => get(path, caller().token),
    check(status, body) {
      const right = status === 200 && body.meta?.total === total && body.data?.length === Math.min(total, 12);
      expectAnswer(right, path, status, body);
    },
  });
  const servers = '/api/v1/dashboard/servers';
  return [
    {
      name: 'health',
      what: 'GET /health',
      floor: 'http',
      open: async () => ({
        next: () => get('/health'),
        // The workflow engine is away, which the site need not know.
        check: (status, body) =>
          expectAnswer(
            status === 200 && body.status === 'degraded' && body.database?.status === 'connected',
            'health',
            status,
            body,
          ),
      }),
    },
    {
      name: 'me',
      what: 'GET auth/me',
      floor: 'http',
      async open() {
        let asked = '';
        return {
          next() {
            const { user, token } = nextCustomer();
            asked = user.id;
            return get('/api/v1/auth/me', token);
          },
          check: (status, body) => expectAnswer(status === 200 && body.user?.id === asked, 'me', status, body),
        };
      },
    },
    {
      name: 'stats',
      what: 'GET dashboard/stats',
      floor: 'http',
      open: async () => ({
        next: () => get('/api/v1/dashboard/stats', nextCustomer().token),
        check: (status, body) =>
          expectAnswer(
            status === 200 && body.data?.servers?.total === SERVERS_PER_CUSTOMER,
            'dashboard/stats',
            status,
            body,
          ),
      }),
    },
    {
      name: 'servers',
      what: 'GET dashboard/servers, of a customer',
      floor: 'http',
      open: page(servers, nextCustomer, SERVERS_PER_CUSTOMER),
    },
    {
      name: 'servers-all',
      what: 'GET dashboard/servers, all, by an administrator',
      floor: 'http',
      open: page(`${servers}?view_all=true`, () => admin, SIZE.servers),
    },
    {
      name: 'servers-search',
      what: 'GET dashboard/servers, search in all',
      floor: 'http',
      open: page(`${servers}?view_all=true&search=${SEARCH}`, () => admin, FOUND),
    },
    {
      name: 'refresh',
      what: 'POST auth/refresh',
      floor: 'http',
      async open() {
        let refreshToken = randomBytes(32).toString('hex');
        await insertSession(db, {
          userId: nextCustomer().user.id,
          refreshToken,
          lifetimeSeconds: REFRESH_TTL_SECONDS,
          issuedAt,
        });
        return {
          next: () => post('/api/v1/auth/refresh', { refreshToken }),
          check(status, body) {
            const next = body.refreshToken ?? '';
            expectAnswer(status === 200 && next.length === 64 && next !== refreshToken, 'refresh', status, body);
            refreshToken = next;
          },
        };
      },
    },
    {
      name: 'login',
      what: 'POST auth/login',
      floor: 'bcrypt',
      async open() {
        return {
          next: () => post('/api/v1/auth/login', { email: nextEmail(), password: PASSWORD }),
          check: (status, body) =>
            expectAnswer(
              status === 200 && body.message === 'Login successful' && body.accessToken !== undefined,
              'login',
              status,
              body,
            ),
        };
      },
    },
  ];
}
