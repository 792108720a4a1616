/** `/api/admin/webhook-deliveries*`: what was sent to webhooks, what waits and why, and what failed. */
import { z } from 'zod';
import { shownReason } from '../../../domain/runs.ts';
import { ATTEMPT_OUTCOMES, DELIVERY_STATUSES } from '../../../domain/webhooks.ts';
import { cancelDelivery } from '../../../services/webhooks/cancel-delivery.ts';
import {
  requireDeliveryId,
  resendDelivery,
  resendObstacle,
  unknownDelivery,
} from '../../../services/webhooks/resend-delivery.ts';
import {
  type AttemptRow,
  countDeliveries,
  type DeliveryRow,
  findDeliveryRow,
  listAttempts,
  listDeliveries,
} from '../../../store/webhooks/delivery-list.ts';
import { deliverWebhookId } from '../../../workflows/contract.ts';
import { changedBy, type Services } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { clampedInteger, PageNumber, PathId, searchText, wordFilter } from '../../http/fields.ts';
import { isoOrNull, Pagination, paginationOf, rowsOf } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';

const PATH = '/api/admin/webhook-deliveries';
const area = { tags: ['Admin: webhook deliveries'], auth: 'admin' } as const;
const ORIGINS = ['service', 'request'] as const;

const WaitSchema = z.object({
  for: z
    .enum(['pause', 'older-delivery', 'attempt'])
    .meta({ description: '`attempt`: its own next one, which comes by itself' }),
  reason: z.string().nullable(),
  until: IsoDate.nullable().meta({ description: 'End of the pause' }),
  deliveryId: z.string().nullable().meta({ description: 'The oldest delivery of its webhook, which goes first' }),
});

const DeliverySchema = z
  .object({
    id: z.string(),
    webhook: z.object({
      id: z.string(),
      name: z.string(),
      exists: z.boolean().meta({ description: 'false: it was deleted' }),
      enabled: z.boolean(),
    }),
    event: z.string(),
    origin: z.enum(ORIGINS).meta({ description: '`request`: a program or an administrator requested it' }),
    status: z.enum(DELIVERY_STATUSES),
    reason: z.string().nullable().meta({ description: 'Why it waits, or ended as it did' }),
    attempts: Count,
    createdAt: IsoDate,
    occurredAt: IsoDate.meta({ description: 'When the event happened' }),
    startedAt: IsoDate.nullable(),
    endedAt: IsoDate.nullable(),
    givesUpAt: IsoDate.meta({ description: 'When it fails if it has not arrived' }),
    resentFrom: z.string().nullable().meta({ description: 'Id of the delivery that this one repeats' }),
    resentAs: z.string().nullable().meta({ description: 'Id of the latest delivery that repeats this one' }),
    waitingFor: WaitSchema.nullable().meta({ description: 'null: it does not wait' }),
    resend: z.object({
      possible: z.boolean(),
      obstacle: z.string().nullable().meta({ description: 'Why it is not possible' }),
    }),
    link: z.string().nullable().meta({
      description: 'Page of its workflow in the Temporal UI; null without TEMPORAL_UI_URL, or before its start',
    }),
  })
  .meta({ id: 'WebhookDelivery', description: 'A message for a webhook and its status' });

const AttemptSchema = z
  .object({
    id: z.string(),
    number: z.int(),
    startedAt: IsoDate,
    endedAt: IsoDate.nullable(),
    outcome: z.enum(ATTEMPT_OUTCOMES).meta({
      description: '`lost`: no answer came, so the message may have arrived. `limited`: Discord asked to wait',
    }),
    httpStatus: z.int().nullable(),
    discordCode: z.int().nullable().meta({ description: 'Error code of Discord' }),
    detail: z.string().nullable(),
  })
  .meta({ id: 'WebhookAttempt', description: 'One request to a webhook' });

function waitOf(row: DeliveryRow): z.input<typeof WaitSchema> | null {
  if (row.status !== 'queued') return null;
  if (row.olderId !== null) return { for: 'older-delivery', reason: null, until: null, deliveryId: row.olderId };
  if (row.pausedUntil !== null) {
    const until = row.pausedUntil.toISOString();
    return { for: 'pause', reason: shownReason(row.pauseReason), until, deliveryId: null };
  }
  return { for: 'attempt', reason: shownReason(row.reason), until: null, deliveryId: null };
}

