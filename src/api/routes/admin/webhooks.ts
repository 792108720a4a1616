/** `/api/admin/settings/webhooks*`: the Discord webhooks. */
import { z } from 'zod';
import { isSystemAdministrator } from '../../../domain/accounts/roles.ts';
import { AppError } from '../../../domain/errors.ts';
import { webhookTestMessage } from '../../../messages/discord/test-message.ts';
import {
  changeWebhook,
  createWebhook,
  removeWebhook,
  requireWebhook,
  type SavedWebhook,
  type WebhookEditor,
} from '../../../services/webhooks/manage-webhooks.ts';
import { testWebhook } from '../../../services/webhooks/test-webhook.ts';
import { changedBy, type Services, userOf } from '../../context.ts';
import { OptionalText, PathId, queryText } from '../../http/fields.ts';
import { byUser, type LimitRule } from '../../http/limits.ts';
import { type Call, defineRoute, type Route } from '../../http/route.ts';
import { ChangedWebhook, NewWebhook, toWebhook, WebhookSchema } from './webhook-shapes.ts';

const PATH = '/api/admin/settings/webhooks';
const area = {
  tags: ['Admin: settings'],
  auth: 'admin',
  invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
} as const;
/** As on the settings page: the site sends whole forms. */
const BODY_LIMIT_BYTES = 1024 * 1024;
const SYSTEM_ONLY = 'Needs a system administrator.';

/** Each of these asks Discord, or sends to it. */
const SAVES: LimitRule = { name: 'webhook-save', max: 60, windowSeconds: 600, by: byUser };
const TESTS: LimitRule = { name: 'webhook-test', max: 20, windowSeconds: 600, by: byUser };

const Warnings = z.array(z.string()).meta({ description: 'What the administrator should know; the webhook was saved' });
const Done = z.object({ success: z.literal(true), message: z.string() });
const One = z.object({ success: z.literal(true), webhook: WebhookSchema });
const Saved = { webhook: WebhookSchema, warnings: Warnings };

const editorOf = (call: Pick<Call<unknown, unknown, unknown>, 'caller' | 'origin'>): WebhookEditor => ({
  isSystemAdministrator: isSystemAdministrator(userOf(call.caller)),
  by: changedBy(call),
});
const toSaved = ({ webhook, warnings }: SavedWebhook, deps: Services) => ({
  webhook: toWebhook(webhook, deps.webhookUrlRules),
  warnings,
});

/** Where the id of a webhook can stand. */
interface IdInput {
  params: { id: string } | undefined;
  query: { id: string } | undefined;
  body: { id?: string | null | undefined };
}
/** @throws {AppError} VALIDATION_ERROR when it stands nowhere: then nothing is done. */
function readId({ params, query, body }: IdInput): string {
  const id = params?.id ?? ((body.id ?? '').trim() || query?.id.trim());
  if (id === undefined || id === '') throw new AppError('VALIDATION_ERROR', { publicMessage: 'id is required' });
  return id;
}

/** The same route without and with the id in its path. */
interface Variant {
  path: string;
  params?: z.ZodType<{ id: string }>;
  query?: z.ZodType<{ id: string }>;
}
const byBody: Variant = { path: PATH, query: z.object({ id: queryText({ description: 'When the body has none' }) }) };
const byPath: Variant = { path: `${PATH}/:id`, params: PathId };

