/** A real api with a real database and socket. Only Temporal is replaced: a fake records the requests to it. */
import { randomUUID } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { Writable } from 'node:stream';
import { type JWTPayload, SignJWT } from 'jose';
import pino from 'pino';
import { createApp } from '../../../src/api/app.ts';
import type { AppDeps } from '../../../src/api/context.ts';
import { createHttpServer } from '../../../src/api/http/http-server.ts';
import { createSyncStreams, type SyncStreamOptions } from '../../../src/api/streams/sync-stream.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import type { AutoSync } from '../../../src/domain/settings.ts';
import { hashPassword } from '../../../src/services/accounts/password-hash.ts';
import { createLiveUsage } from '../../../src/services/inventory/live-usage.ts';
import { createQueueStats } from '../../../src/services/runs/queue-stats.ts';
import { createRuns } from '../../../src/services/runs/runs.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import type { SyncLauncher } from '../../../src/services/sync/launcher.ts';
import { mirrorStatus } from '../../../src/services/sync/live-mirror.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { createListener } from '../../../src/store/db/listener.ts';
import { query } from '../../../src/store/db/query.ts';
import { createEmailStore } from '../../../src/store/email/email-store.ts';
import { createWebhookStore } from '../../../src/store/webhooks/webhook-store.ts';
import type { EngineRuns } from '../../../src/temporal/engine-runs.ts';
import { NO_FIGURES } from '../../../src/temporal/task-queues.ts';
import { createTestDatabase, type TestDatabase } from '../database.ts';
import { checkAgainstDocument } from './document.ts';
import { fakeHytale, fakeVerifier } from './hytale.ts';

export const API_KEY = 'test-api-key-of-more-than-32-characters';
export const JWT_SECRET = 'test-jwt-secret-of-more-than-32-characters';
export const NEXTAUTH_SECRET = 'other-secret-of-more-than-32-characters-too';
export const ENCRYPTION_KEY = Buffer.alloc(32, 7).toString('base64');
export const ORIGIN = 'https://site.example';
export const PASSWORD = 'Correct-horse-7';

export const panelConfig = {
  url: undefined,
  apiKey: undefined,
  clientApiKey: undefined,
  cfAccessClientId: undefined,
  cfAccessClientSecret: undefined,
  concurrency: 8,
  requestsPerMinute: undefined,
} as const;

type Loose = Record<string, unknown>;
/** The keys that tests read. A missing key is undefined at run time, and the assertion fails. */
export interface AnswerBody {
  success: boolean;
  error: string;
  code: string;
  message: string;
  data: Loose & { logs: (Loose & { id: string; metadata: string })[]; locations: Loose };
  status: Loose;
  counts: Loose;
  checks: Loose;
  logs: Loose[];
  availableTargets: string[];
  details: { path: string }[];
  user: Loose;
  settings: Loose;
  mirror: Loose;
  webhook: Loose & { id: string; webhookUrl: string };
  webhooks: (Loose & { id: string; webhookUrl: string })[];
  warnings: string[];
  tokens: Loose;
  accessToken: string;
  refreshToken: string;
}
export interface ApiResponse extends Omit<Response, 'json'> {
  json(): Promise<AnswerBody>;
}

export interface Harness {
  url: string;
  database: TestDatabase;
  deps: AppDeps;
  /** Syncs that the api requested. */
  requested: Parameters<SyncLauncher['requestSync']>[0][];
  cancelled: (string | undefined)[];
  reconciled: AutoSync[];
  /** The complete log, as text. */
  logged(): string;
  /** Sends a request and checks the answer against the OpenAPI document. */
  get(path: string, init?: RequestInit): Promise<ApiResponse>;
  close(): Promise<void>;
}

export interface HarnessOptions {
  database?: TestDatabase;
  deps?: Partial<AppDeps>;
  config?: Partial<AppDeps['config']>;
  launcher?: Partial<SyncLauncher>;
  /** What Temporal says of the runs of schedules; default: it has none. */
  engine?: Partial<EngineRuns>;
  /** Address of the Temporal UI. */
  temporalUiUrl?: string;
  streams?: SyncStreamOptions;
  /** The environment's panel; default: none. */
  panel?: { url: string; apiKey: Secret; clientApiKey: Secret };
  /** Milliseconds that a page waits for its panel. */
  patienceMs?: number;
}

