/** Whether the time of a refused sign-in tells what accounts there are: four kinds of accounts, in random order. */
import { randomInt } from 'node:crypto';
import type { Pool } from 'undici';
import { post } from './cases.ts';
import { ACCOUNTS, emailOf, NO_PASSWORD_FROM, WEAK_FROM } from './data.ts';
import { expectAnswer, type Figures, figuresOf, send } from './load.ts';

/** Address of the nth sign-in of each kind. The first kind is what the others are held against. */
const KINDS: readonly { name: string; email: (n: number) => string }[] = [
  { name: 'known, cost 12', email: (n) => emailOf(n % ACCOUNTS) },
  { name: 'known, cost 10', email: (n) => emailOf(WEAK_FROM + (n % ACCOUNTS)) },
  { name: 'known, no password', email: (n) => emailOf(NO_PASSWORD_FROM + (n % ACCOUNTS)) },
  { name: 'unknown', email: (n) => `nobody${n % ACCOUNTS}@bench.example` },
];
/** Tries with one account, one of them to warm up: the tightest limit, of an account and a client, is 10 in 15 minutes. */
const MOST_TRIES = 9;
/** Sign-ins of each kind at the most. */
export const MOST_LOGINS = ACCOUNTS * MOST_TRIES;

export interface TimingRow extends Figures {
  kind: string;
  /** Milliseconds that the median is above the first kind's. */
  above: number;
}

/** Signs in with a wrong password, one at a time, so many times for each kind. @throws {Error} when one is not refused. */
export async function measureTiming(pool: Pool, logins: number): Promise<TimingRow[]> {
  const refused = async (email: string): Promise<number> => {
    const { ms, status, body } = await send(pool, post('/api/v1/auth/login', { email, password: 'Wrong-horse-7' }));
    expectAnswer(status === 401 && body.error === 'invalid_credentials', 'a wrong password', status, body);
    return ms;
  };
  // The first of each kind pays for what is made once, e.g. the hash an unknown address is compared with.
  for (const { email } of KINDS) await refused(email(0));
  const order = KINDS.flatMap((kind) => Array.from({ length: logins }, (_, n) => ({ kind, n })));
  for (let last = order.length - 1; last > 0; last -= 1) {
    const other = randomInt(last + 1);
    const [a, b] = [order[last], order[other]];
    if (a !== undefined && b !== undefined) [order[last], order[other]] = [b, a];
  }
  const times = new Map<string, number[]>(KINDS.map(({ name }) => [name, []]));
  for (const { kind, n } of order) times.get(kind.name)?.push(await refused(kind.email(n)));
  const figures = KINDS.map(({ name }) => {
    const all = times.get(name) ?? [];
    return {
      kind: name,
      ...figuresOf(
        all,
        all.reduce((sum, ms) => sum + ms, 0),
        [],
      ),
    };
  });
  const base = figures[0]?.p50 ?? Number.NaN;
  return figures.map((row) => ({ ...row, above: row.p50 - base }));
}
