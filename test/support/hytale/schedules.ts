/**
 * Random schedules of refreshes of one account: timed and requested ones, several at once, faults of Hytale, and crashes at
 * each await. A driver stands for the workflow; the book of the simulator judges how often each refresh token was spent.
 */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { HytaleFault, HytaleSimulator } from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import type { HytaleClient } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { createTokenVerifier } from '../../../src/clients/hytale/token-verifier.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { advanceAccount } from '../../../src/services/hytale/advance-account.ts';
import { advanceLogin } from '../../../src/services/hytale/advance-login.ts';
import type { HytaleDeps } from '../../../src/services/hytale/deps.ts';
import type { Db } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { findAccount } from '../../../src/store/hytale/account-store.ts';
import { insertLogin } from '../../../src/store/hytale/login-store.ts';
import { opened } from '../../../src/store/hytale/secrets.ts';
import { quiet } from '../stack.ts';

/** Where a process ends. `after the request`: Hytale has answered, and nothing is stored. */
export const CRASHES = [
  'before the lease',
  'before the request',
  'after the request',
  'at the note',
  'after the note',
] as const;
type Crash = (typeof CRASHES)[number];

const FAULTS: readonly HytaleFault[] = [
  { kind: 'limited', retryAfter: 3 },
  { kind: 'limited', retryAfter: null },
  { kind: 'status', status: 500 },
  { kind: 'status', status: 503, html: true },
  { kind: 'answer', status: 403, body: '<html>blocked</html>', type: 'text/html' },
  { kind: 'cut' },
  { kind: 'done-cut' },
  { kind: 'done-half' },
];

export interface ScheduleStep {
  /** How many processes act at once. */
  processes: 1 | 2 | 3;
  /** Somebody requests it; otherwise a timer has fired. */
  requested: boolean;
  crash: Crash | undefined;
  fault: HytaleFault | undefined;
  /** PostgreSQL is away for this many statements when the answer is to be stored. */
  outage: number;
  /** A person signs in again before the step. */
  again: boolean;
}

export const scheduleOf = (maxLength: number): fc.Arbitrary<ScheduleStep[]> =>
  fc.array(
    fc.record({
      processes: fc.constantFrom(1, 1, 1, 2, 3),
      requested: fc.boolean(),
      crash: fc.option(fc.constantFrom(...CRASHES), { nil: undefined, freq: 2 }),
      fault: fc.option(fc.constantFrom(...FAULTS), { nil: undefined, freq: 2 }),
      outage: fc.constantFrom(0, 0, 0, 1, 3),
      again: fc.boolean(),
    }) as fc.Arbitrary<ScheduleStep>,
    { minLength: 1, maxLength },
  );

class Crashed extends Error {}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/** One account at the simulator and in the database. */
export interface ScheduledAccount {
  id: string;
  sim: HytaleSimulator;
  deps: HytaleDeps;
  /** Digests of refresh tokens whose answer was lost to a crash of ours. */
  lost: Set<string>;
}

/** Signs an account in, as a person does. */
export async function signIn({ id, sim, deps }: ScheduledAccount): Promise<void> {
  const loginId = crypto.randomUUID();
  await insertLogin(deps.db, {
    id: loginId,
    environment: deps.environment,
    accountId: id,
    requestedBy: 'test',
    ipAddress: null,
    userAgent: null,
  });
  const before = new Set(sim.waiting());
  await advanceLogin(deps, { loginId });
  const code = sim.waiting().find((one) => !before.has(one));
  if (code === undefined) throw new Error('the simulator has no new code');
  sim.approve(code, id);
  for (let n = 0; n < 20; n += 1) {
    const step = await advanceLogin(deps, { loginId });
    if (step.over) {
      if (step.status !== 'completed') throw new Error(`${step.status}: ${step.why}`);
      return;
    }
    sim.advance(step.ms ?? 0);
  }
  throw new Error('the login does not end');
}

/** Runs a schedule, then lets the account act undisturbed until it waits for its next refresh or for a person. */
export async function runSchedule(account: ScheduledAccount, steps: readonly ScheduleStep[]): Promise<void> {
  for (const step of steps) {
    const row = await rowOf(account);
    if (row === undefined || (row.status !== 'active' && step.again)) await signIn(account);
    // As if the timer had fired.
    const dueAt = (await rowOf(account))?.nextAt?.getTime() ?? 0;
    if (!step.requested) account.sim.advance(Math.max(0, dueAt - account.sim.now()));
    if (step.fault !== undefined) account.sim.fault('token-refresh', step.fault, { account: account.id });
    await Promise.all(Array.from({ length: step.processes }, () => oneProcess(account, step)));
    account.sim.clearFaults('token-refresh');
    // Time passes between the steps, never while a request is under way: a lease outlives a request.
    account.sim.advance(41_000);
  }
  for (let n = 0; n < 10; n += 1) {
    const step = await advanceAccount(account.deps, { accountId: account.id, wish: { what: 'look' } });
    const row = await rowOf(account);
    const open = row?.status === 'active' && (row.failures > 0 || row.sentVersion !== null);
    if (!open) return;
    account.sim.advance(step.ms ?? 0);
  }
  throw new Error('the account does not come to rest');
}

