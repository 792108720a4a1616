/** How webhooks are shown and sent. */
import { z } from 'zod';
import { checkWebhookUrl, type WebhookUrlRules } from '../../../domain/webhook-url.ts';
import { WEBHOOK_SCOPES, WEBHOOK_TYPES } from '../../../domain/webhooks.ts';
import { shownUrl } from '../../../services/webhooks/webhook-form.ts';
import type { StoredWebhook } from '../../../store/webhooks/webhook-list.ts';
import { IsoDate } from '../../http/envelopes.ts';
import { documentedAs, OptionalFlag } from '../../http/fields.ts';

export const WebhookSchema = z
  .object({
    id: z.string(),
    name: z.string(),
    webhookUrl: z.string().meta({ description: 'The mask and at most four characters stand in place of its token' }),
    type: z
      .string()
      .meta({ description: `One of ${WEBHOOK_TYPES.join(', ')}, unless an older release stored another` }),
    scope: z
      .string()
      .meta({ description: `One of ${WEBHOOK_SCOPES.join(', ')}, unless an older release stored another` }),
    description: z.string(),
    enabled: z.boolean(),
    testSuccessAt: IsoDate.nullable(),
    createdAt: IsoDate.nullable(),
    checkedAt: IsoDate.nullable().meta({ description: 'When Discord last confirmed the URL' }),
    disabledReason: z.string().nullable().meta({ description: 'Why the service switched it off' }),
    disabledAt: IsoDate.nullable(),
    problem: z.string().nullable().meta({ description: 'Why nothing can be sent to the stored URL' }),
  })
  .meta({ id: 'Webhook', description: 'A Discord webhook' });

const iso = (date: Date | null): string | null => date?.toISOString() ?? null;

function problemOf({ url }: StoredWebhook, rules: WebhookUrlRules): string | null {
  if (url === undefined) return 'The URL cannot be decrypted: check ENCRYPTION_KEY, or enter the URL again';
  const checked = checkWebhookUrl(url, rules);
  return 'problem' in checked ? checked.problem : null;
}

/** A webhook without its token. */
export const toWebhook = (webhook: StoredWebhook, rules: WebhookUrlRules): z.input<typeof WebhookSchema> => ({
  id: webhook.id,
  name: webhook.name,
  webhookUrl: shownUrl(webhook),
  type: webhook.type,
  scope: webhook.scope,
  description: webhook.description,
  enabled: webhook.enabled,
  testSuccessAt: iso(webhook.testSuccessAt),
  createdAt: iso(webhook.createdAt),
  checkedAt: iso(webhook.checkedAt),
  disabledReason: webhook.disabledReason,
  disabledAt: iso(webhook.disabledAt),
  problem: problemOf(webhook, rules),
});

const text = (documented: Record<string, unknown> = {}) =>
  z
    .string()
    .nullish()
    .meta(documentedAs({ type: 'string', ...documented }));

const fields = {
  name: text({ maxLength: 100 }),
  webhookUrl: text({ format: 'uri' }),
  type: text({ enum: [...WEBHOOK_TYPES], default: 'SYSTEM' }),
  scope: text({ enum: [...WEBHOOK_SCOPES], default: 'ADMIN' }),
  description: text({ maxLength: 1000 }),
  enabled: OptionalFlag,
};

/** Body of a new webhook. */
export const NewWebhook = z.object(fields);

const Changes = z.object({
  ...fields,
  type: text({ enum: [...WEBHOOK_TYPES] }),
  scope: text({ enum: [...WEBHOOK_SCOPES] }),
});

/** Body of a change. Fields inside `webhook` count where the body itself has none: one form of the site sends them so. */
export const ChangedWebhook = z
  .object({
    id: text({ description: 'When the path has none' }),
    ...Changes.shape,
    webhook: Changes.nullish().meta({ description: 'The fields, for callers that send them in an object' }),
  })
  .transform(({ webhook, ...own }) => {
    const given = Object.fromEntries(Object.entries(own).filter(([, value]) => value !== undefined));
    return { ...webhook, ...given } as typeof own;
  });
