/** Measures whether the time of a refused sign-in reveals that an account exists. The order of the sign-ins is random. */
import { randomInt } from 'node:crypto';
import type { Pool } from 'undici';
import { post } from './cases.ts';
import { ACCOUNTS, emailOf, noPasswordFrom, SIZES, weakFrom } from './data.ts';
import { expectAnswer, type Figures, figuresOf, send } from './load.ts';

/** Email address of the nth sign-in of each kind. The other kinds are compared with the first one. */
const KINDS: readonly { name: string; email: (n: number) => string }[] = [
  { name: 'known, cost 12', email: (n) => emailOf(n % ACCOUNTS) },
  { name: 'known, cost 10', email: (n) => emailOf(weakFrom(SIZES.M) + (n % ACCOUNTS)) },
  { name: 'known, no password', email: (n) => emailOf(noPasswordFrom(SIZES.M) + (n % ACCOUNTS)) },
  { name: 'unknown', email: (n) => `unknown${n % ACCOUNTS}@bench.example` },
];
/** Maximum sign-ins per account, the unmeasured one included. The lowest limit is 10 per account and client in 15 min. */
const MAX_TRIES = 9;
/** Maximum sign-ins per kind. */
export const MAX_LOGINS = ACCOUNTS * MAX_TRIES;

export interface TimingRow extends Figures {
  kind: string;
  /** Median of this kind minus median of the first kind, milliseconds. */
  above: number;
}

/** Signs in with a wrong password, one at a time, `logins` times per kind. @throws {Error} when one is not refused. */
export async function measureTiming(pool: Pool, logins: number): Promise<TimingRow[]> {
  const refused = async (email: string): Promise<number> => {
    const { ms, status, body } = await send(pool, post('/api/v1/auth/login', { email, password: 'Wrong-horse-7' }));
    expectAnswer(status === 401 && body.error === 'invalid_credentials', 'a wrong password', status, body);
    return ms;
  };
  // The first of each kind pays for one-time work, such as the hash with which an unknown account is compared.
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
