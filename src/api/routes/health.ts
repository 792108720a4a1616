/** Health: for the guard of the site (2xx while the database answers) and for orchestrators (live, ready). */
import { z } from 'zod';
import { withDeadline } from '../../deadline.ts';
import type { Db } from '../../store/db/db.ts';
import { serverVersion } from '../../store/db/server-version.ts';
import type { EngineHealth } from '../context.ts';
import { IsoDate } from '../http/envelopes.ts';
import { defineRoute, type Route } from '../http/route.ts';

const tags = ['Health'];
/** Milliseconds that the database has to answer; the driver itself would wait 15 s for a connection. */
const DATABASE_TIMEOUT_MS = 2000;
/** Milliseconds for which the answer of a check is shared: less than an orchestrator waits between two of its requests. */
const SHARED_MS = 1000;
/** Milliseconds that the workflow engine has to answer. */
const ENGINE_TIMEOUT_MS = 1000;
/**
 * Milliseconds for which an answer of the engine is used again. The site requests `/health` before every page: without this,
 * an engine that is away would delay each page by the timeout.
 */
const ENGINE_CACHE_MS = 3000;
/** Milliseconds after which an answer is no longer used: the caller waits for a new one. */
const ENGINE_STALE_MS = 30_000;

const Check = z.enum(['ok', 'error']);
const HealthSchema = z.object({
  status: z.enum(['healthy', 'degraded', 'unhealthy']),
  database: z.object({ status: z.enum(['connected', 'disconnected']), error: z.string().optional() }),
  workers: z.object({ status: z.enum(['running', 'unavailable']) }),
  service: z.literal('nodebyte-backend'),
  version: z.string(),
  timestamp: IsoDate,
  checks: z.object({ database: Check, workers: Check, api: z.literal('ok').optional() }),
});
const ReadySchema = z.object({
  status: z.enum(['ready', 'not_ready']),
  timestamp: IsoDate,
  checks: z.object({
    database: Check,
    temporal: Check,
    workers: Check.meta({ description: 'Whether a worker polls the task queues' }),
  }),
});

/** The answer of a check; false when it fails or is late. */
const answerWithin = (work: Promise<boolean>, timeoutMs: number): Promise<boolean> =>
  withDeadline(work, timeoutMs).catch(() => false);

/**
 * A check whose answer all callers of a second share, so that no number of callers makes it a burden: these routes have no
 * rate limit, because a late or refused `/health` shows the set-up page to every visitor of the site.
 */
function shared<Of extends object>(check: (of: Of) => Promise<boolean>): (of: Of) => Promise<boolean> {
  const answers = new WeakMap<Of, { at: number; answer: Promise<boolean> }>();
  return (of) => {
    const last = answers.get(of);
    if (last !== undefined && performance.now() - last.at < SHARED_MS) return last.answer;
    const answer = check(of);
    answers.set(of, { at: performance.now(), answer });
    return answer;
  };
}

const databaseAnswers = shared((db: Db) =>
  answerWithin(
    serverVersion(db).then(() => true),
    DATABASE_TIMEOUT_MS,
  ),
);
const engineReachableNow = shared((engine: EngineHealth) =>
  answerWithin(engine.reachable(ENGINE_TIMEOUT_MS), ENGINE_TIMEOUT_MS),
);
const workersPolling = shared((engine: EngineHealth) =>
  answerWithin(engine.workersPolling(ENGINE_TIMEOUT_MS), ENGINE_TIMEOUT_MS),
);

interface EngineAnswer {
  at: number;
  /** The last answer; undefined before the first one. */
  known: boolean | undefined;
  running: Promise<boolean> | undefined;
}
const engineAnswers = new WeakMap<EngineHealth, EngineAnswer>();

/** The first caller waits for the engine. Later ones get the last answer, which is renewed in the background when it is old. */
function engineReachable(engine: EngineHealth): Promise<boolean> {
  const answer = engineAnswers.get(engine) ?? { at: 0, known: undefined, running: undefined };
  engineAnswers.set(engine, answer);
  const age = performance.now() - answer.at;
  if (answer.running === undefined && (answer.known === undefined || age > ENGINE_CACHE_MS)) {
    answer.running = answerWithin(engine.reachable(ENGINE_TIMEOUT_MS), ENGINE_TIMEOUT_MS).then((reachable) => {
      answer.known = reachable;
      answer.at = performance.now();
      answer.running = undefined;
      return reachable;
    });
  }
  const { known, running } = answer;
  if (known !== undefined && age <= ENGINE_STALE_MS) return Promise.resolve(known);
  return running ?? Promise.resolve(known ?? false);
}

const now = (): string => new Date().toISOString();
const check = (good: boolean) => (good ? 'ok' : 'error');

/** The answer of `/health`: the database decides the status, the workflow engine only whether it is degraded. */
function healthReply(version: string, database: boolean, engine: boolean) {
  const common = {
    workers: { status: engine ? 'running' : 'unavailable' },
    service: 'nodebyte-backend',
    version,
    timestamp: now(),
  } as const;
  if (!database) {
    return {
      status: 503,
      body: {
        ...common,
        status: 'unhealthy',
        database: { status: 'disconnected', error: 'The database does not answer' },
        checks: { database: 'error', workers: check(engine) },
      },
    } as const;
  }
  return {
    status: 200,
    body: {
      ...common,
      status: engine ? 'healthy' : 'degraded',
      database: { status: 'connected' },
      checks: { database: 'ok', workers: check(engine), api: 'ok' },
    },
  } as const;
}

export const healthRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/health',
    operationId: 'getHealth',
    summary: 'Health of the service',
    description: '200 while the database answers; `degraded` when only the workflow engine does not.',
    tags,
    auth: 'public',
    responses: { 200: HealthSchema, 503: HealthSchema },
    errors: [],
    async handler({ deps }) {
      const [database, engine] = await Promise.all([databaseAnswers(deps.db), engineReachable(deps.temporal)]);
      return healthReply(deps.version, database, engine);
    },
  }),
  defineRoute({
    method: 'get',
    path: '/health/live',
    operationId: 'getLiveness',
    summary: 'Whether the process answers',
    tags,
    auth: 'public',
    responses: { 200: z.object({ status: z.literal('alive'), timestamp: IsoDate }) },
    errors: [],
    async handler() {
      return { status: 200, body: { status: 'alive', timestamp: now() } };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/health/ready',
    operationId: 'getReadiness',
    summary: 'Whether everything that a sync needs is available',
    tags,
    auth: 'public',
    responses: { 200: ReadySchema, 503: ReadySchema },
    errors: [],
    async handler({ deps }) {
      const [database, temporal, workers] = await Promise.all([
        databaseAnswers(deps.db),
        engineReachableNow(deps.temporal),
        workersPolling(deps.temporal),
      ]);
      const ready = database && temporal && workers;
      const body = {
        timestamp: now(),
        checks: { database: check(database), temporal: check(temporal), workers: check(workers) },
      } as const;
      return ready
        ? { status: 200, body: { ...body, status: 'ready' } }
        : { status: 503, body: { ...body, status: 'not_ready' } };
    },
  }),
];
