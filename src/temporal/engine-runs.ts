/**
 * Runs that only Temporal knows: what schedules started. They are listed by its visibility store, which has them some
 * moments later, and for as long as the namespace keeps ended workflows.
 */
import {
  ScheduleNotFoundError,
  type WorkflowExecutionInfo,
  type WorkflowExecutionStatusName,
} from '@temporalio/client';
import { comparePlaces, type EngineKind, type RunCursor, type RunStatus } from '../domain/runs.ts';
import { AUTO_SYNC_SCHEDULE_ID, FAILURE_MEMO, MAINTENANCE_PREFIX } from '../workflows/contract.ts';
import { grpcCode, NOT_FOUND, type TemporalGateway } from './connection.ts';

/** A workflow that a schedule started. */
export interface EngineRun {
  kind: EngineKind;
  /** Its run id, which is unique. */
  id: string;
  name: string;
  status: RunStatus;
  startedAt: Date;
  endedAt: Date | null;
  at: Date;
  reason: string | null;
  workflowId: string;
  /** Null: no schedule started it. */
  scheduleId: string | null;
}

export interface EngineFilter {
  kinds: readonly EngineKind[];
  status?: RunStatus | undefined;
  after?: RunCursor | undefined;
  limit: number;
}

/** Calls about these runs; each ends within its deadline. @throws errors of the Temporal client. */
export interface EngineRuns {
  /** One page, newest first, beginning after the cursor. */
  list(filter: EngineFilter): Promise<EngineRun[]>;
  /** One run with the reason that is in its history; undefined if Temporal does not have it. */
  find(kind: EngineKind, id: string): Promise<EngineRun | undefined>;
  /** Lets a schedule start its workflow now, unless that runs. @returns false if there is no such schedule. */
  trigger(scheduleId: string): Promise<boolean>;
}

const DEADLINE_MS = 2_000;
const WORKFLOW_TYPE: Record<EngineKind, string> = { 'scheduled-sync': 'scheduledSync', maintenance: 'maintenance' };
/** temporal.api.enums.v1.HistoryEventFilterType: only the last event of a history. */
const CLOSE_EVENT = 2;

const STATUS_OF: Partial<Record<WorkflowExecutionStatusName, RunStatus>> = {
  RUNNING: 'running',
  PAUSED: 'running',
  COMPLETED: 'completed',
  CONTINUED_AS_NEW: 'completed',
  CANCELLED: 'cancelled',
};
/** The words of list filters for the statuses of ended workflows; a status without words has no run of these kinds. */
const ENDED: Partial<Record<RunStatus, string>> = {
  completed: `ExecutionStatus in ('Completed', 'ContinuedAsNew')`,
  failed: `ExecutionStatus in ('Failed', 'TimedOut', 'Terminated')`,
  cancelled: `ExecutionStatus = 'Canceled'`,
};

/** The list filters that together give a page. Temporal sorts open workflows by their start, ended ones by their end. */
function filtersOf({ kinds, status, after }: EngineFilter): string[] {
  const types = `WorkflowType in (${kinds.map((kind) => `'${WORKFLOW_TYPE[kind]}'`).join(', ')})`;
  // A place is cut to milliseconds; what else is in that millisecond is sorted out afterwards.
  const before = (time: string): string =>
    after === undefined ? '' : ` and ${time} < '${new Date(after.at.getTime() + 1).toISOString()}'`;
  const open = `${types} and ExecutionStatus = 'Running'${before('StartTime')}`;
  if (status === 'running') return [open];
  const ended = status === undefined ? `ExecutionStatus != 'Running'` : ENDED[status];
  if (ended === undefined) return [];
  const closed = `${types} and ${ended}${before('CloseTime')}`;
  return status === undefined ? [open, closed] : [closed];
}

