/** Figures of the task queues, as Temporal knows them. */
import { QUEUE } from '../workflows/contract.ts';
import { livePollers, TASK_QUEUE_TYPE, type TemporalGateway } from './connection.ts';

/** Number of workers that polled a queue lately, by what they take. */
interface Pollers {
  workflow: number;
  activity: number;
}

/** Figures of one queue; null where Temporal did not say it. */
export interface QueueFigures {
  /** Workflows that have not ended and whose work goes through the queue. */
  running: number | null;
  /** Those that failed, timed out or were terminated, as long as Temporal keeps them. */
  failed: number | null;
  /** Tasks that wait for a worker, approximately. */
  backlog: number | null;
  /** Seconds for which the oldest of them waits. */
  backlogAgeSeconds: number | null;
  pollers: Pollers | null;
}
type QueueName = keyof typeof QUEUE;
export type AllQueueFigures = Record<QueueName, QueueFigures>;

/** The figures when Temporal says nothing. */
export const NO_FIGURES: QueueFigures = {
  running: null,
  failed: null,
  backlog: null,
  backlogAgeSeconds: null,
  pollers: null,
};

/** The workflows whose work goes through a queue. All workflows run on `core`; the others carry activities only. */
const WORKFLOWS: Record<QueueName, string> = {
  core: `TaskQueue = '${QUEUE.core}'`,
  panel: `WorkflowType = 'panelSync'`,
  outbound: `WorkflowType = 'sendEmail'`,
  webhooks: `WorkflowType = 'deliverWebhook'`,
  hytale: `WorkflowType in ('hytaleLogin', 'hytaleAccount', 'hytaleSession')`,
};
const COUNTED = `ExecutionStatus in ('Running', 'Failed', 'TimedOut', 'Terminated') group by ExecutionStatus`;

type Description = Awaited<ReturnType<typeof describe>>;

/** Describes one kind of tasks of a queue. */
async function describe(temporal: TemporalGateway, name: string, type: keyof typeof TASK_QUEUE_TYPE) {
  const queue = await temporal.client.connection.workflowService.describeTaskQueue({
    namespace: temporal.namespace,
    taskQueue: { name },
    taskQueueType: TASK_QUEUE_TYPE[type],
    reportStats: true,
    reportPollers: true,
  });
  const { stats } = queue;
  return {
    // A server before 1.25 has no statistics.
    backlog: stats == null ? null : Number(stats.approximateBacklogCount ?? 0),
    ageSeconds: stats == null ? null : Number(stats.approximateBacklogAge?.seconds ?? 0),
    pollers: livePollers(queue),
  };
}

async function countWorkflows(temporal: TemporalGateway, queue: QueueName) {
  const { groups } = await temporal.client.workflow.count(`${WORKFLOWS[queue]} and ${COUNTED}`);
  let running = 0;
  let failed = 0;
  for (const { count, groupValues } of groups) {
    if (String(groupValues[0]) === 'Running') running += count;
    else failed += count;
  }
  return { running, failed };
}

const sum = (a: number | null | undefined, b: number | null | undefined): number | null =>
  a == null || b == null ? null : a + b;

function figures(
  counts: { running: number; failed: number } | undefined,
  workflow: Description | undefined,
  activity: Description | undefined,
): QueueFigures {
  const backlog = sum(workflow?.backlog, activity?.backlog);
  return {
    running: counts?.running ?? null,
    failed: counts?.failed ?? null,
    backlog,
    backlogAgeSeconds: backlog === null ? null : Math.max(workflow?.ageSeconds ?? 0, activity?.ageSeconds ?? 0),
    pollers:
      workflow === undefined || activity === undefined
        ? null
        : { workflow: workflow.pollers, activity: activity.pollers },
  };
}

/** Reads the figures of all queues, with all calls at once. Never throws: a figure that cannot be had is null. */
export async function readTaskQueues(temporal: TemporalGateway, timeoutMs: number): Promise<AllQueueFigures> {
  const orNothing = <T>(work: Promise<T>): Promise<T | undefined> => work.catch(() => undefined);
  const names = Object.keys(QUEUE) as QueueName[];
  const entries = await temporal.within(timeoutMs, () =>
    Promise.all(
      names.map(async (name): Promise<[QueueName, QueueFigures]> => {
        const [counts, workflow, activity] = await Promise.all([
          orNothing(countWorkflows(temporal, name)),
          orNothing(describe(temporal, QUEUE[name], 'workflow')),
          orNothing(describe(temporal, QUEUE[name], 'activity')),
        ]);
        return [name, figures(counts, workflow, activity)];
      }),
    ),
  );
  return Object.fromEntries(entries) as AllQueueFigures;
}