const rowOf = ({ deps, id }: ScheduledAccount) => findAccount(deps.db, deps.environment, id);

/** One process takes one step, and may end in the middle of it. */
async function oneProcess(account: ScheduledAccount, step: ScheduleStep): Promise<void> {
  const row = await rowOf(account);
  if (row === undefined) return;
  const wish = step.requested ? ({ what: 'refresh', ifVersion: row.version } as const) : ({ what: 'look' } as const);
  try {
    await advanceAccount(disturbed(account, step), { accountId: account.id, wish });
    if (step.crash === 'after the note') throw new Crashed();
  } catch (error) {
    if (!(error instanceof Crashed)) throw error;
  }
}

/** Dependencies of a process that ends at a point, or whose database goes away. */
function disturbed(account: ScheduledAccount, { crash, outage }: ScheduleStep): HytaleDeps {
  const { deps } = account;
  let answered = false;
  const refreshToken: HytaleClient['refreshToken'] = async (token, signal) => {
    if (crash === 'before the request') throw new Crashed();
    const result = await deps.client.refreshToken(token, signal);
    const lost = crash === 'after the request' || crash === 'at the note';
    if (lost && result.outcome === 'ok') account.lost.add(digestOf(token.reveal()));
    if (crash === 'after the request') throw new Crashed();
    answered = true;
    return result;
  };
  let left = outage;
  const db = new Proxy(deps.db as unknown as object, {
    get(target, key) {
      if (key === 'transaction' && answered) {
        if (crash === 'at the note') return () => Promise.reject(new Crashed());
        if (left > 0) {
          left -= 1;
          return () => Promise.reject(Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }));
        }
      }
      return Reflect.get(target, key);
    },
    apply: (target, self, args) => Reflect.apply(target as never, self, args),
  }) as unknown as HytaleDeps['db'];
  const encryption: HytaleDeps['encryption'] = {
    ...deps.encryption,
    decrypt(stored) {
      if (crash === 'before the lease') throw new Crashed();
      return deps.encryption.decrypt(stored);
    },
  };
  return { ...deps, db, encryption, client: { ...deps.client, refreshToken } };
}

/** What is wrong with an account after its schedule; empty: nothing. */
export async function judge(account: ScheduledAccount): Promise<string[]> {
  const { deps, sim, id, lost } = account;
  const problems: string[] = [];
  const book = sim.refreshTokens(id);
  for (const token of book) {
    const excused = lost.has(token.digest) || !token.answered;
    if (token.spent > 1) problems.push(`a refresh token was spent ${token.spent} times`);
    if (token.reused > 0 && !excused) problems.push(`a spent refresh token was presented ${token.reused} times`);
  }
  const row = await rowOf(account);
  if (row === undefined) return [...problems, 'the account is gone'];
  const current = opened(deps.encryption, row.refreshToken);
  const facts = book.find(({ digest }) => digest === digestOf(current?.reveal() ?? ''));
  if (row.status === 'active') {
    if (facts === undefined || facts.spent > 0)
      problems.push('the stored refresh token is spent, and the account does not say so');
    if (row.failures > 0) problems.push(`the account still fails: ${row.reason}`);
  } else if (row.status === 'reauth_required') {
    const excused = facts !== undefined && facts.spent === 1 && (lost.has(facts.digest) || !facts.answered);
    if (!excused) problems.push(`a person must sign in without need: ${row.reason}`);
    if (row.reason === null) problems.push('nothing says why a person must sign in');
  } else problems.push(`the account is ${row.status}`);
  return problems;
}

/** An account that is signed in, at a simulator of its own: its clock moves with the account's time. */
export async function createScheduledAccount(
  db: Db,
): Promise<{ account: ScheduledAccount; close: () => Promise<void> }> {
  const sim = await startHytaleSimulator();
  const client = createHytaleClient({ hosts: sim.hosts, timeoutMs: 5_000 });
  const deps: HytaleDeps = {
    db,
    client,
    encryption: createEncryption({ key: new Secret(Buffer.alloc(32, 7).toString('base64')) }),
    environment: 'production',
    verifier: createTokenVerifier({ sessionsBase: sim.hosts.sessions, issuer: sim.issuer }),
    sessionLimit: 100,
    wake: { account: async () => undefined, session: async () => undefined },
    log: quiet,
    now: () => sim.now(),
    random: Math.random,
  };
  const account = { id: sim.addAccount({}).id, sim, deps, lost: new Set<string>() };
  await signIn(account);
  return {
    account,
    close: async () => {
      await client.close();
      await sim.close();
    },
  };
}
