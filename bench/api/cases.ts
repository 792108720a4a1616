/** The measured requests and their expected answers. */
import type { AuthUser } from '../../src/domain/accounts/account.ts';
import { Secret } from '../../src/domain/secret.ts';
import { createTokens } from '../../src/services/accounts/access-tokens.ts';
import { issuePair, openSession, type TokenPair } from '../../src/services/accounts/sessions.ts';
import { inTransaction } from '../../src/store/db/db.ts';
import { emailOf, PASSWORD, SEARCH, SERVERS_PER_CUSTOMER } from './data.ts';
import { type Exchange, expectAnswer } from './load.ts';
import type { Stack } from './stack.ts';

export interface Case {
  name: string;
  /** Description of the request in the output. */
  what: string;
  /** The floor it is compared with: an answer of `node:http` alone, or a password comparison alone. */
  floor: 'http' | 'bcrypt';
  /** The exchange of one more caller. */
  open(): Promise<Exchange>;
}

/** Requests per client address: a quarter of the lowest limit per address (100 in 15 minutes). */
const REQUESTS_PER_ADDRESS = 25;
let requests = 0;

/** The header that a trusted proxy sets: a new client address every few requests, so that no limit refuses one. */
function clientHeader(): Record<string, string> {
  const n = Math.floor(requests++ / REQUESTS_PER_ADDRESS);
  return { 'x-forwarded-for': `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}` };
}

/** A POST with a JSON body. */
export const post = (path: string, body: object) => ({
  method: 'POST' as const,
  path,
  headers: { 'content-type': 'application/json', ...clientHeader() },
  body: JSON.stringify(body),
});

const get = (path: string, token?: string) => ({
  method: 'GET' as const,
  path,
  headers: token === undefined ? clientHeader() : { authorization: `Bearer ${token}`, ...clientHeader() },
});

/** Returns the values one after the other, and starts again after the last one. */
function inTurn<T>(values: readonly T[]): () => T {
  let next = 0;
  return () => {
    const value = values[next++ % values.length];
    if (value === undefined) throw new Error('nothing to take from');
    return value;
  };
}

/** Signs users in: each access token ends with its session. */
function signInTo({ db, jwtSecret }: Pick<Stack, 'db' | 'jwtSecret'>) {
  const tokens = createTokens({
    jwtSecret: new Secret(jwtSecret),
    nextAuthSecret: undefined,
    accessTtlSeconds: 86_400,
  });
  return async (user: AuthUser): Promise<TokenPair> => {
    const pair = await issuePair({ tokens }, user);
    await inTransaction(db, (trx) => openSession(trx, user, pair));
    return pair;
  };
}

/** An access token of the administrator. */
export const administratorToken = async (stack: Stack): Promise<string> =>
  (await signInTo(stack)(stack.filled.admin)).accessToken;

/** All cases over a filled database. */
export async function createCases(stack: Stack): Promise<Case[]> {
  const { filled } = stack;
  const signedIn = signInTo(stack);
  const withToken = async (user: AuthUser) => ({ user, token: (await signedIn(user)).accessToken });
  const customers: { user: AuthUser; token: string }[] = [];
  for (const user of filled.customers) customers.push(await withToken(user));
  const nextCustomer = inTurn(customers);
  const admin = await withToken(filled.admin);
  const nextEmail = inTurn(Array.from({ length: filled.customers.length }, (_, n) => emailOf(n)));

  /** A page of servers: its path, its caller, and the expected total. */
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
        // Temporal is not reachable, so the status is `degraded`.
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
        let expected = '';
        return {
          next() {
            const { user, token } = nextCustomer();
            expected = user.id;
            return get('/api/v1/auth/me', token);
          },
          check: (status, body) => expectAnswer(status === 200 && body.user?.id === expected, 'me', status, body),
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
      open: page(`${servers}?view_all=true`, () => admin, filled.size.servers),
    },
    {
      name: 'servers-search',
      what: 'GET dashboard/servers, search in all',
      floor: 'http',
      open: page(`${servers}?view_all=true&search=${SEARCH}`, () => admin, filled.size.servers / 100),
    },
    {
      name: 'refresh',
      what: 'POST auth/refresh',
      floor: 'http',
      async open() {
        let { refreshToken } = await signedIn(nextCustomer().user);
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
