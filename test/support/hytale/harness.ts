/**
 * Hytale as a whole in one process: the simulated Hytale, a database, and the workflows on a Temporal server whose clock skips
 * to the next timer. There is one clock, the server's: the services and the simulator read it too.
 */
import { Context } from '@temporalio/activity';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { type ActivityInterceptorsFactory, DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import type { HytaleCall, HytaleSimulator, HytaleSimulatorOptions } from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import type { PanelSimulator } from '../../../simulators/panel/contract.ts';
import { createHytaleActivities, type HytaleActivityDeps } from '../../../src/activities/hytale.ts';
import type { HytaleClient, TokenVerifier } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { createTokenVerifier } from '../../../src/clients/hytale/token-verifier.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { createHytale } from '../../../src/services/hytale/create-hytale.ts';
import type { Hytale, Requester } from '../../../src/services/hytale/hytale.ts';
import type { HytaleBudget } from '../../../src/services/inventory/client-budget.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { createHytaleEngine, type HytaleEngine } from '../../../src/temporal/hytale-engine.ts';
import { hytaleAccountId, hytaleLoginId, hytaleSessionId, QUEUE } from '../../../src/workflows/contract.ts';
import { createTestDatabase, type TestDb } from '../database.ts';
import { query } from '../merge.ts';
import { clientOf, startPanel } from '../panel.ts';
import { quiet } from '../stack.ts';
import { startTimeSkipping } from '../time-skipping.ts';
import { IDENTITY_VARIABLE, SCENERY, SESSION_VARIABLE } from './game-server.ts';

/** A budget of the panel's client key that has no end. */
const ENDLESS_BUDGET: HytaleBudget = {
  take: async () => ({ granted: true }),
  heed: async () => undefined,
  pause: async () => undefined,
};

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/** Sessions of one account, at the simulator and as the services know it. */
export const SESSION_LIMIT = 2;
export const WHO: Requester = {
  by: { actor: { type: 'cli' } },
  ipAddress: '192.0.2.7',
  userAgent: 'life-test',
};

export interface HytaleHarness {
  env: TestWorkflowEnvironment;
  db: TestDb;
  panel: PanelSimulator;
  hytale: Hytale;
  engine: HytaleEngine;
  /** Unix milliseconds by the clock of the Temporal server. */
  now(): number;
  /** Lets time pass, and all that is due in it happen. */
  pass(ms: number): Promise<void>;
  /**
   * Lets time pass until the value is there.
   * @throws {Error} when it is not after `limitMs`.
   */
  until<T>(
    what: string,
    find: () => Promise<T> | T,
    options?: { stepMs?: number; limitMs?: number },
  ): Promise<NonNullable<T>>;
  /** A new Hytale, and nothing of what was before: neither rows nor workflows. */
  begin(options?: BeginOptions): Promise<HytaleSimulator>;
  stop(): Promise<void>;
}

export interface BeginOptions extends Omit<HytaleSimulatorOptions, 'now'> {
  /** Real milliseconds after which a call that hangs is given up. */
  timeoutMs?: number;
}

/** Starts the server and its workers; the caller stops them. */
export async function startHytaleHarness(): Promise<HytaleHarness> {
  Runtime.install({ shutdownSignals: [], logger: new DefaultLogger('ERROR', () => undefined) });
  const [env, database, panel] = await Promise.all([
    startTimeSkipping(),
    createTestDatabase({ max: 10 }),
    startPanel(SCENERY),
  ]);
  // A key that may write.
  const panelClient = clientOf(panel.sim, { apiKey: new Secret(panel.sim.keys.second) });
  const { db } = database;
  const clock = createClock(env);
  const hytaleNow = createCurrent();
  const engine = withoutList(
    createHytaleEngine({
      client: env.client,
      within: (ms, work) => env.connection.withDeadline(Date.now() + ms, work),
    }),
  );
  const deps = {
    db,
    encryption: createEncryption({ key: new Secret('c2VjcmV0LWtleS1vZi0zMi1ieXRlcy1mb3ItdGVzdHM=') }),
    environment: 'production',
    client: hytaleNow.client,
    verifier: hytaleNow.verifier,
    sessionLimit: SESSION_LIMIT,
    variables: { session: [SESSION_VARIABLE], identity: [IDENTITY_VARIABLE] },
    panel: async () => panelClient,
    // Its minutes are those of the database, which do not pass as the clock of the test does.
    budget: ENDLESS_BUDGET,
    log: quiet,
    trace: (_about, work) => work(),
    now: clock.now,
    random: Math.random,
  } satisfies Omit<HytaleActivityDeps, 'engine'>;
  const stopWorkers = await startWorkers(env, createHytaleActivities({ ...deps, engine }), clock.interceptor);
  return {
    env,
    db,
    panel: panel.sim,
    hytale: createHytale({ ...deps, engine }),
    engine,
    now: clock.now,
    pass: clock.pass,
    until: clock.until,
    begin: async (begun = {}) => {
      await forgetAll(env, db);
      await clock.read();
      return hytaleNow.begin({ sessionLimit: SESSION_LIMIT, ...begun, now: clock.now });
    },
    async stop() {
      await forgetAll(env, db);
      await stopWorkers();
      await env.teardown();
      await hytaleNow.close();
      await panelClient.close();
      await panel.close();
      await database.drop();
    },
  };
}

/** The clock of the server, which is ahead of the real one by all that was skipped. */
function createClock(env: TestWorkflowEnvironment) {
  let ahead = 0;
  let fail: (reason: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  // What is known of the server's clock is never later than it is now.
  const see = (serverMs: number): void => {
    ahead = Math.max(ahead, serverMs - Date.now());
  };
  const read = async (): Promise<void> => see(await env.currentTimeMs());
  const pass = async (ms: number): Promise<void> => {
    // An activity that fails is tried again without end, so a test of months would not end either.
    await Promise.race([env.sleep(ms), failed]);
    await read();
  };
  return {
    now: () => Date.now() + ahead,
    read,
    pass,
    interceptor: (() => ({
      inbound: {
        execute: async (input, next) => {
          see(Context.current().info.currentAttemptScheduledTimestampMs);
          try {
            return await next(input);
          } catch (error) {
            fail(error);
            throw error;
          }
        },
      },
    })) satisfies ActivityInterceptorsFactory,
    async until<T>(
      what: string,
      find: () => Promise<T> | T,
      { stepMs = 5 * SECOND, limitMs = 20 * MINUTE }: { stepMs?: number; limitMs?: number } = {},
    ): Promise<NonNullable<T>> {
      for (let passed = 0; passed <= limitMs; passed += stepMs) {
        const found = await find();
        if (found !== undefined && found !== null && found !== false) return found;
        await pass(stepMs);
      }
      throw new Error(`it does not happen: ${what}`);
    },
  };
}

/** The present Hytale: tests have one each, the activities are made once. */
function createCurrent() {
  let current: { sim: HytaleSimulator; client: HytaleClient; verifier: TokenVerifier } | undefined;
  const there = () => {
    if (current === undefined) throw new Error('no Hytale has begun');
    return current;
  };
  const close = async (): Promise<void> => {
    await current?.client.close();
    await current?.sim.close();
    current = undefined;
  };
  return {
    client: passedOn(() => there().client),
    verifier: passedOn(() => there().verifier),
    close,
    async begin({ timeoutMs = 10_000, ...options }: BeginOptions & HytaleSimulatorOptions): Promise<HytaleSimulator> {
      await close();
      const sim = await startHytaleSimulator(options);
      const client = createHytaleClient({ hosts: sim.hosts, timeoutMs });
      const verifier = createTokenVerifier({ sessionsBase: sim.hosts.sessions, issuer: sim.issuer });
      current = { sim, client, verifier };
      return sim;
    },
  };
}

const passedOn = <T extends object>(target: () => T): T =>
  new Proxy({} as T, { get: (_, name) => Reflect.get(target(), name) });

/** This server lists no workflows. A start of one that runs does nothing, so none need be known. */
const withoutList = (engine: HytaleEngine): HytaleEngine => ({ ...engine, running: async () => new Set() });

async function startWorkers(
  env: TestWorkflowEnvironment,
  activities: ReturnType<typeof createHytaleActivities>,
  interceptor: ActivityInterceptorsFactory,
): Promise<() => Promise<void>> {
  const codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  const common = {
    connection: env.nativeConnection,
    activities,
    interceptors: { activity: [interceptor] },
    shutdownForceTime: '5s',
    maxHeartbeatThrottleInterval: '200ms',
  };
  const workers = await Promise.all([
    Worker.create({ ...common, taskQueue: QUEUE.core, workflowBundle: { codePath } }),
    ...[QUEUE.outbound, QUEUE.hytale, QUEUE.panel].map((taskQueue) => Worker.create({ ...common, taskQueue })),
  ]);
  const running = Promise.all(workers.map((worker) => worker.run()));
  return async () => {
    for (const worker of workers) worker.shutdown();
    await running;
  };
}

/** Ends all workflows and deletes their rows. */
async function forgetAll(env: TestWorkflowEnvironment, db: TestDb): Promise<void> {
  const rows = await query(
    db,
    `select 'login' as kind, id::text from hytale_logins where ended_at is null
     union all select 'account', account_id::text from hytale_oauth_tokens
     union all select 'session', id::text from hytale_game_sessions`,
  );
  // An activity whose workflow is terminated in its midst would keep this server from skipping time for ever after.
  if (rows.length > 0) await env.sleep(SECOND);
  const idOf = { login: hytaleLoginId, account: hytaleAccountId, session: hytaleSessionId };
  for (const { kind, id } of rows as unknown as { kind: keyof typeof idOf; id: string }[]) {
    await env.client.workflow
      .getHandle(idOf[kind](id))
      .terminate('the next test begins')
      .catch(() => undefined);
  }
  await query(
    db,
    'truncate hytale_logins, hytale_oauth_tokens, hytale_game_sessions, hytale_audit_logs, outbox, servers, eggs restart identity cascade',
  );
}

/** Milliseconds between the requests of one call, in their order. */
export function intervals(sim: HytaleSimulator, call: HytaleCall): number[] {
  const times = sim.requests(call).map(({ at }) => at);
  return times.slice(1).map((at, index) => at - (times[index] ?? 0));
}
