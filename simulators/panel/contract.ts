/** What a running simulator offers to tests, benchmarks and its own admin calls. */
import type { Api, NewKey, SimulatorKeys } from './http/access.ts';
import type { Faults } from './http/faults.ts';
import type { EntityName, PanelWorld, Rows, ServerRow } from './world/rows.ts';
import type { PanelSizes } from './world/sizes.ts';

/** What may be changed while the simulator runs. */
export interface SimulatorSettings {
  /** Added to every answer, milliseconds. */
  latencyMs: number;
  /** Application requests per window and user; 0 = no throttle, no headers. */
  limit: number;
  /** Client requests per window and user; 0 = none. */
  clientLimit: number;
  /** Length of the throttle window, milliseconds. */
  windowMs: number;
  /** Cap of the application API's `per_page`; undefined = none, as in 1.11. */
  perPageMax: number | undefined;
  /** Maintenance: every call answers 503, with `Retry-After` (seconds) if given. */
  maintenance: { retryAfter?: number } | undefined;
  /** The panel demands two-factor login: every call answers 400. */
  twoFactor: boolean;
}

export interface PanelSimulatorOptions extends Partial<PanelSizes>, Partial<SimulatorSettings> {
  seed?: number;
  /** Default 0: a free one. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Tokens to use instead of generated ones. */
  keys?: Partial<SimulatorKeys>;
}

/** One answered (or abandoned) request. */
export interface LoggedRequest {
  /** Unix milliseconds of its arrival. */
  at: number;
  n: number;
  method: string;
  path: string;
  query: string;
  /** 0: hung or reset. */
  status: number;
  remaining: number | undefined;
  /** Label of the key; undefined without a known one. */
  key: string | undefined;
}

/** What a `before` hook is told. */
export interface BeforeRequest {
  method: string;
  path: string;
  query: URLSearchParams;
  page: number;
  n: number;
}
export type BeforeHook = (request: BeforeRequest, n: number) => void | Promise<void>;

/** The true state, entity by entity, in id order. */
export type PanelDump = { [E in Exclude<EntityName, 'servers'>]: Rows[E][] } & { servers: DumpedServer[] };

/** A server with what its API object derives. */
export interface DumpedServer extends ServerRow {
  suspended: boolean;
  installed: 0 | 1;
  environment: Record<string, string | number | null>;
}

export interface PanelSimulator {
  readonly url: string;
  readonly keys: SimulatorKeys;
  readonly settings: SimulatorSettings;
  /** Rows by id, for reading. After changing a row directly call `touch()`. */
  readonly world: PanelWorld;
  readonly faults: Faults;
  readonly requests: LoggedRequest[];
  clearRequests(): void;
  /** The most requests in flight at once since the last `clearRequests`. */
  peakInFlight(): number;
  addKey(key: NewKey): string;
  create<E extends EntityName>(entity: E, values?: Partial<Rows[E]>): Rows[E];
  update<E extends EntityName>(entity: E, id: number, values: Partial<Rows[E]>): Rows[E];
  /** Deletes as the panel would; throws WorldRefusal where the panel refuses. */
  delete(entity: EntityName, id: number): boolean;
  touch(): void;
  dump(): PanelDump;
  /** Called before each request is answered; gives a function that removes it. */
  on(event: 'before', hook: BeforeHook): () => void;
  /** Spends requests of a user's window, as another program of the same owner would. */
  spend(count: number, options?: { api?: Api | undefined; userId?: number | undefined }): void;
  /** The first state again: data, faults, hooks, log, throttle windows. */
  reset(): void;
  /** Ends every connection, hanging ones too. */
  close(): Promise<void>;
}
