/**
 * What the keys of a panel may read, found out with few requests: at most seven with the application key and one with the
 * client key, each for one record. A right shows in the status of a listing, and in whether an include came back: the panel
 * answers `null_resource` in place of one that the key may not read. So an include shows its right also where it is empty.
 */
import type { PanelClient, PanelPage } from '../../clients/panel/client.ts';
import { isAppError } from '../../domain/errors.ts';
import { Attributes, orUnknown } from '../../domain/panel/attributes.ts';
import { type PanelItem, relationship } from '../../domain/panel/envelope.ts';
import { idOf } from '../../domain/panel/records.ts';

/** Rights of an application key: their names on the panel's page of keys, and what the sync reads with each. */
const RIGHTS = {
  locations: { label: 'Locations', needed: true, purpose: 'locations and the nodes in them' },
  nodes: { label: 'Nodes', needed: true, purpose: 'nodes' },
  allocations: { label: 'Allocations', needed: true, purpose: 'addresses of nodes and servers' },
  nests: { label: 'Nests', needed: true, purpose: 'nests' },
  eggs: { label: 'Eggs', needed: true, purpose: 'eggs and their variables' },
  users: { label: 'Users', needed: true, purpose: 'users, owners and subusers of servers' },
  servers: { label: 'Servers', needed: true, purpose: 'servers' },
  server_databases: { label: 'Server Databases', needed: false, purpose: 'databases of servers' },
  database_hosts: { label: 'Database Hosts', needed: false, purpose: 'address and port of databases' },
} as const;
export type PanelRight = keyof typeof RIGHTS;
export const PANEL_RIGHTS = Object.keys(RIGHTS) as PanelRight[];

export const RIGHT_STATES = ['granted', 'missing', 'unknown'] as const;

export interface RightFinding {
  right: PanelRight;
  /** Its name on the panel's page of API keys. */
  label: string;
  /** Without it a sync is not whole. */
  needed: boolean;
  /** What the sync reads with it. */
  purpose: string;
  state: (typeof RIGHT_STATES)[number];
  /** Why the state is unknown; otherwise null. */
  reason: string | null;
}

export const CLIENT_KEY_STATES = ['administrator', 'not-administrator', 'refused', 'unknown'] as const;
export interface ClientKeyFinding {
  state: (typeof CLIENT_KEY_STATES)[number];
  /** What is wrong, or why the state is unknown; null for an administrator's key. */
  message: string | null;
}

export interface PanelFindings {
  /** Null when the panel does not say. */
  servers: number | null;
  /** Requests per minute that the panel allows; null when it does not say. */
  limit: number | null;
  /** Milliseconds of the first answer. */
  latency: number;
  rights: RightFinding[];
  /** Null without a client key. */
  clientKey: ClientKeyFinding | null;
}

export interface RightsRequest {
  /** The client has a client key, which is to be looked at, too. */
  clientKey: boolean;
  /** Milliseconds, from the start, after which what is not known stays unknown. */
  timeoutMs: number;
}

type State = Pick<RightFinding, 'state' | 'reason'>;
const GRANTED: State = { state: 'granted', reason: null };
const MISSING: State = { state: 'missing', reason: null };
const unknown = (reason: string): State => ({ state: 'unknown', reason });
const NOT_TOLD = unknown('no record was read that would tell');

/** What is known so far; a certain state is not replaced. */
class Rights {
  readonly #states = new Map<PanelRight, State>();

  of(right: PanelRight): State {
    return this.#states.get(right) ?? NOT_TOLD;
  }

  isKnown(right: PanelRight): boolean {
    return this.of(right).state !== 'unknown';
  }

  note(right: PanelRight, state: State): void {
    if (!this.isKnown(right)) this.#states.set(right, state);
  }

  /** Notes the right of an include, as it came back with a record. */
  include(right: PanelRight, item: PanelItem | undefined, name: string): void {
    if (item === undefined) return;
    const { kind } = relationship(item, name);
    if (kind === 'null') this.note(right, MISSING);
    else if (kind !== 'absent') this.note(right, GRANTED);
  }

  findings(): RightFinding[] {
    return PANEL_RIGHTS.map((right) => ({ right, ...RIGHTS[right], ...this.of(right) }));
  }
}

/** What a failed request says of a right. @throws errors that are not the panel's. */
function stateOf(error: unknown, signal: AbortSignal): State {
  if (signal.aborted) return unknown('the panel did not answer in time');
  if (!isAppError(error)) throw error;
  return error.code === 'PANEL_AUTH' ? MISSING : unknown(error.message);
}

/**
 * Asks the panel. A key that may not read one listing of four is refused as a whole.
 * @throws {AppError} as {@link PanelClient.list}, when the panel cannot be read or refuses the key.
 */
