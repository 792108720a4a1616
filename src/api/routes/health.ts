/** Health: for the site's guard (2xx while the database answers), for orchestrators (live, ready). */
import { z } from 'zod';
import { withDeadline } from '../../deadline.ts';
import type { Db } from '../../store/db/db.ts';
import { serverVersion } from '../../store/db/server-version.ts';
import type { EngineHealth } from '../context.ts';
import { IsoDate } from '../http/envelopes.ts';
import { defineRoute, type Route } from '../http/route.ts';

const tags = ['Health'];
/** The database has this long to answer; the driver itself would wait 15 s for a connection. */
const DATABASE_TIMEOUT_MS = 2000;
const ENGINE_TIMEOUT_MS = 1000;
/** The site asks before every page: while the engine is away it must not cost each page its timeout. */
const ENGINE_CACHE_MS = 3000;
/** An answer older than this is not shown any more: the caller waits for a new one. */
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
    workers: Check.meta({ description: 'Whether a worker asks for work' }),
  }),
});

/** The answer of a check; false when it fails or is late. */
const answerWithin = (work: Promise<boolean>, timeoutMs: number): Promise<boolean> =>
  withDeadline(work, timeoutMs).catch(() => false);

const databaseAnswers = (db: Db): Promise<boolean> =>
  answerWithin(
    serverVersion(db).then(() => true),
    DATABASE_TIMEOUT_MS,
  );

interface EngineAnswer {
  at: number;
  /** What was last found out; undefined before the first answer. */
  known: boolean | undefined;
  running: Promise<boolean> | undefined;
}
const engineAnswers = new WeakMap<EngineHealth, EngineAnswer>();

/** The first caller waits for the engine; later ones get what is known, and an old answer is renewed behind them. */
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

export const healthRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/health',
    operationId: 'getHealth',
    summary: 'Health of the service',
    description: '200 while the database answers; `degraded` when only the workflow engine is away.',
    tags,
    auth: 'public',
    responses: { 200: HealthSchema, 503: HealthSchema },
    errors: [],
    async handler({ deps }) {
      const [database, workers] = await Promise.all([databaseAnswers(deps.db), engineReachable(deps.temporal)]);
      const common = {
        workers: { status: workers ? ('running' as const) : ('unavailable' as const) },
        service: 'nodebyte-backend' as const,
        version: deps.version,
        timestamp: now(),
      };
      if (!database) {
        return {
          status: 503,
          body: {
            ...common,
            status: 'unhealthy',
            database: { status: 'disconnected', error: 'The database does not answer' },
            checks: { database: 'error', workers: check(workers) },
          },
        };
      }
      return {
        status: 200,
        body: {
          ...common,
          status: workers ? 'healthy' : 'degraded',
          database: { status: 'connected' },
          checks: { database: 'ok', workers: check(workers), api: 'ok' },
        },
      };
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
    summary: 'Whether everything a sync needs is there',
    tags,
    auth: 'public',
    responses: { 200: ReadySchema, 503: ReadySchema },
    errors: [],
    async handler({ deps }) {
      const [database, temporal, workers] = await Promise.all([
        databaseAnswers(deps.db),
        answerWithin(deps.temporal.reachable(ENGINE_TIMEOUT_MS), ENGINE_TIMEOUT_MS),
        answerWithin(deps.temporal.workersPolling(ENGINE_TIMEOUT_MS), ENGINE_TIMEOUT_MS),
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