function toRun(info: WorkflowExecutionInfo): EngineRun {
  const kind = info.type === WORKFLOW_TYPE['scheduled-sync'] ? 'scheduled-sync' : 'maintenance';
  const status = STATUS_OF[info.status.name] ?? 'failed';
  const scheduleId = info.searchAttributes['TemporalScheduledById']?.[0];
  const reason = info.memo?.[FAILURE_MEMO];
  return {
    kind,
    id: info.runId,
    name: nameOf(kind, typeof scheduleId === 'string' ? scheduleId : info.workflowId),
    status,
    startedAt: info.startTime,
    endedAt: info.closeTime ?? null,
    at: info.closeTime ?? info.startTime,
    reason: status !== 'failed' ? null : typeof reason === 'string' ? reason : (ENDINGS[info.status.name] ?? null),
    workflowId: info.workflowId,
    scheduleId: typeof scheduleId === 'string' ? scheduleId : null,
  };
}

/** Reasons of workflows that could not note one. */
const ENDINGS: Record<string, string> = {
  TERMINATED: 'It was terminated in Temporal',
  TIMED_OUT: 'It timed out',
  FAILED: 'It failed; its history in Temporal says why',
};

/** The job of a maintenance workflow; the workflow id of a schedule's run ends in its time. */
const nameOf = (kind: EngineKind, id: string): string =>
  kind === 'scheduled-sync'
    ? AUTO_SYNC_SCHEDULE_ID
    : id.replace(MAINTENANCE_PREFIX, '').replace(/-\d{4}-\d\d-\d\dT[\d:.]+Z$/, '');

/** The first `limit` workflows of a list filter that come after the cursor. */
async function take(temporal: TemporalGateway, query: string, { after, limit }: EngineFilter): Promise<EngineRun[]> {
  const found: EngineRun[] = [];
  if (limit === 0) return found;
  for await (const info of temporal.client.workflow.list({ query, pageSize: limit + 1 })) {
    const run = toRun(info);
    if (after === undefined || comparePlaces(after, run) < 0) found.push(run);
    if (found.length >= limit) break;
  }
  return found;
}

interface Failure {
  message?: string | null;
  cause?: Failure | null;
}

/** The message of the innermost cause: an outer one only says that an activity failed. */
function innermost(failure: Failure | null | undefined): string | undefined {
  let last = failure;
  for (let depth = 0; last?.cause != null && depth < 20; depth += 1) last = last.cause;
  return last?.message || undefined;
}

/** Why a workflow failed, by the last event of its history. */
async function reasonInHistory(temporal: TemporalGateway, run: EngineRun): Promise<string | undefined> {
  const { history } = await temporal.client.connection.workflowService
    .getWorkflowExecutionHistory({
      namespace: temporal.namespace,
      execution: { workflowId: run.workflowId, runId: run.id },
      historyEventFilterType: CLOSE_EVENT,
    })
    .catch((error: unknown) => {
      // The list still has the workflow, whose history was deleted at the end of its retention.
      if (grpcCode(error) === NOT_FOUND) return { history: undefined };
      throw error;
    });
  const last = history?.events?.at(-1);
  const { workflowExecutionTerminatedEventAttributes: terminated } = last ?? {};
  if (terminated?.reason) return `It was terminated in Temporal: ${terminated.reason}`;
  return innermost(last?.workflowExecutionFailedEventAttributes?.failure);
}

async function find(temporal: TemporalGateway, kind: EngineKind, id: string): Promise<EngineRun | undefined> {
  // The id is a UUID: the caller has checked it.
  const query = `RunId = '${id}' and WorkflowType = '${WORKFLOW_TYPE[kind]}'`;
  const [run] = await take(temporal, query, { kinds: [kind], limit: 1 });
  if (run === undefined || run.status !== 'failed') return run;
  return { ...run, reason: (await reasonInHistory(temporal, run)) ?? run.reason };
}

/** Makes the calls of one process. */
export function createEngineRuns(temporal: TemporalGateway): EngineRuns {
  return {
    list: (filter) =>
      temporal.within(DEADLINE_MS, async () => {
        const lists = await Promise.all(filtersOf(filter).map((query) => take(temporal, query, filter)));
        return lists.flat().sort(comparePlaces).slice(0, filter.limit);
      }),
    find: (kind, id) => temporal.within(DEADLINE_MS, () => find(temporal, kind, id)),
    trigger: (scheduleId) =>
      temporal.within(DEADLINE_MS, async () => {
        try {
          await temporal.client.schedule.getHandle(scheduleId).trigger();
          return true;
        } catch (error) {
          if (error instanceof ScheduleNotFoundError) return false;
          throw error;
        }
      }),
  };
}
