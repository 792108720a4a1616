/**
 * `/__sim/*`: JSON calls by which another process controls a running simulator. A fault is a fault of the contract with
 * `times`, `webhook` and `method` beside its fields; one or an array.
 */
import { z } from 'zod';
import type { ApiAnswer } from './answer.ts';
import type { DiscordSimulator, WebhookSettings } from './contract.ts';

const NewWebhookSchema = z.object({
  name: z.string().optional(),
  channel: z.string().optional(),
  forum: z.boolean().optional(),
  id: z.string().optional(),
  token: z.string().optional(),
});
const ChangeSchema = z.object({
  id: z.string(),
  type: z.literal([1, 2, 3]).optional(),
  deleted: z.boolean().optional(),
  tokenWrong: z.boolean().optional(),
  delayMs: z.int().nonnegative().optional(),
  unresponsive: z.boolean().optional(),
  refusedNames: z.array(z.string()).optional(),
});

const target = {
  times: z.int().positive().max(100_000).optional(),
  webhook: z.string().optional(),
  method: z.string().optional(),
};
const status = z.int().min(200).max(599);
const FaultSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('error'),
    code: z.int(),
    status: status.optional(),
    message: z.string().optional(),
    errors: z.unknown(),
    ...target,
  }),
  z.object({
    kind: z.literal('limited'),
    retryAfter: z.number().nullable(),
    scope: z.enum(['user', 'global', 'shared']).optional(),
    headers: z.boolean().optional(),
    code: z.int().optional(),
    ...target,
  }),
  z.object({ kind: z.literal('ban-page'), html: z.boolean().optional(), retryAfter: z.number().optional(), ...target }),
  z.object({ kind: z.literal('html'), status, retryAfter: z.number().optional(), ...target }),
  z.object({ kind: z.literal('slow'), ms: z.number().nonnegative(), ...target }),
  z.object({
    kind: z.enum([
      'ban-json',
      'blocked',
      'cut',
      'hang',
      'stored-cut',
      'stored-hang',
      'stored-half',
      'stored-html',
      'stored-empty',
    ]),
    ...target,
  }),
]);
const FaultsSchema = z.union([z.array(FaultSchema), FaultSchema.transform((one) => [one])]);
const BanSchema = z.object({
  ms: z.number().nonnegative(),
  page: z.boolean().default(false),
  html: z.boolean().optional(),
  retryAfter: z.number().optional(),
});

/** Drops absent keys, so that a setting that is not given stays as it is. */
const present = (settings: Record<string, unknown>): Partial<WebhookSettings> =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

/** Answers one call. */
export function handleAdmin(simulator: DiscordSimulator, method: string, url: URL, body: string): ApiAnswer {
  try {
    const given: unknown = body === '' ? {} : JSON.parse(body);
    const json = answer(simulator, `${method} ${url.pathname}`, url.searchParams, given);
    return json === undefined ? { status: 404, json: { error: 'unknown call' } } : { status: 200, json };
  } catch (error) {
    return { status: 400, json: { error: error instanceof Error ? error.message : String(error) } };
  }
}

function answer(simulator: DiscordSimulator, call: string, query: URLSearchParams, given: unknown): unknown {
  switch (call) {
    case 'GET /__sim/webhooks':
      return { webhooks: simulator.webhooks(), channels: simulator.channels() };
    case 'POST /__sim/webhooks':
      return simulator.createWebhook(NewWebhookSchema.parse(given));
    case 'PATCH /__sim/webhooks': {
      const { id, ...settings } = ChangeSchema.parse(given);
      return simulator.change(id, present(settings));
    }
    case 'GET /__sim/messages':
      return {
        messages: simulator.messages({
          webhook: query.get('webhook') ?? undefined,
          channel: query.get('channel') ?? undefined,
        }),
      };
    case 'GET /__sim/requests':
      return { requests: simulator.requests(query.get('webhook') ?? undefined) };
    case 'GET /__sim/counts':
      return simulator.counts();
    case 'POST /__sim/faults':
      for (const { times, webhook, method, ...fault } of FaultsSchema.parse(given)) {
        simulator.fault(fault, { times, webhook, method });
      }
      return {};
    case 'DELETE /__sim/faults':
      simulator.clearFaults();
      return {};
    case 'POST /__sim/ban': {
      const { ms, page, html, retryAfter } = BanSchema.parse(given);
      simulator.ban(ms, page ? { kind: 'ban-page', html, retryAfter } : { kind: 'ban-json' });
      return {};
    }
    case 'POST /__sim/clear':
      simulator.clear();
      return {};
    default:
      return undefined;
  }
}