export async function startHarness(options: HarnessOptions = {}): Promise<Harness> {
  const database = options.database ?? (await createTestDatabase());
  const lines: string[] = [];
  const log = pino(
    { level: 'debug' },
    new Writable({
      write(chunk, _encoding, done) {
        lines.push(String(chunk));
        done();
      },
    }),
  );
  const listener = createListener({ connectionString: database.url, log });
  const streams = createSyncStreams({ db: database.db, listener, log }, options.streams);
  const encryption = createEncryption({ key: new Secret(ENCRYPTION_KEY) });
  const settings = createSettings({
    db: database.db,
    config: {
      panel: { ...panelConfig, ...options.panel },
      virtfusion: { url: undefined, apiKey: undefined },
      autoSync: { enabled: false, mode: 'interval', intervalSeconds: 3600, budgetShare: 25 },
      email: loadConfig({}).email,
      environment: {},
    },
    encryption,
  });
  const usage = createLiveUsage({
    db: database.db,
    settings,
    environmentUrl: options.panel?.url,
    log,
    patienceMs: options.patienceMs,
  });
  const requested: Harness['requested'] = [];
  const cancelled: Harness['cancelled'] = [];
  const reconciled: Harness['reconciled'] = [];
  const launcher: AppDeps['launcher'] = {
    async requestSync(request) {
      requested.push(request);
      return { syncLogId: randomUUID(), taskId: 'task', status: 'PENDING', joined: false };
    },
    async cancelSync(id) {
      cancelled.push(id);
      return { syncLogId: id ?? 'newest' };
    },
    ...options.launcher,
  };
  const engine: EngineRuns = {
    list: async () => [],
    find: async () => undefined,
    trigger: async () => true,
    ...options.engine,
  };
  const emails = createEmailStore(encryption);
  const deps: AppDeps = {
    config: {
      production: false,
      backendApiKey: new Secret(API_KEY),
      jwtSecret: new Secret(JWT_SECRET),
      nextAuthSecret: new Secret(NEXTAUTH_SECRET),
      jwtAccessTtlSeconds: 2_592_000,
      corsOrigins: [ORIGIN],
      trustedProxyHops: 0,
      hytale: loadConfig({}).hytale,
      ...options.config,
    },
    db: database.db,
    settings,
    emails,
    webhooks: createWebhookStore(encryption),
    webhookUrlRules: { hosts: [], production: false },
    // Knows every webhook, and takes every message.
    discord: {
      inspect: async () => ({ state: 'alive', channelId: null, name: null }),
      post: async () => ({ outcome: 'delivered', httpStatus: 200, messageId: 'message', channelId: null }),
    },
    cancelWorkflow: async (id) => {
      cancelled.push(id);
    },
    launcher,
    mirror: () => mirrorStatus({ db: database.db, autoSync: settings.autoSync, requestsPerMinute: undefined }),
    temporal: { state: async () => 'ok', reachable: async () => true, workersPolling: async () => true },
    queues: createQueueStats(async () => ({
      core: NO_FIGURES,
      panel: NO_FIGURES,
      outbound: NO_FIGURES,
      webhooks: NO_FIGURES,
      hytale: NO_FIGURES,
    })),
    runs: createRuns({
      db: database.db,
      emails,
      launcher,
      engine,
      ui: { url: options.temporalUiUrl, namespace: 'name space/2' },
      log,
    }),
    hytale: fakeHytale(),
    tokenVerifier: fakeVerifier(),
    streams,
    usage,
    log,
    report: () => undefined,
    version: '9.9.9',
    reconcileAutoSync: async (setting) => {
      reconciled.push(setting);
    },
    ...options.deps,
  };
  const server = createHttpServer(createApp(deps));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    database,
    deps,
    requested,
    cancelled,
    reconciled,
    logged: () => lines.join(''),
    async get(path, init) {
      const response = await fetch(`${url}${path}`, init);
      await checkAgainstDocument(init?.method ?? 'GET', path, response);
      return response as ApiResponse;
    },
    async close() {
      deps.streams.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await deps.usage.close();
      await listener.close();
      if (options.database === undefined) await database.drop();
    },
  };
}

