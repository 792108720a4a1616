/** `/api/v1/webhook/dispatch`: an event that another program sends to webhooks. */
import { z } from 'zod';
import type { EventData } from '../../domain/events.ts';
import { dispatchEvent } from '../../services/webhooks/dispatch-event.ts';
import { deliverWebhookId } from '../../workflows/contract.ts';
import { changedBy } from '../context.ts';
import { Count, envelope, ok } from '../http/envelopes.ts';
import { BodyText, documentedAs } from '../http/fields.ts';
import { byAddress, byUser } from '../http/limits.ts';
import { defineRoute, type Route } from '../http/route.ts';

export const dispatchRoutes: Route[] = [
  defineRoute({
    method: 'post',
    path: '/api/v1/webhook/dispatch',
    operationId: 'dispatchEvent',
    summary: 'Send an event to webhooks',
    description:
      'Queues one delivery for each webhook that is switched on and receives the event: its type takes it (unless `webhook_dispatch_all` is on, then every type does), and its scope may. Texts of the data appear in the message, other values do not; lists and objects are not kept. A repeated request sends the event again.',
    tags: ['Webhooks'],
    auth: 'apiKeyOrAdmin',
    limits: [
      { name: 'webhook-dispatch', max: 60, windowSeconds: 3600, by: byUser },
      { name: 'webhook-dispatch-address', max: 600, windowSeconds: 600, by: byAddress },
    ],
    invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
    body: z.object({
      event: BodyText.meta({ description: 'Name of the event, such as `support.ticket_created`' }),
      data: z
        // Not z.json(): it fails on deep values, and none of those is kept. JSON has no other values than EventData.
        .record(z.string(), z.unknown())
        .nullish()
        .transform((data) => (data ?? {}) as EventData)
        .meta({ description: 'What the event tells', ...documentedAs({ type: 'object', additionalProperties: true }) }),
    }),
    responses: {
      202: envelope(
        z.object({
          dispatched: Count.meta({ description: 'Number of webhooks that receive it' }),
          task_ids: z.array(z.string()).meta({ description: 'Ids of the workflows that deliver it' }),
        }),
      ),
    },
    errors: [],
    failureMessage: 'Failed to fetch webhooks',
    audit: 'webhook-dispatched',
    async handler({ input: { body }, deps, ...call }) {
      const ids = await dispatchEvent(deps, body, changedBy(call));
      const data = { dispatched: ids.length, task_ids: ids.map(deliverWebhookId) };
      return { status: 202, body: ok(data, 'Webhooks have been queued') };
    },
  }),
];
