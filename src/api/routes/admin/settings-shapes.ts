/** What the settings page sends and reads. */
import { z } from 'zod';
import { readRepositories } from '../../../domain/repositories.ts';
import { AUTO_SYNC_MODES, BUDGET_SHARE, SECRET_MASK } from '../../../domain/settings.ts';
import type { WebhookUrlRules } from '../../../domain/webhook-url.ts';
import type { Connection as ConnectionResult } from '../../../services/settings/connections.ts';
import {
  NUMBER_FIELDS,
  SECRET_FIELDS,
  SENSITIVE_FIELDS,
  type ShownSettings,
  SWITCH_FIELDS,
  TEXT_FIELDS,
} from '../../../services/settings/settings-page.ts';
import type { StoredWebhook } from '../../../store/webhooks/webhook-list.ts';
import { BodyFlag, documentedAs, OptionalFlag, optionalInteger } from '../../http/fields.ts';
import { KeyFindings } from '../setup/shapes.ts';
import { toWebhook, WebhookSchema } from './webhook-shapes.ts';

/** One schema for each of these fields. */
const each = <F extends string, S extends z.ZodType>(fields: Record<F, unknown>, schema: S): Record<F, S> =>
  Object.fromEntries(Object.keys(fields).map((field) => [field, schema])) as Record<F, S>;

export const SettingsSchema = z
  .object({
    ...each(TEXT_FIELDS, z.string()),
    ...each(SECRET_FIELDS, z.enum(['', SECRET_MASK]).meta({ description: 'The mask when a secret is set' })),
    ...each(SWITCH_FIELDS, z.boolean()),
    ...each(NUMBER_FIELDS, z.int()),
    autoSyncMode: z.enum(AUTO_SYNC_MODES),
    githubRepositories: z.array(z.string()),
    discordWebhooks: z.array(WebhookSchema).meta({ description: 'Those of scope ADMIN' }),
  })
  .meta({
    id: 'Settings',
    description: 'The values in force: of the database, else of the environment, else the default',
  });

export const toSettings = (
  shown: ShownSettings,
  webhooks: readonly StoredWebhook[],
  rules: WebhookUrlRules,
): z.input<typeof SettingsSchema> => ({
  ...shown,
  discordWebhooks: webhooks.map((webhook) => toWebhook(webhook, rules)),
});

export const ConnectionSchema = z
  .object({
    connected: z.boolean().meta({ description: 'The same as `success`' }),
    success: z.boolean(),
    latency: z.int().min(0).optional().meta({ description: 'Milliseconds' }),
    version: z.string().optional(),
    error: z.string().optional(),
    ...KeyFindings,
  })
  .meta({ id: 'Connection' });

/** @param version only the panels have one. */
export const toConnection = (result: ConnectionResult, version?: string): z.input<typeof ConnectionSchema> => ({
  connected: result.success,
  ...result,
  ...(result.success && version !== undefined ? { version } : {}),
});

const Text = z
  .string()
  .nullish()
  .meta(documentedAs({ type: ['string', 'null'] }));
const Repositories = z
  .union([z.array(z.string()), z.string(), z.null()])
  .optional()
  .transform((value) => (typeof value === 'string' ? readRepositories(value) : (value ?? undefined)))
  .meta(documentedAs({ type: 'array', items: { type: 'string' } }));

/** Body of a save. The rules of each field are those of the settings, and only what differs is judged. */
export const SettingsBody = z.object({
  ...each(TEXT_FIELDS, Text),
  ...each(SECRET_FIELDS, Text),
  ...each(SWITCH_FIELDS, OptionalFlag),
  cacheTimeout: optionalInteger({ minimum: 0 }),
  syncInterval: optionalInteger({ minimum: 60 }),
  autoSyncInterval: optionalInteger({ minimum: 60 }).meta({ description: 'Other name of `syncInterval`' }),
  autoSyncMode: Text,
  autoSyncBudgetShare: optionalInteger({ minimum: BUDGET_SHARE.min, maximum: BUDGET_SHARE.max }),
  githubRepositories: Repositories,
  githubRepositoriesMerge: BodyFlag,
});

export const ClearBody = z.object({
  keys: z.array(z.string()).meta({ description: `Of ${SENSITIVE_FIELDS.join(', ')}; other names are ignored` }),
});
