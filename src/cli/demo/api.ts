/** The calls of our own HTTP API that the demo makes, as any client would. */
import { z } from 'zod';

/** One sync log, as far as it is shown. */
export interface DemoLog {
  status: string;
  step: string | undefined;
  message: string | undefined;
  /** 0 to 100. */
  percentage: number;
  itemsSynced: number;
  itemsTotal: number;
  error: string | undefined;
  counts: Record<string, Record<string, number>>;
  warnings: string[];
}

/** What a server uses, as its owner's dashboard shows it. */
export interface DemoUsage {
  name: string;
  status: string;
  /** MB */
  memory: number;
  /** MB */
  disk: number;
  /** Per cent of a core. */
  cpu: number;
}

/** An event of the audit, as far as it is shown. */
export interface DemoEvent {
  action: string;
  actor: string;
  target: string | undefined;
  /** What was before and after. */
  details: Record<string, unknown>;
}

/** A webhook as it is created. */
export interface DemoWebhook {
  name: string;
  type: string;
  scope: string;
  webhookUrl: string;
}

/** A message for a webhook, as far as it is shown. */
export interface DemoDelivery {
  id: string;
  event: string;
  /** Name of the webhook. */
  webhook: string;
  status: string;
  reason: string | null;
}

/** The sign-in of a Hytale account. */
export interface DemoLogin {
  id: string;
  status: string;
  reason: string | null;
  /** The account that approved it. */
  accountId: string | null;
  userCode: string;
  /** Where a person approves it. */
  page: string;
}

/** A game session of a Hytale account, as far as it is shown. */
export interface DemoSession {
  status: string;
  /** What came to the variables of its server. */
  push: { status: string; reason: string | null };
}

export interface DemoApi {
  signIn(email: string, password: string): Promise<void>;
  /** Starts a full sync and gives the id of its log. */
  startSync(): Promise<string>;
  syncLog(id: string): Promise<DemoLog>;
  /** Creates the account of a customer; an email follows. */
  register(email: string, password: string): Promise<void>;
  /** Saves settings, by the fields of the settings page. */
  saveSettings(fields: Record<string, string>): Promise<void>;
  /** Replaces the roles of the user with this address. */
  setRoles(email: string, roles: string[]): Promise<void>;
  createWebhook(webhook: DemoWebhook): Promise<void>;
  /** Requests an event for webhooks, as another program does. */
  dispatch(event: string, data: Record<string, string>): Promise<void>;
  /** The newest deliveries to webhooks, oldest first. */
  deliveries(): Promise<DemoDelivery[]>;
  /** Sends the message of an ended delivery again and gives the id of the new delivery. */
  resend(deliveryId: string): Promise<string>;
  /** The newest events of these actions, oldest first. */
  events(actions: readonly string[]): Promise<DemoEvent[]>;
  /** Starts the sign-in of a Hytale account. */
  startHytaleLogin(): Promise<DemoLogin>;
  hytaleLogin(id: string): Promise<DemoLogin>;
  /** Opens a game session of the selected profile, for a server or for none, and gives its id. */
  startHytaleSession(accountId: string, serverId: string | undefined): Promise<string>;
  hytaleSession(id: string): Promise<DemoSession>;
  /** Stored lines of the console of a server. */
  storedLines(serverUuid: string): Promise<number>;
  /** Our id of a server of the panel. */
  serverId(server: { name: string; uuid: string }): Promise<string>;
  /** Rows per table, as the administrators' page shows them. */
  inventory(): Promise<Record<string, number>>;
  /** The first running server whose usage is known, else the first running one; undefined without one. */
  serverUsage(): Promise<DemoUsage | undefined>;
}

