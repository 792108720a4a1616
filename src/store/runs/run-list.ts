/** Runs that have a row in the database, in one list: `sync_logs`, `emails`, `webhook_deliveries`, and what the outbox has not handed over. */
import { EMAIL_STATUSES, type EmailStatus, TOKEN_OF_TEMPLATE } from '../../domain/email.ts';
import type { RunCursor, RunKind, RunStatus, StoredKind } from '../../domain/runs.ts';
import { STATUS_SPELLINGS, type SyncStatus } from '../../domain/sync/targets.ts';
import { DELIVERY_STATUSES, type DeliveryStatus } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** A row as it is stored: what it may show is the service's to say. */
export interface StoredRun {
  kind: StoredKind;
  id: string;
  name: string | null;
  status: RunStatus;
  startedAt: Date | null;
  endedAt: Date | null;
  at: Date;
  reason: string | null;
  /** Run id of the workflow, where the row has it. */
  runId: string | null;
  /** Whether what a retry needs is still stored. */
  repeatable: boolean;
  /** Id of the run that repeats this one. */
  retriedAs: string | null;
}

/** What a sync is retried with. */
export interface SyncToRetry {
  target: string;
  status: RunStatus;
  dryRun: boolean;
  skipUsers: boolean;
  /** Id of the run that repeats it, always the same one. */
  retryId: string;
}

const RUN_STATUS_OF: Record<SyncStatus, RunStatus> = {
  PENDING: 'waiting',
  RUNNING: 'running',
  COMPLETED: 'completed',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
};
const SYNC_STATUS = `case upper(l.status) ${Object.entries(STATUS_SPELLINGS)
  .map(([spelling, status]) => `when '${spelling}' then '${RUN_STATUS_OF[status]}'`)
  .join(' ')} else 'failed' end`;

/** The id of a sync's retry follows from the id of the sync, so that a repeated request finds the first one's. */
const RETRY_ID = (id: string): string =>
  `substr(encode(sha256(convert_to('retry:' || ${id}, 'UTF8')), 'hex'), 1, 32)::uuid::text`;

const DRY_RUN = `coalesce((r.options->>'dryRun')::boolean, l.metadata->>'dry_run' = 'true', false)`;
const SKIP_USERS = `coalesce((r.options->>'skipUsers')::boolean, l.metadata->>'skip_users' = 'true', false)`;
/** Plain timestamps hold UTC. */
const utc = (column: string): string => `${column} at time zone 'utc'`;
const list = (words: readonly string[]): string => words.map((word) => `'${word}'`).join(', ');

/** Emails whose link is made again when they are repeated, for an account that is known: their data is not needed. */
const LINK_MADE_AGAIN = `e.user_id is not null and e.template in (${list(Object.keys(TOKEN_OF_TEMPLATE))})`;

const EMAIL_STATUS_OF: Record<EmailStatus, RunStatus> = {
  queued: 'waiting',
  sent: 'completed',
  failed: 'failed',
  skipped: 'skipped',
};
const EMAIL_STATUS = `case e.status ${Object.entries(EMAIL_STATUS_OF)
  .map(([stored, status]) => `when '${stored}' then '${status}'`)
  .join(' ')} else 'failed' end`;

const DELIVERY_STATUS_OF: Record<DeliveryStatus, readonly RunStatus[]> = {
  queued: ['waiting', 'running'],
  delivered: ['completed'],
  failed: ['failed'],
  skipped: ['skipped'],
  cancelled: ['cancelled'],
};
const DELIVERY_STATUS = `case d.status when 'queued' then case when d.started_at is null then 'waiting' else 'running' end
  when 'delivered' then 'completed' else d.status end`;

/** The rows of each kind under the same names, with the places of their conditions. */
const SOURCES: Record<StoredKind, (conditions: string) => string> = {
  sync: (conditions) => `
    select 'sync' as kind, l.id, l.type as name, ${SYNC_STATUS} as status, ${utc('l."startedAt"')} as "startedAt",
      ${utc('l."completedAt"')} as "endedAt", ${utc('coalesce(l."completedAt", l."startedAt")')} as at, l.error as reason,
      r.workflow_run_id as "runId", true as repeatable
    from sync_logs l left join sync_runs r on r.log_id = l.id where ${conditions}`,
  email: (conditions) => `
    select 'email' as kind, e.id::text, e.template as name, ${EMAIL_STATUS} as status, e.created_at as "startedAt",
      case when e.status <> 'queued' then e.updated_at end as "endedAt", e.updated_at as at, e.last_error as reason,
      null as "runId", e.data is not null or (${LINK_MADE_AGAIN}) as repeatable
    from emails e where ${conditions}`,
  // A delivery that was cancelled before its workflow was started has no run.
  webhook: (conditions) => `
    select 'webhook' as kind, d.id::text, d.event as name, ${DELIVERY_STATUS} as status, d.started_at as "startedAt",
      d.ended_at as "endedAt", coalesce(d.ended_at, d.created_at) as at, d.reason, d.run_id as "runId",
      exists (select 1 from discord_webhooks w where w.id = d.webhook_id and w.enabled) as repeatable
    from webhook_deliveries d where ${conditions}`,
  outbox: (conditions) => `
    select 'outbox' as kind, o.id::text, o.kind as name,
      case when o.status = 'failed' or o.last_error is not null then 'failed' else 'waiting' end as status,
      o.created_at as "startedAt", null::timestamptz as "endedAt", o.created_at as at, o.last_error as reason,
      null as "runId", true as repeatable
    from outbox o where o.status in ('pending', 'failed') and ${conditions}`,
};
/** Condition for one row; ids of all others than syncs are UUIDs. */
const BY_ID: Record<StoredKind, string> = {
  sync: 'l.id = ?',
  email: 'e.id = ?::uuid',
  webhook: 'd.id = ?::uuid',
  outbox: 'o.id = ?::uuid',
};

