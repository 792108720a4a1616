/**
 * `/__sim/*`: another process controls a running simulator with JSON. A body is one object or an array of objects:
 * - mutate: `{ op: 'create'|'update'|'delete', entity, id?, values? }`
 * - faults: `Fault` with `match.path` as the text of a regular expression; `{ clear: true }` removes all faults
 * - settings: any fields of `SimulatorSettings`
 * - servers/{number, uuid or identifier}: variables and power signals of one server
 */
import { z } from 'zod';
import type { PanelSimulator } from './contract.ts';
import { ENTITY_NAMES, type EntityName } from './world/rows.ts';

const MutationSchema = z.object({
  op: z.enum(['create', 'update', 'delete']),
  entity: z.enum(ENTITY_NAMES),
  id: z.int().optional(),
  values: z.record(z.string(), z.unknown()).default({}),
});

const ActionSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('status'),
    status: z.literal([401, 403, 429, 500, 502, 503, 504]),
    retryAfter: z.number().optional(),
  }),
  z.object({ kind: z.enum(['hang', 'reset', 'truncate', 'empty', 'half', 'html', 'php-notice']) }),
  z.object({
    kind: z.literal('gateway'),
    status: z.int().min(300).max(599),
    challenge: z.boolean().optional(),
    location: z.string().optional(),
  }),
  z.object({ kind: z.literal('encoded'), encoding: z.enum(['gzip', 'deflate', 'br']) }),
  z.object({ kind: z.literal('slow'), ms: z.number() }),
  z.object({ kind: z.literal('total'), delta: z.union([z.number(), z.literal('random')]) }),
  z.object({ kind: z.literal('null-resource'), name: z.string() }),
]);

const FaultSchema = z.object({
  match: z.object({ path: z.string().optional(), page: z.int().optional(), method: z.string().optional() }).default({}),
  times: z.int().optional(),
  everyNth: z.int().positive().optional(),
  afterNth: z.int().optional(),
  action: ActionSchema,
});

const SettingsSchema = z.object({
  latencyMs: z.number().optional(),
  limit: z.int().optional(),
  clientLimit: z.int().optional(),
  windowMs: z.number().optional(),
  perPageMax: z.int().nullable().optional(),
  clockMs: z.number().optional(),
  maintenance: z.object({ retryAfter: z.int().optional() }).nullable().optional(),
  twoFactor: z.boolean().optional(),
});

const SpendSchema = z.object({
  count: z.int(),
  api: z.enum(['application', 'client']).optional(),
  userId: z.int().optional(),
});

const manyOf = <T extends z.ZodType>(schema: T) => z.union([z.array(schema), schema.transform((one) => [one])]);

/** Drops absent keys, so that an optional value stays absent. */
const present = <T extends object>(value: T): Partial<T> =>
  Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Partial<T>;

function mutate(sim: PanelSimulator, change: z.infer<typeof MutationSchema>): unknown {
  const entity: EntityName = change.entity;
  if (change.op === 'create')
    return sim.create(entity, change.id === undefined ? change.values : { ...change.values, id: change.id });
  if (change.id === undefined) throw new Error(`${change.op} needs an id`);
  return change.op === 'update' ? sim.update(entity, change.id, change.values) : sim.delete(entity, change.id);
}

/** One server with the values of all its variables, and the power signals that it received. */
function serverOf(sim: PanelSimulator, name: string): { status: number; body: unknown } {
  for (const row of sim.world.servers.values()) {
    if (![String(row.id), row.uuid, row.identifier].includes(name)) continue;
    const power = sim.powerLog.filter(({ id }) => id === row.id);
    const { id, uuid, name: label, status, current_state, values } = row;
    return { status: 200, body: { id, uuid, name: label, status, current_state, values, power } };
  }
  return { status: 404, body: { error: 'no such server' } };
}

/** Answers one admin call. */
export function handleAdmin(
  sim: PanelSimulator,
  method: string,
  url: URL,
  bodyText: string,
): { status: number; body: unknown } {
  try {
    const body: unknown = bodyText === '' ? {} : JSON.parse(bodyText);
    const server = /^\/__sim\/servers\/([\w-]+)$/.exec(url.pathname)?.[1];
    if (method === 'GET' && server !== undefined) return serverOf(sim, server);
    switch (`${method} ${url.pathname}`) {
      case 'GET /__sim/info':
        return { status: 200, body: { url: sim.url, keys: sim.keys, settings: sim.settings } };
      case 'GET /__sim/dump':
        return { status: 200, body: sim.dump() };
      case 'GET /__sim/requests':
        return { status: 200, body: { peakInFlight: sim.peakInFlight(), requests: sim.requests } };
      case 'DELETE /__sim/requests':
        sim.clearRequests();
        return { status: 200, body: {} };
      case 'POST /__sim/mutate':
        return {
          status: 200,
          body: {
            results: manyOf(MutationSchema)
              .parse(body)
              .map((change) => mutate(sim, change)),
          },
        };
      case 'POST /__sim/faults': {
        if (z.object({ clear: z.literal(true) }).safeParse(body).success) {
          sim.faults.clear();
          return { status: 200, body: {} };
        }
        for (const fault of manyOf(FaultSchema).parse(body)) {
          const { path } = fault.match;
          sim.faults.add({
            ...fault,
            match: { ...fault.match, path: path === undefined ? undefined : new RegExp(path) },
          });
        }
        return { status: 200, body: {} };
      }
      case 'DELETE /__sim/faults':
        sim.faults.clear();
        return { status: 200, body: {} };
      case 'POST /__sim/settings': {
        const { perPageMax, maintenance, ...rest } = SettingsSchema.parse(body);
        Object.assign(sim.settings, present(rest));
        if (perPageMax !== undefined) sim.settings.perPageMax = perPageMax ?? undefined;
        if (maintenance !== undefined) {
          const seconds = maintenance?.retryAfter;
          sim.settings.maintenance =
            maintenance === null ? undefined : seconds === undefined ? {} : { retryAfter: seconds };
        }
        return { status: 200, body: sim.settings };
      }
      case 'POST /__sim/spend': {
        const { count, ...rest } = SpendSchema.parse(body);
        sim.spend(count, rest);
        return { status: 200, body: {} };
      }
      case 'POST /__sim/reset':
        sim.reset();
        return { status: 200, body: {} };
      default:
        return { status: 404, body: { error: 'unknown admin call' } };
    }
  } catch (error) {
    return { status: 400, body: { error: error instanceof Error ? error.message : String(error) } };
  }
}
