/** Histories of a namespace: what they hold, and whether every workflow task of them succeeded. */
import type { Client } from '@temporalio/client';

/** temporal.api.enums.v1.EventType: EVENT_TYPE_WORKFLOW_TASK_FAILED. */
const WORKFLOW_TASK_FAILED = 9;
/** EVENT_TYPE_WORKFLOW_TASK_COMPLETED. */
const WORKFLOW_TASK_COMPLETED = 7;

export interface RunHistory {
  workflowId: string;
  runId: string;
  type: string;
  status: string;
  events: HistoryEvents;
}
type HistoryEvents = NonNullable<
  Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['fetchHistory']>>['events']
>;

/** Every history of the client's namespace. */
export async function allHistories(client: Client): Promise<RunHistory[]> {
  const result: RunHistory[] = [];
  for await (const run of client.workflow.list()) {
    const history = await client.workflow.getHandle(run.workflowId, run.runId).fetchHistory();
    result.push({
      workflowId: run.workflowId,
      runId: run.runId,
      type: run.type,
      status: run.status.name,
      events: history.events ?? [],
    });
  }
  return result;
}

/**
 * Causes that are the server's own (temporal.api.enums.v1.WorkflowTaskFailedCause): news arrived while the run was ending
 * (UNHANDLED_COMMAND), a task was moved to another worker (RESET_STICKY_TASK_QUEUE), the run was ended or reset from
 * outside while a task of it was under way (FORCE_CLOSE_COMMAND, FAILOVER_CLOSE_COMMAND,
 * RESET_WORKFLOW).
 */
const SERVER_CAUSES: unknown[] = [0, 1, 13, 17, 18, 20];

/**
 * Failures of workflow tasks that speak of the workflow's code: not the mark of a reset (there the old task counts as
 * failed), not a task that is done again because of news.
 */
export function failedTasks(run: Pick<RunHistory, 'events'>): string[] {
  return run.events
    .filter((event) => event.eventType === WORKFLOW_TASK_FAILED)
    .map((event) => event.workflowTaskFailedEventAttributes)
    .filter((failed) => !failed?.newRunId && !SERVER_CAUSES.includes(failed?.cause))
    .map((failed) => failed?.failure?.message ?? `cause ${String(failed?.cause)}`);
}

/** Events at which a history can be reset: ids of its completed workflow tasks. */
export const resetPoints = (run: Pick<RunHistory, 'events'>): number[] =>
  run.events.filter((event) => event.eventType === WORKFLOW_TASK_COMPLETED).map((event) => Number(event.eventId));

/** All text of a value, payloads included, as one string. */
export function textOf(value: unknown): string {
  const parts: string[] = [];
  const walk = (node: unknown): void => {
    if (typeof node === 'string') parts.push(node);
    else if (node instanceof Uint8Array) parts.push(Buffer.from(node).toString('utf8'));
    else if (Array.isArray(node)) for (const item of node) walk(item);
    else if (typeof node === 'object' && node !== null) for (const item of Object.values(node)) walk(item);
  };
  walk(value);
  return parts.join('\n');
}
