/** Measures what one attacker costs the others: their times and refusals, with and without each attack. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import type { Case } from './cases.ts';
import { type Figures, figuresOf, send } from './load.ts';

/** `none` is the comparison; the others are those of attacker.ts. */
const ATTACKS = ['none', 'bodies', 'guesses', 'reads', 'unread'] as const;
/** What the others do meanwhile. */
const OTHERS = ['health', 'me', 'login'];
/** Milliseconds for which an attack runs before it is measured. */
const WARM_UP_MS = 2000;
/** Milliseconds between two requests of one caller: the load is to be the attacker's. */
const PAUSE_MS = 20;

export interface AttackRow extends Figures {
  attack: string;
  name: string;
  /** Answers other than 200. */
  refused: number;
}

/** One caller of a case: it goes on after a refusal, which is counted. */
async function callOnAndOn(pool: Pool, { name, open }: Case, attack: string, until: number): Promise<AttackRow> {
  const times: number[] = [];
  let refused = 0;
  const exchange = await open();
  const startedAt = performance.now();
  while (performance.now() < until) {
    const { ms, status } = await send(pool, exchange.next());
    times.push(ms);
    if (status !== 200) refused += 1;
    await sleep(PAUSE_MS);
  }
  return { attack, name, refused, ...figuresOf(times, performance.now() - startedAt, []) };
}

async function end(child: ChildProcess | undefined): Promise<void> {
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

/** Runs each attack for `seconds`, at `megabits` a second, against a fresh api, while the others go on. */
export async function measureAttacks(
  startApi: () => Promise<{ url: string; stop: () => Promise<void> }>,
  cases: readonly Case[],
  options: { seconds: number; megabits: number },
): Promise<AttackRow[]> {
  const rows: AttackRow[] = [];
  for (const attack of ATTACKS) {
    const api = await startApi();
    const pool = new Pool(api.url, { connections: OTHERS.length });
    const attacker =
      attack === 'none'
        ? undefined
        : fork(fileURLToPath(new URL('./attacker.ts', import.meta.url)), [api.url, attack, String(options.megabits)]);
    try {
      await sleep(WARM_UP_MS);
      const until = performance.now() + options.seconds * 1000;
      const others = cases.filter(({ name }) => OTHERS.includes(name));
      rows.push(...(await Promise.all(others.map((one) => callOnAndOn(pool, one, attack, until)))));
    } finally {
      await end(attacker);
      await pool.destroy();
      await api.stop();
    }
  }
  return rows;
}