const SignedIn = z.object({ tokens: z.object({ accessToken: z.string() }) });
const Started = z.object({ sync_log_id: z.string() });
const Log = z.object({
  log: z.object({
    status: z.string(),
    itemsSynced: z.number(),
    itemsTotal: z.number(),
    error: z.string().nullish(),
    metadata: z
      .object({
        step: z.string().optional().catch(undefined),
        lastMessage: z.string().optional().catch(undefined),
        progress: z.number().optional().catch(undefined),
        counts: z.record(z.string(), z.record(z.string(), z.number())).optional().catch(undefined),
        warnings: z
          .array(z.object({ code: z.string(), message: z.string() }))
          .optional()
          .catch(undefined),
      })
      .loose(),
  }),
});
const State = z.object({ counts: z.record(z.string(), z.number()) });
const Used = z.object({ used: z.number() });
const Servers = z.object({
  data: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      resources: z.object({ memory: Used, cpu: Used, disk: Used }),
    }),
  ),
});
const Done = z.object({ success: z.literal(true) });
const Users = z.object({ users: z.array(z.object({ id: z.string(), email: z.string() })) });
const Person = z.object({ email: z.string().nullable() });
const Events = z.object({
  events: z.array(
    z.object({
      action: z.string(),
      actor: Person,
      target: Person.nullable(),
      details: z.record(z.string(), z.unknown()),
    }),
  ),
});
const Deliveries = z.object({
  deliveries: z.array(
    z.object({
      id: z.string(),
      event: z.string(),
      webhook: z.object({ name: z.string() }),
      status: z.string(),
      reason: z.string().nullable(),
    }),
  ),
});
const Resent = z.object({ deliveryId: z.string() });
const Login = z.object({
  login: z.object({
    id: z.string(),
    status: z.string(),
    reason: z.string().nullable(),
    accountId: z.string().nullable(),
    userCode: z.string(),
    verificationUri: z.string(),
    verificationUriComplete: z.string().nullable(),
  }),
});
const Session = z.object({
  session: z.object({
    id: z.string(),
    status: z.string(),
    push: z.object({ status: z.string(), reason: z.string().nullable() }),
  }),
});
const StoredLines = z.object({ data: z.object({ total_logs: z.number() }) });
const AdminServers = z.object({ servers: z.array(z.object({ id: z.string(), uuid: z.string() })) });
const Failure = z.object({ error: z.string() }).loose();

export const AUDIT_PATH = '/api/admin/audit';
export const DELIVERIES_PATH = '/api/admin/webhook-deliveries';
/** Servers that run, for the demo's administrator. */
export const USAGE_PATH = '/api/v1/dashboard/servers?view_all=true&status=running';

const LOGINS_PATH = '/api/admin/hytale/logins';
/** Game sessions of Hytale accounts. */
export const SESSIONS_PATH = '/api/admin/hytale/sessions';

/** Stored console lines of a server. */
export const SERVER_LOGS_PATH = '/api/v1/hytale/server-logs';

const TIMEOUT_MS = 30_000;

const loginOf = ({ login }: z.infer<typeof Login>): DemoLogin => ({
  ...login,
  page: login.verificationUriComplete ?? login.verificationUri,
});

