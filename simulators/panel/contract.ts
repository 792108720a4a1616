/** The interface of a running simulator for tests, benchmarks and its own admin calls. */
import type { SimulatedConsole } from './daemon/console.ts';
import type { SimulatedDaemon } from './daemon/daemon.ts';
import type { Api, NewKey, SimulatorKeys } from './http/access.ts';
import type { PowerSignal } from './http/answer.ts';
import type { Faults } from './http/faults.ts';
import type { EntityName, PanelWorld, Rows, ServerRow } from './world/rows.ts';
import type { PanelSizes } from './world/sizes.ts';

/** Settings that can be changed while the simulator runs. */
export interface SimulatorSettings {
  /** Delay of every answer, milliseconds. */
  latencyMs: number;
  /** Application requests per window and user; 0 = no throttle and no throttle headers. */
  limit: number;
  /** Client requests per window and user; 0 = no throttle and no throttle headers. */
  clientLimit: number;
  /** Length of the throttle window, milliseconds. */
  windowMs: number;
  /** Maximum `per_page` of the application API; undefined = no maximum, as in panel 1.11. */
  perPageMax: number | undefined;
  /** Time at which the nodes measure what a server uses, milliseconds; undefined: the time since the start. */
  clockMs: number | undefined;
  /** When set, every call answers 503, with `Retry-After` when `retryAfter` (seconds) is set. */
  maintenance: { retryAfter?: number } | undefined;
  /** The panel requires two-factor login: every call answers 400. */
  twoFactor: boolean;
}

export interface PanelSimulatorOptions extends Partial<PanelSizes>, Partial<SimulatorSettings> {
  seed?: number;
  /** Default 0: any free port. */
  port?: number;
  /** Port of the daemon; default 0: any free port. */
  daemonPort?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Tokens to use instead of generated ones. */
  keys?: Partial<SimulatorKeys>;
}

/** One request, answered or not. */
export interface LoggedRequest {
  /** Unix milliseconds of its arrival. */
  at: number;
  /** Number of the request since the start, from 1. */
  n: number;
  method: string;
  path: string;
  query: string;
  /** 0: not answered, by the fault `hang` or `reset`. */
  status: number;
  /** Requests that remain in the window; undefined when the request was not counted. */
  remaining: number | undefined;
  /** Label of the key; undefined without a known key. */
  key: string | undefined;
}

/** The request that a `before` hook receives. */
export interface BeforeRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  page: number;
  n: number;
}
export type BeforeHook = (request: BeforeRequest, n: number) => void | Promise<void>;

/** All rows per entity, in id order. */
export type PanelDump = { [E in Exclude<EntityName, 'servers'>]: Rows[E][] } & { servers: DumpedServer[] };

/** A server row with the fields that its API object derives. */
export interface DumpedServer extends ServerRow {
  suspended: boolean;
  installed: 0 | 1;
  environment: Record<string, string | number | null>;
}

export interface PanelSimulator {
  readonly url: string;
  readonly keys: SimulatorKeys;
  readonly settings: SimulatorSettings;
  /** Rows by id, for reading. Call `touch()` after a direct change of a row. */
  readonly world: PanelWorld;
  readonly faults: Faults;
  readonly requests: LoggedRequest[];
  /** Power signals that reached a daemon, each with the variables that the server then read. */
  readonly powerLog: PowerSignal[];
  /** The daemon of all nodes: the WebSockets of consoles. */
  readonly daemon: SimulatedDaemon;
  /** The console of a server. @param server its uuid. @throws {Error} when there is no such server. */
  console(server: string): SimulatedConsole;
  clearRequests(): void;
  /** Highest number of simultaneous requests since the last `clearRequests`. */
  peakInFlight(): number;
  /** Adds a key and returns its token. */
  addKey(key: NewKey): string;
  create<E extends EntityName>(entity: E, values?: Partial<Rows[E]>): Rows[E];
  update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E];
  /** Deletes a row; false when there is no such row. @throws {WorldRefusal} where the panel would refuse. */
  delete(entity: EntityName, id: number): boolean;
  /** Rebuilds indexes and drops caches after a direct change of `world`. */
  touch(): void;
  dump(): PanelDump;
  /** The hook runs before each request is answered. Returns a function that removes the hook. */
  on(event: 'before', hook: BeforeHook): () => void;
  /** Uses up requests of a user's window, as another program with a key of the same user would. */
  spend(count: number, options?: { api?: Api | undefined; userId?: number | undefined }): void;
  /** Restores the initial state: data, faults, hooks, log, throttle windows. */
  reset(): void;
  /** Stops the server and ends all connections, also those of unanswered requests. */
  close(): Promise<void>;
}