function toWireDelivery(row: DeliveryRow, { runs }: Pick<Services, 'runs'>): z.input<typeof DeliverySchema> {
  const obstacle = row.status === 'queued' ? 'It has not ended' : resendObstacle(row);
  return {
    id: row.id,
    webhook: { id: row.webhookId, name: row.webhookName, exists: row.webhookExists, enabled: row.webhookEnabled },
    event: row.event,
    origin: row.origin,
    status: row.status,
    reason: shownReason(row.reason),
    attempts: row.attempts,
    createdAt: row.createdAt.toISOString(),
    occurredAt: row.occurredAt.toISOString(),
    startedAt: isoOrNull(row.startedAt),
    endedAt: isoOrNull(row.endedAt),
    givesUpAt: row.givesUpAt.toISOString(),
    resentFrom: row.resentFrom,
    resentAs: row.resentAs,
    waitingFor: waitOf(row),
    resend: { possible: obstacle === null, obstacle },
    link: runs.linkOf({ workflowId: row.startedAt === null ? null : deliverWebhookId(row.id), runId: row.runId }),
  };
}

const toWireAttempt = (row: AttemptRow): z.input<typeof AttemptSchema> => ({
  ...row,
  startedAt: row.startedAt.toISOString(),
  endedAt: isoOrNull(row.endedAt),
  detail: shownReason(row.detail),
});

/** A delivery with its attempts and data. @throws {AppError} NOT_FOUND */
async function readDelivery(deps: Services, id: string) {
  const row = await findDeliveryRow(deps.db, id);
  if (row === undefined) throw unknownDelivery();
  const attempts = await listAttempts(deps.db, id);
  return { ...toWireDelivery(row, deps), data: { ...row.data }, history: attempts.map(toWireAttempt) };
}

export const webhookDeliveryRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: PATH,
    operationId: 'listWebhookDeliveries',
    summary: 'Deliveries to webhooks, newest first',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }),
      status: wordFilter(DELIVERY_STATUSES, 'Other words do not filter'),
      webhookId: searchText('Id of the webhook'),
      event: searchText('Begin of the name of the event, e.g. `server.`'),
      origin: wordFilter(ORIGINS, 'Other words do not filter'),
      search: searchText('Part of the names of webhook and event, or of the reason, in any case'),
    }),
    responses: {
      200: z.object({ success: z.literal(true), deliveries: z.array(DeliverySchema), pagination: Pagination }),
    },
    errors: [],
    failureMessage: 'Failed to fetch webhook deliveries',
    async handler({ input: { query }, deps }) {
      const { page, pageSize, ...filter } = query;
      const total = await deps.totals.of('deliveries', filter, () => countDeliveries(deps.db, filter));
      const rows = await listDeliveries(deps.db, { ...filter, ...rowsOf({ page, pageSize }) });
      const deliveries = rows.map((row) => toWireDelivery(row, deps));
      return { status: 200, body: { success: true, deliveries, pagination: paginationOf({ page, pageSize }, total) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: `${PATH}/:id`,
    operationId: 'getWebhookDelivery',
    summary: 'One delivery, with its attempts and what the event tells, which can name persons',
    params: PathId,
    responses: {
      200: z.object({
        success: z.literal(true),
        delivery: DeliverySchema.extend({ data: z.record(z.string(), z.unknown()), history: z.array(AttemptSchema) }),
      }),
    },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch webhook delivery',
    async handler({ input, deps }) {
      return {
        status: 200,
        body: { success: true, delivery: await readDelivery(deps, requireDeliveryId(input.params.id)) },
      };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${PATH}/:id/resend`,
    operationId: 'resendWebhookDelivery',
    summary: 'Send the message of an ended delivery again',
    description:
      'It is a new delivery, the last one of its webhook, with 24 hours from now. A second request within ten seconds is answered alike.',
    params: PathId,
    responses: { 202: z.object({ success: z.literal(true), message: z.string(), deliveryId: z.string() }) },
    errors: ['NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to resend webhook delivery',
    audit: 'webhook-resent',
    async handler({ input, deps, ...call }) {
      const { id: deliveryId } = await resendDelivery(deps, requireDeliveryId(input.params.id), changedBy(call));
      return { status: 202, body: { success: true, message: 'The message is sent again', deliveryId } };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: `${PATH}/:id/cancel`,
    operationId: 'cancelWebhookDelivery',
    summary: 'Cancel a delivery that waits',
    description: 'A message that is on its way may still arrive; then the delivery counts as delivered.',
    params: PathId,
    responses: { 200: z.object({ success: z.literal(true), message: z.string() }) },
    errors: ['NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to cancel webhook delivery',
    audit: 'webhook-cancelled',
    async handler({ input, deps, ...call }) {
      await cancelDelivery(deps, requireDeliveryId(input.params.id), changedBy(call));
      return { status: 200, body: { success: true, message: 'The delivery is cancelled' } };
    },
  }),
];