export async function readPanelRights(client: PanelClient, request: RightsRequest): Promise<PanelFindings> {
  const signal = AbortSignal.timeout(request.timeoutMs);
  const rights = new Rights();
  const begun = performance.now();
  const first = await readServers(client, rights);
  const latency = Math.round(performance.now() - begun);
  const [clientKey] = await Promise.all([
    request.clientKey ? readClientKey(client, signal) : null,
    readListings(client, rights, signal),
  ]);
  const findings = rights.findings();
  // Not one right, not even one that is unknown: that is another kind of key, or one for another address.
  if ('error' in first && findings.every(({ state }) => state !== 'granted')) throw first.error;
  const page = 'page' in first ? first.page : undefined;
  return {
    servers: page?.pagination?.total ?? null,
    limit: page?.throttle.limit ?? null,
    latency,
    rights: findings,
    clientKey,
  };
}

/** The first request. Only a refusal, which may be about this listing alone, is not the end. */
async function readServers(client: PanelClient, rights: Rights): Promise<{ page: PanelPage } | { error: unknown }> {
  try {
    const include = 'allocations,databases.host,subusers';
    const page = await client.list('/servers', { page: 1, perPage: 1, include });
    const [server] = page.items;
    rights.note('servers', GRANTED);
    rights.include('allocations', server, 'allocations');
    rights.include('server_databases', server, 'databases');
    const databases = server === undefined ? undefined : relationship(server, 'databases');
    rights.include('database_hosts', databases?.kind === 'list' ? databases.items[0] : undefined, 'host');
    return { page };
  } catch (error) {
    // A key that is wrong or expired is answered with 401, whatever it may read.
    if (!isAppError(error, 'PANEL_AUTH') || error.meta?.['status'] === 401) throw error;
    rights.note('servers', MISSING);
    return { error };
  }
}

async function readListings(client: PanelClient, rights: Rights, signal: AbortSignal): Promise<void> {
  /** Reads the first record of a listing. @returns undefined when there is none or it cannot be read. */
  const first = async (right: PanelRight, path: string, include?: string): Promise<PanelItem | undefined> => {
    try {
      const query = { page: 1, perPage: 1, ...(include === undefined ? {} : { include }) };
      const { items } = await client.list(path, query, { signal });
      rights.note(right, GRANTED);
      return items[0];
    } catch (error) {
      rights.note(right, stateOf(error, signal));
      return undefined;
    }
  };
  const places = async () => {
    const location = await first('locations', '/locations', 'nodes');
    rights.include('nodes', location, 'nodes');
    if (rights.isKnown('nodes') && rights.isKnown('allocations')) return;
    const node = await first('nodes', '/nodes');
    const id = node === undefined ? undefined : idOf(node);
    if (id !== undefined && !rights.isKnown('allocations')) await first('allocations', `/nodes/${id}/allocations`);
  };
  const kinds = async () => {
    rights.include('eggs', await first('nests', '/nests', 'eggs'), 'eggs');
    if (rights.isKnown('nests')) return;
    // An egg that inherits its configuration can break every answer that contains it.
    rights.note('eggs', rights.of('nests'));
    await first('nests', '/nests');
  };
  await Promise.all([places(), kinds(), first('users', '/users')]);
}

/** Whose the client key is: only an administrator's sees all servers. */
async function readClientKey(client: PanelClient, signal: AbortSignal): Promise<ClientKeyFinding> {
  try {
    const { item } = await client.account({ signal });
    const a = new Attributes(item.attributes);
    // Forks name it as the application API does.
    const isAdministrator = orUnknown(() => a.flag('admin', a.flag('root_admin', false)));
    if (isAdministrator === true) return { state: 'administrator', message: null };
    return {
      state: 'not-administrator',
      message:
        'The client API key belongs to a user who is no administrator of the panel: it sees the servers of that user only',
    };
  } catch (error) {
    const { state, reason } = stateOf(error, signal);
    if (state !== 'missing') return { state: 'unknown', message: reason };
    const message =
      'The panel refused the client API key: it must be an account API key (ptlc_), not an application key';
    return { state: 'refused', message };
  }
}

/**
 * What is wrong with the keys, as a sentence; undefined when a sync can read everything that it needs. A client key of an
 * ordinary user is no failure: it can read consoles of that user's servers.
 */
export function keysProblem({ rights, clientKey }: PanelFindings): string | undefined {
  const missing = rights.filter(({ state, needed }) => state === 'missing' && needed);
  if (missing.length > 0) return `The API key lacks the right to read: ${missing.map(({ label }) => label).join(', ')}`;
  return clientKey?.state === 'refused' ? (clientKey.message ?? undefined) : undefined;
}
