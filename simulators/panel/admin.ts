/**
 * `/__sim/*`: another process controls a running simulator with JSON. A body is one object or an array of objects:
 * - mutate: `{ op: 'create'|'update'|'delete', entity, id?, values? }`
 * - faults: `Fault` with `match.path` as the text of a regular expression; `{ clear: true }` removes all faults
 * - settings: any fields of `SimulatorSettings`
 * - servers/{number, uuid or identifier}: variables and power signals of one server
 * - servers/{…}/console: `GET` what the process printed; `POST` `{ print?: string[], generate?, live?, power?: 'start'|'stop'|'restart' }`
 * - daemon: `GET` what it received; `POST` settings, `{ fault: DaemonFault & { server?, times? } }`, `{ clear: true }`, `{ reboot: true }`
 */
import { z } from 'zod';
import type { PanelSimulator } from './contract.ts';
import { ENTITY_NAMES, type EntityName, type ServerRow } from './world/rows.ts';

const MutationSchema = z.object({
  op: z.enum(['create', 'update', 'delete']),
  entity: z.enum(ENTITY_NAMES),
  id: z.int().optional(),
  values: z.record(z.string(), z.unknown()).default({}),
});

const ActionSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('status'),
    status: z.literal([401, 403, 404, 429, 500, 502, 503, 504]),
    retryAfter: z.number().optional(),
  }),
  z.object({ kind: z.enum(['hang', 'reset', 'truncate', 'empty', 'half', 'no-filters', 'html', 'php-notice']) }),
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

const ConsoleSchema = z.object({
  power: z.enum(['start', 'stop', 'restart']).optional(),
  print: z.array(z.string()).default([]),
  generate: z.int().min(0).max(100_000).default(0),
  live: z.number().min(0).optional(),
});

const DaemonFaultSchema = z.intersection(
  z.discriminatedUnion('kind', [
    z.object({ kind: z.enum(['reset', 'hang', 'mute', 'garbage', 'unreadable']) }),
    z.object({ kind: z.literal('status'), status: z.int().min(300).max(599) }),
    z.object({ kind: z.literal('slow'), ms: z.number() }),
    z.object({ kind: z.literal('close'), code: z.int().min(1_000).max(4_999) }),
    z.object({ kind: z.literal('cut'), after: z.int().min(0) }),
    z.object({ kind: z.literal('huge'), bytes: z.int().min(0) }),
    z.object({ kind: z.literal('interleave'), every: z.int().positive() }),
  ]),
  z.object({ server: z.string().optional(), times: z.int().optional() }),
);

const DaemonSchema = z.object({
  panelLocation: z.string().optional(),
  allowedOrigins: z.array(z.string()).optional(),
  logCount: z.int().positive().optional(),
  tickMs: z.number().positive().optional(),
  authTimeoutMs: z.number().positive().optional(),
  maxConnections: z.int().min(0).optional(),
});
const DaemonActsSchema = z.object({
  fault: DaemonFaultSchema.optional(),
  clear: z.literal(true).optional(),
  reboot: z.literal(true).optional(),
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

interface AdminAnswer {
  status: number;
  body: unknown;
}

const rowOf = (sim: PanelSimulator, name: string): ServerRow | undefined =>
  [...sim.world.servers.values()].find((row) => [String(row.id), row.uuid, row.identifier].includes(name));

/** One server with the values of all its variables, and the power signals that it received. */
function serverOf(sim: PanelSimulator, row: ServerRow): unknown {
  const power = sim.powerLog.filter((one) => one.id === row.id);
  const { id, uuid, name, status, current_state, values } = row;
  return { id, uuid, name, status, current_state, values, power };
}

/** What a console holds, after what `change` asks. */
function consoleOf(sim: PanelSimulator, row: ServerRow, change: unknown): unknown {
  const console = sim.console(row.uuid);
  const { power, print, generate, live } = ConsoleSchema.parse(change);
  if (power !== undefined) console[power]();
  console.print(print);
  console.generate(generate);
  if (live !== undefined) console.live(live);
  const { state, log, all } = console;
  return { state, log, all };
}

function answerServer(sim: PanelSimulator, method: string, path: string, body: unknown): AdminAnswer | undefined {
  const [, name = '', part] = /^\/__sim\/servers\/([\w-]+)(\/console)?$/.exec(path) ?? [];
  if (name === '' || !['GET', part === undefined ? '' : 'POST'].includes(method)) return undefined;
  const row = rowOf(sim, name);
  if (row === undefined) return { status: 404, body: { error: 'no such server' } };
  return { status: 200, body: part === undefined ? serverOf(sim, row) : consoleOf(sim, row, body) };
}

/** Settings, faults and restarts of the daemon. */
function changeDaemon({ daemon }: PanelSimulator, body: unknown): void {
  const { fault, clear, reboot } = DaemonActsSchema.parse(body);
  Object.assign(daemon.settings, present(DaemonSchema.parse(body)));
  if (clear === true) daemon.faults.clear();
  if (fault !== undefined) daemon.faults.add(fault, fault);
  if (reboot === true) daemon.reboot();
}

function daemonOf({ daemon }: PanelSimulator): unknown {
  const { url, settings, open, peak, received } = daemon;
  return { url, settings, open, peak, received };
}

/** Answers one admin call. */
export function handleAdmin(sim: PanelSimulator, method: string, url: URL, bodyText: string): AdminAnswer {
  try {
    const body: unknown = bodyText === '' ? {} : JSON.parse(bodyText);
    const ofServer = answerServer(sim, method, url.pathname, body);
    if (ofServer !== undefined) return ofServer;
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
      case 'POST /__sim/daemon':
        changeDaemon(sim, body);
        return { status: 200, body: daemonOf(sim) };
      case 'GET /__sim/daemon':
        return { status: 200, body: daemonOf(sim) };
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