const changeRoute = (operationId: string, variant: Variant): Route =>
  defineRoute({
    ...area,
    ...variant,
    method: 'put',
    operationId,
    summary: 'Change a webhook',
    description: `Only fields that differ are changed. A blank description is cleared; other blank fields, and the URL as it is shown, stay. A new URL is checked at Discord first, without a message. Switching off skips the deliveries that wait; switching on sends none of them. ${SYSTEM_ONLY}`,
    audit: 'webhook-changed',
    limits: [SAVES],
    bodyLimitBytes: BODY_LIMIT_BYTES,
    body: ChangedWebhook,
    responses: { 200: Done.extend(Saved) },
    errors: ['FORBIDDEN', 'NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to update webhook',
    async handler(call) {
      const { deps, input } = call;
      const saved = await changeWebhook(deps, readId(input), input.body, editorOf(call));
      return { status: 200, body: { success: true, message: 'Webhook updated', ...toSaved(saved, deps) } };
    },
  });

const testRoute = (operationId: string, variant: Variant): Route =>
  defineRoute({
    ...area,
    ...variant,
    method: 'patch',
    operationId,
    summary: 'Test a webhook: send a message to it',
    description:
      'Any 2xx of Discord is a success. The message counts towards the limits of Discord, so during a pause nothing is sent (503 with Retry-After). A webhook that Discord does not know any more is switched off.',
    audit: 'webhook-tested',
    limits: [TESTS],
    body: z.object({ id: OptionalText }),
    responses: { 200: Done },
    errors: ['NOT_FOUND', 'CONFLICT', 'BAD_GATEWAY', 'SERVICE_UNAVAILABLE'],
    failureMessage: 'Failed to test webhook',
    async handler(call) {
      await testWebhook(call.deps, readId(call.input), webhookTestMessage(new Date()), changedBy(call));
      return { status: 200, body: { success: true, message: 'Webhook test successful' } };
    },
  });

const removeRoute = (operationId: string, variant: Variant): Route =>
  defineRoute({
    ...area,
    ...variant,
    method: 'delete',
    operationId,
    summary: 'Delete a webhook',
    description: `The deliveries that wait are skipped. Without an id nothing is deleted. ${SYSTEM_ONLY}`,
    audit: 'webhook-deleted',
    body: z.object({ id: OptionalText }),
    responses: { 200: Done },
    errors: ['FORBIDDEN', 'NOT_FOUND'],
    failureMessage: 'Failed to delete webhook',
    async handler(call) {
      await removeWebhook(call.deps, readId(call.input), editorOf(call));
      return { status: 200, body: { success: true, message: 'Webhook deleted' } };
    },
  });

export const webhookRoutes: Route[] = [
  defineRoute({
    ...area,
    method: 'get',
    path: PATH,
    operationId: 'listWebhooks',
    summary: 'The Discord webhooks, newest first',
    responses: { 200: z.object({ success: z.literal(true), webhooks: z.array(WebhookSchema) }) },
    errors: [],
    failureMessage: 'Failed to fetch webhooks',
    async handler({ deps }) {
      const webhooks = await deps.webhooks.list(deps.db);
      return {
        status: 200,
        body: { success: true, webhooks: webhooks.map((webhook) => toWebhook(webhook, deps.webhookUrlRules)) },
      };
    },
  }),
  defineRoute({
    ...area,
    method: 'get',
    path: `${PATH}/:id`,
    operationId: 'getWebhook',
    summary: 'One webhook',
    params: PathId,
    responses: { 200: One },
    errors: ['NOT_FOUND'],
    failureMessage: 'Failed to fetch webhook',
    async handler({ deps, input }) {
      const webhook = await requireWebhook(deps.webhooks, deps.db, input.params.id);
      return { status: 200, body: { success: true, webhook: toWebhook(webhook, deps.webhookUrlRules) } };
    },
  }),
  defineRoute({
    ...area,
    method: 'post',
    path: PATH,
    operationId: 'createWebhook',
    summary: 'Create a webhook',
    description: `Its URL is checked at Discord first, without a message. The same request within a minute gives the same webhook. ${SYSTEM_ONLY}`,
    audit: 'webhook-created',
    limits: [SAVES],
    bodyLimitBytes: BODY_LIMIT_BYTES,
    body: NewWebhook,
    responses: { 200: One.extend(Saved) },
    errors: ['FORBIDDEN'],
    failureMessage: 'Failed to create webhook',
    async handler(call) {
      const saved = await createWebhook(call.deps, call.input.body, editorOf(call));
      return { status: 200, body: { success: true, ...toSaved(saved, call.deps) } };
    },
  }),
  changeRoute('changeWebhook', byBody),
  changeRoute('changeWebhookById', byPath),
  testRoute('testWebhook', byBody),
  testRoute('testWebhookById', byPath),
  removeRoute('deleteWebhook', byBody),
  removeRoute('deleteWebhookById', byPath),
];