/** Lets an index find the emails and deliveries of a status; the other tables are small. */
function narrowed(kind: StoredKind, status: RunStatus | undefined): string {
  if (status === undefined) return 'true';
  if (kind === 'webhook') {
    const stored = DELIVERY_STATUSES.filter((word) => DELIVERY_STATUS_OF[word].includes(status));
    return `d.status in (${list(stored)})`;
  }
  if (kind !== 'email') return 'true';
  const stored = EMAIL_STATUSES.filter((word) => EMAIL_STATUS_OF[word] === status);
  return stored.length === 0 ? 'false' : `e.status in (${list(stored)})`;
}

/** Places in the list are cut to milliseconds, which is what a cursor holds. */
const ROWS = (sources: readonly string[]): string => `
  select s.kind, s.id, s.name, s.status, s."startedAt", s."endedAt", date_trunc('milliseconds', s.at) as at, s.reason,
    s."runId", s.repeatable
  from (${sources.join(' union all ')}) s`;

/** Adds to the rows of a page which run repeats them. */
const WITH_RETRIES = (page: string): string => `
  select p.kind, p.id, p.name, p.status, p."startedAt", p."endedAt", p.at, p.reason, p."runId", p.repeatable,
    coalesce(l.id, (select e.id::text from emails e where e.resent_from = case when p.kind = 'email' then p.id::uuid end
                    order by e.created_at desc, e.id desc limit 1),
      (select d.id::text from webhook_deliveries d where d.resent_from = case when p.kind = 'webhook' then p.id::uuid end
       order by d.created_at desc, d.id desc limit 1)) as "retriedAs"
  from (${page}) p
  left join sync_logs l on p.kind = 'sync' and l.id = ${RETRY_ID('p.id')}`;

const ORDER = (alias: string): string => `${alias}.at desc, ${alias}.kind collate "C", ${alias}.id collate "C"`;

/** One page of runs, newest first, beginning after the cursor. */
export function listStoredRuns(
  db: Db,
  filter: {
    kinds: readonly StoredKind[];
    status?: RunStatus | undefined;
    after?: RunCursor | undefined;
    limit: number;
  },
): Promise<StoredRun[]> {
  const { kinds, status, after, limit } = filter;
  if (kinds.length === 0) return Promise.resolve([]);
  const conditions = [
    ...(status === undefined ? [] : ['q.status = ?']),
    ...(after === undefined
      ? []
      : ['q.at <= ? and (q.at < ? or (q.kind collate "C", q.id collate "C") > (?::text, ?::text))']),
  ];
  const sources = kinds.map((kind) => SOURCES[kind](narrowed(kind, status)));
  const where = conditions.length === 0 ? '' : `where ${conditions.join(' and ')}`;
  const at = after?.at.toISOString();
  return query<StoredRun>(
    db,
    `${WITH_RETRIES(`select q.* from (${ROWS(sources)}) q ${where} order by ${ORDER('q')} limit ?`)} order by ${ORDER('p')}`,
    [...(status === undefined ? [] : [status]), ...(after === undefined ? [] : [at, at, after.kind, after.id]), limit],
  );
}

/** One run; undefined if it does not exist, or is not of this kind. */
export async function findStoredRun(db: Db, kind: StoredKind, id: string): Promise<StoredRun | undefined> {
  const [row] = await query<StoredRun>(db, WITH_RETRIES(ROWS([SOURCES[kind](BY_ID[kind])])), [id]);
  return row;
}

/** What a sync is requested again with; undefined if it does not exist. */
export async function findSyncToRetry(db: Db, id: string): Promise<SyncToRetry | undefined> {
  const [row] = await query<SyncToRetry>(
    db,
    `select l.type as target, ${SYNC_STATUS} as status, ${DRY_RUN} as "dryRun", ${SKIP_USERS} as "skipUsers",
       ${RETRY_ID('l.id')} as "retryId"
     from sync_logs l left join sync_runs r on r.log_id = l.id where l.id = ?`,
    [id],
  );
  return row;
}

/** Lets the retries of one run wait for each other until the transaction ends. */
export async function lockRetry(trx: Db, run: { kind: RunKind; id: string }): Promise<void> {
  await query(trx, `select pg_advisory_xact_lock(hashtextextended('retry:' || ?::text, 0))`, [`${run.kind}:${run.id}`]);
}
