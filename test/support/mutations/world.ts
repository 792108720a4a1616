/** What the recipes of test/api/audit/every-mutation.test.ts work with: an api, its database, and a caller who may do everything. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { createSyncLauncher } from '../../../src/services/sync/launcher.ts';
import { query } from '../../../src/store/db/query.ts';
import type { TemporalGateway } from '../../../src/temporal/connection.ts';
import { bearer, type Harness, makeUser, startHarness } from '../api/harness.ts';
import { fakeVerifier } from '../api/hytale.ts';
import { createTestDatabase, type TestDatabase } from '../database.ts';
import { hytaleAtOnce } from './hytale.ts';

export interface World {
  harness: Harness;
  database: TestDatabase;
  /** For commands on the schema and on an installation without accounts. */
  second: TestDatabase;
  /** A system administrator. */
  admin: { id: string; email: string; token: string };
  /** Workflows that were started. */
  started: unknown[];
  /** Every answer, for the search for secrets. */
  answers: string[];
  close(): Promise<void>;
}

/** An event as the recipes are compared with it. */
export interface RecordedEvent {
  action: string;
  outcome: string;
  actorType: string;
  actorId: string | null;
  network: string | null;
  requestId: string | null;
}

export async function createWorld(): Promise<World> {
  const [database, second] = await Promise.all([createTestDatabase(), createTestDatabase({ max: 2 })]);
  const started: unknown[] = [];
  const temporal = {
    namespace: 'none',
    within: (_timeoutMs: number, work: () => Promise<unknown>) => work(),
    client: {
      workflow: {
        async start(...given: unknown[]) {
          started.push(given);
          return { firstExecutionRunId: 'run' };
        },
        getHandle: () => ({ cancel: async () => undefined }),
      },
    },
  } as unknown as TemporalGateway;
  const log = pino({ level: 'silent' });
  const harness = await startHarness({
    database,
    launcher: createSyncLauncher({ db: database.db, temporal, log }),
    deps: {
      hytale: hytaleAtOnce(database.db),
      tokenVerifier: fakeVerifier({
        verify: async () => ({ state: 'invalid', code: 'INVALID_TOKEN', detail: 'wrong' }),
      }),
    },
  });
  await Promise.all([database, second].map(installRefusals));
  return {
    harness,
    database,
    second,
    admin: await makeUser(harness, { isSystemAdmin: true, roles: ['SUPER_ADMIN'], email: 'root@example.com' }),
    started,
    answers: [],
    async close() {
      await harness.close();
      await Promise.all([database.drop(), second.drop()]);
    },
  };
}

/** Sends a request as the system administrator, unless it has headers of its own, and keeps the answer. */
export async function send(world: World, { path, method, body, headers }: ApiRequest): Promise<Response> {
  // The limits are not what is tested.
  await query(world.database.db, 'delete from rate_limits');
  const response = await fetch(`${world.harness.url}${path}`, {
    method: method.toUpperCase(),
    headers: {
      ...(headers ?? bearer(world.admin.token)),
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  world.answers.push(`${method} ${path} ${response.status} ${text}`);
  return new Response(text, response);
}

export interface ApiRequest {
  path: string;
  method: string;
  body?: unknown;
  headers?: Record<string, string>;
}

/** What a test can make the database refuse: every event, or the commit of a transaction that changed anything else. */
export type Refusal = 'event' | 'commit';

/** Prepares the triggers that refuse while {@link refusing} says so. */
const installRefusals = (database: TestDatabase): Promise<unknown> =>
  database.db.raw(`
    create table refusals (what text not null);
    create function refuse_event() returns trigger language plpgsql as $$
      begin
        if exists (select 1 from refusals where what = 'event') then raise exception 'refused: the event %', new.action; end if;
        return new;
      end $$;
    create trigger refuse_event before insert on audit_events for each row execute function refuse_event();
    create function refuse_commit() returns trigger language plpgsql as $$
      begin
        if exists (select 1 from refusals where what = 'commit') then raise exception 'refused: the commit'; end if;
        return null;
      end $$;
    do $$ declare one text; begin
      for one in select tablename from pg_tables
        where schemaname = 'public' and not (tablename = any('{${[...IGNORED].join(',')}}'::text[])) loop
        execute format('create constraint trigger refuse_commit after insert or update or delete on %I
          deferrable initially deferred for each row execute function refuse_commit()', one);
      end loop;
    end $$`);

/** Runs `work` while the database refuses this. */
export async function refusing<T>({ db }: TestDatabase, what: Refusal, work: () => Promise<T>): Promise<T> {
  await query(db, 'insert into refusals values (?)', [what]);
  try {
    return await work();
  } finally {
    await query(db, 'delete from refusals');
  }
}

/** Tables that are no state of the product: counters, a lock, and the audit itself. */
const IGNORED = ['rate_limits', 'audit_events', 'nodebyte_migrations_lock', 'refusals'];

/** A digest of the rows of every table. */
export async function stateOf({ db }: Pick<TestDatabase, 'db'>): Promise<Record<string, string>> {
  const tables = await query<{ name: string }>(
    db,
    `select tablename as name from pg_tables where schemaname = 'public' and not (tablename = any(?::text[]))`,
    [IGNORED],
  );
  const digests = await query<{ name: string; digest: string }>(
    db,
    tables
      .map(
        () =>
          `select ?::text as name, coalesce(md5(string_agg(md5(t::text), '' order by t::text)), '') as digest from ?? t`,
      )
      .join(' union all '),
    tables.flatMap(({ name }) => [name, name]),
  );
  return Object.fromEntries(digests.map(({ name, digest }) => [name, digest]));
}

/** The events since a position, oldest first. */
export function eventsSince({ db }: Pick<TestDatabase, 'db'>, id: string): Promise<RecordedEvent[]> {
  return query<RecordedEvent>(
    db,
    `select a.action, a.outcome, a.actor_type as "actorType", a.actor_id as "actorId", a.network, a.request_id as "requestId"
       from audit_events a where a.id > ?::bigint order by a.id`,
    [id],
  );
}

/** The position of the newest event. */
export async function lastEvent({ db }: Pick<TestDatabase, 'db'>): Promise<string> {
  const [row] = await query<{ id: string }>(db, 'select coalesce(max(a.id), 0)::text as id from audit_events a');
  return row?.id ?? '0';
}

/** Ends every sync, so that another can be requested. */
export const endSyncs = (world: World): Promise<unknown> =>
  query(world.database.db, `update sync_logs set status = 'CANCELLED' where status in ('PENDING', 'RUNNING')`);

/** The active sync. @returns its id. */
export async function activeSync(world: World, status: 'PENDING' | 'RUNNING'): Promise<string> {
  await endSyncs(world);
  const id = randomUUID();
  await query(world.database.db, `insert into sync_logs (id, type, status) values (?, 'full', ?)`, [id, status]);
  return id;
}