/** A client of the api at `baseUrl`. A call that fails rejects with the error text of the api. */
export function createDemoApi(baseUrl: string): DemoApi {
  let token: string | undefined;

  const call = async <T>(schema: z.ZodType<T>, method: 'GET' | 'POST', path: string, body?: unknown): Promise<T> => {
    const response = await fetch(`${baseUrl}${path}`, {
      method,
      headers: {
        accept: 'application/json',
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const answer: unknown = await response.json().catch(() => undefined);
    if (!response.ok) {
      const failure = Failure.safeParse(answer);
      throw new Error(`${method} ${path}: ${response.status} ${failure.success ? failure.data.error : ''}`.trim());
    }
    const parsed = schema.safeParse(answer);
    if (!parsed.success) throw new Error(`${method} ${path}: unexpected answer: ${z.prettifyError(parsed.error)}`);
    return parsed.data;
  };

  return {
    async signIn(email, password) {
      token = (await call(SignedIn, 'POST', '/api/v1/auth/login', { email, password })).tokens.accessToken;
    },
    async register(email, password) {
      await call(Done, 'POST', '/api/v1/auth/register', { email, password, confirmPassword: password });
    },
    async saveSettings(fields) {
      await call(Done, 'POST', '/api/admin/settings', fields);
    },
    async setRoles(email, roles) {
      const { users } = await call(Users, 'GET', `/api/admin/users?search=${encodeURIComponent(email)}`);
      const userId = users.find((user) => user.email === email)?.id;
      await call(Done, 'POST', '/api/admin/users/roles', { userId, roles });
    },
    async createWebhook(webhook) {
      await call(Done, 'POST', '/api/admin/settings/webhooks', webhook);
    },
    async dispatch(event, data) {
      await call(Done, 'POST', '/api/v1/webhook/dispatch', { event, data });
    },
    async deliveries() {
      const { deliveries } = await call(Deliveries, 'GET', DELIVERIES_PATH);
      return deliveries.toReversed().map(({ webhook, ...delivery }) => ({ ...delivery, webhook: webhook.name }));
    },
    async resend(deliveryId) {
      return (await call(Resent, 'POST', `${DELIVERIES_PATH}/${encodeURIComponent(deliveryId)}/resend`)).deliveryId;
    },
    async events(actions) {
      const { events } = await call(Events, 'GET', `${AUDIT_PATH}?action=${actions.join(',')}`);
      return events.toReversed().map(({ action, actor, target, details }) => ({
        action,
        actor: actor.email ?? '-',
        target: target?.email ?? undefined,
        details,
      }));
    },
    startHytaleLogin: async () => loginOf(await call(Login, 'POST', LOGINS_PATH, {})),
    hytaleLogin: async (id) => loginOf(await call(Login, 'GET', `${LOGINS_PATH}/${encodeURIComponent(id)}`)),
    async startHytaleSession(accountId, serverId) {
      const body = { account_id: accountId, ...(serverId === undefined ? {} : { server_id: serverId }) };
      return (await call(Session, 'POST', SESSIONS_PATH, body)).session.id;
    },
    hytaleSession: async (id) => (await call(Session, 'GET', `${SESSIONS_PATH}/${encodeURIComponent(id)}`)).session,
    async storedLines(serverUuid) {
      const path = `${SERVER_LOGS_PATH}/count?server_uuid=${encodeURIComponent(serverUuid)}`;
      return (await call(StoredLines, 'GET', path)).data.total_logs;
    },
    async serverId({ name, uuid }) {
      const path = `/api/admin/servers?pageSize=100&search=${encodeURIComponent(name)}`;
      const server = (await call(AdminServers, 'GET', path)).servers.find((one) => one.uuid === uuid);
      if (server === undefined) throw new Error(`the server ${name} was not synced`);
      return server.id;
    },
    async startSync() {
      return (await call(Started, 'POST', '/api/admin/sync', { type: 'full' })).sync_log_id;
    },
    async syncLog(id) {
      const { log } = await call(Log, 'GET', `/api/admin/sync/logs/${encodeURIComponent(id)}`);
      return {
        status: log.status,
        step: log.metadata.step,
        message: log.metadata.lastMessage,
        percentage: log.metadata.progress ?? 0,
        itemsSynced: log.itemsSynced,
        itemsTotal: log.itemsTotal,
        error: log.error ?? undefined,
        counts: log.metadata.counts ?? {},
        warnings: (log.metadata.warnings ?? []).map((w) => `${w.code}: ${w.message}`),
      };
    },
    async inventory() {
      return (await call(State, 'GET', '/api/admin/sync')).counts;
    },
    async serverUsage() {
      const { data } = await call(Servers, 'GET', USAGE_PATH);
      // The panel says nothing of some, for example of those on a node under maintenance.
      const server = data.find(({ resources }) => resources.cpu.used > 0) ?? data[0];
      if (server === undefined) return undefined;
      const { memory, cpu, disk } = server.resources;
      return { name: server.name, status: server.status, memory: memory.used, cpu: cpu.used, disk: disk.used };
    },
  };
}