export const json = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

export const bearer = (token: string): Record<string, string> => ({ Authorization: `Bearer ${token}` });

/** Signs claims, with wrong options too. */
export async function signToken(
  claims: JWTPayload,
  options: { secret?: string; alg?: string; expiresIn?: number; notBefore?: number; issuedAt?: number } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT(claims)
    .setProtectedHeader({ alg: options.alg ?? 'HS256', typ: 'JWT' })
    .setIssuedAt(options.issuedAt ?? now)
    .setNotBefore(now + (options.notBefore ?? -600))
    .setExpirationTime(now + (options.expiresIn ?? 3600))
    .sign(new TextEncoder().encode(options.secret ?? JWT_SECRET));
}

/** A forged token without a signature. */
export function unsignedToken(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'none', typ: 'JWT' })}.${part({ ...claims, exp: Math.floor(Date.now() / 1000) + 3600 })}.`;
}

let serial = 0;
let passwordHash: Promise<string> | undefined;
export async function makeUser(
  harness: { database: TestDatabase },
  user: { roles?: string[]; isSystemAdmin?: boolean; emailVerified?: boolean; isActive?: boolean; email?: string } = {},
): Promise<{ id: string; email: string; token: string }> {
  serial += 1;
  const email = user.email ?? `user${serial}-${process.pid}@example.com`;
  const id = randomUUID();
  // One hash for all users: hashing takes most of the time of these tests.
  passwordHash ??= hashPassword(PASSWORD);
  await harness.database.db.raw(
    `insert into users (id, email, password, username, roles, "isSystemAdmin", "isActive", "emailVerified")
     values (?, ?, ?, ?, ?::text[], ?, ?, case when ?::boolean then now() at time zone 'utc' end)`,
    [
      id,
      email,
      await passwordHash,
      email.split('@')[0] ?? '',
      user.roles ?? ['MEMBER'],
      user.isSystemAdmin ?? false,
      user.isActive ?? true,
      user.emailVerified ?? true,
    ],
  );
  return { id, email, token: await signToken({ id }) };
}

/** Inserts a row of the sync log as the sync would. */
export async function insertLog(
  database: TestDatabase,
  log: { type?: string; status?: string; metadata?: object | null; startedAt?: string; error?: string | null } = {},
): Promise<string> {
  const id = randomUUID();
  await database.db.raw(
    `insert into sync_logs (id, type, status, "itemsTotal", "itemsSynced", "itemsFailed", "startedAt", "completedAt", error, metadata)
     values (?, ?, ?, 10, 4, 1, ?::timestamp, case when ? then ?::timestamp + interval '90 s' end, ?, ?::jsonb)`,
    [
      id,
      log.type ?? 'full',
      log.status ?? 'COMPLETED',
      log.startedAt ?? '2026-01-09 10:30:00.123',
      ['COMPLETED', 'FAILED', 'CANCELLED'].includes(log.status ?? 'COMPLETED'),
      log.startedAt ?? '2026-01-09 10:30:00.123',
      log.error ?? null,
      log.metadata === null ? null : JSON.stringify(log.metadata ?? { version: 1, lastMessage: 'hello' }),
    ],
  );
  return id;
}

/** Changes a row of the sync log and notifies the api in one transaction, as the sync does. */
export async function changeLog(database: TestDatabase, id: string, status: string, metadata: object): Promise<void> {
  await inTransaction(database.db, async (trx) => {
    await query(trx, `update sync_logs set status = ?, metadata = ?::jsonb where id = ?`, [
      status,
      JSON.stringify(metadata),
      id,
    ]);
    await query(trx, `select pg_notify('sync_log', ?)`, [id]);
  });
}
