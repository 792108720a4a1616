/** `/api/v1/queues/stats`: what waits, runs and failed in the task queues. */
import { z } from 'zod';
import { Count, envelope, ok } from '../http/envelopes.ts';
import { defineRoute, type Route } from '../http/route.ts';

/** The queues of the service before this one. Existing programs read this list. */
const FORMER_QUEUES = ['critical', 'default', 'low'];

const NOTE = 'The figures are in stats; queues lists the names of the former service';
const UNKNOWN_NOTE = 'Temporal cannot be reached, or did not give every figure: those that are null are not known';

const QueueSchema = z
  .object({
    open: Count.nullable().meta({ description: 'The same as `running`: Temporal calls such a workflow open' }),
    running: Count.nullable().meta({ description: 'Workflows that have not ended' }),
    failed: Count.nullable().meta({
      description: 'Workflows that failed, timed out or were terminated, as long as Temporal keeps them',
    }),
    backlog: Count.nullable().meta({ description: 'Tasks that wait for a worker; approximate, some seconds old' }),
    backlogAgeSeconds: Count.nullable().meta({ description: 'Seconds for which the oldest of them waits' }),
    pollers: z
      .object({ workflow: Count, activity: Count })
      .nullable()
      .meta({ description: 'Workers that polled within the last 70 seconds, by what they take' }),
  })
  .meta({ id: 'QueueFigures', description: 'Figures of one task queue; null where Temporal did not say it' });

export const queueRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/api/v1/queues/stats',
    operationId: 'getQueueStats',
    summary: 'What waits, runs and failed in the task queues',
    description:
      'Of Temporal, at most a second old. All workflows run on `core`; a sync counts for `panel`, an email for `outbound`, a delivery for `webhooks`, a Hytale login, account or session for `hytale` too. Answers within three seconds: when Temporal cannot be reached, the figures are null and `note` says so.',
    tags: ['Queues'],
    auth: 'apiKeyOrAdmin',
    responses: {
      200: envelope(
        z.object({
          queues: z.array(z.string()).meta({ description: 'Names of the former queues, for existing programs' }),
          stats: z.object({
            core: QueueSchema,
            panel: QueueSchema,
            outbound: QueueSchema,
            webhooks: QueueSchema,
            hytale: QueueSchema,
          }),
          note: z.string(),
        }),
      ),
    },
    errors: [],
    failureMessage: 'Failed to fetch queue statistics',
    async handler({ deps }) {
      const { core, panel, outbound, webhooks, hytale } = await deps.queues.read();
      const unknown = [core, panel, outbound, webhooks, hytale].some((queue) => Object.values(queue).includes(null));
      const open = <Q extends { running: number | null }>(queue: Q) => ({ ...queue, open: queue.running });
      const stats = {
        core: open(core),
        panel: open(panel),
        outbound: open(outbound),
        webhooks: open(webhooks),
        hytale: open(hytale),
      };
      const data = { queues: FORMER_QUEUES.slice(), stats, note: unknown ? UNKNOWN_NOTE : NOTE };
      return { status: 200, body: ok(data) };
    },
  }),
];
