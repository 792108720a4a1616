/** The dependencies of the HTTP API: the server or a test passes them to `createApp`, which passes them to each handler. */
import type { Logger } from 'pino';
import type { DiscordClient } from '../clients/discord/client.ts';
import type { TokenVerifier } from '../clients/hytale/answers.ts';
import type { Config } from '../config.ts';
import type { AuthUser } from '../domain/accounts/account.ts';
import type { AuditOrigin } from '../domain/audit.ts';
import { AppError } from '../domain/errors.ts';
import type { AutoSync } from '../domain/settings.ts';
import type { WebhookUrlRules } from '../domain/webhook-url.ts';
import type { Tokens } from '../services/accounts/access-tokens.ts';
import type { SignedInCaller } from '../services/accounts/callers.ts';
import type { ReadOrigin, RequestOrigin } from '../services/accounts/networks.ts';
import type { Hytale } from '../services/hytale/hytale.ts';
import type { LiveUsage } from '../services/inventory/live-usage.ts';
import type { StatsCache } from '../services/inventory/statistics-cache.ts';
import type { ListTotals } from '../services/list-totals.ts';
import type { QueueStats } from '../services/runs/queue-stats.ts';
import type { Runs } from '../services/runs/runs.ts';
import type { Settings } from '../services/settings/settings.ts';
import type { SyncLauncher } from '../services/sync/launcher.ts';
import type { MirrorStatus } from '../services/sync/live-mirror.ts';
import type { UserCounts } from '../store/accounts/user-list.ts';
import type { Db } from '../store/db/db.ts';
import type { EmailStore } from '../store/email/email-store.ts';
import type { NodeCount } from '../store/inventory/allocations.ts';
import type { WebhookStore } from '../store/webhooks/webhook-store.ts';
import type { NamespaceState } from '../temporal/connection.ts';
import type { SyncStreams } from './streams/sync-stream.ts';

/** The health of the workflow engine; each call answers within its timeout. */
export interface EngineHealth {
  state(timeoutMs?: number): Promise<NamespaceState>;
  reachable(timeoutMs?: number): Promise<boolean>;
  workersPolling(timeoutMs?: number): Promise<boolean>;
}

export interface AppDeps {
  config: Pick<
    Config,
    | 'production'
    | 'backendApiKey'
    | 'jwtSecret'
    | 'nextAuthSecret'
    | 'jwtAccessTtlSeconds'
    | 'corsOrigins'
    | 'trustedProxyHops'
    | 'hytale'
  >;
  db: Db;
  settings: Settings;
  emails: EmailStore;
  webhooks: WebhookStore;
  /** Which URLs a webhook may have. */
  webhookUrlRules: WebhookUrlRules;
  discord: Pick<DiscordClient, 'post' | 'inspect'>;
  /** Asks a workflow to end, within a few seconds. */
  cancelWorkflow(workflowId: string): Promise<void>;
  launcher: Pick<SyncLauncher, 'requestSync' | 'cancelSync'>;
  /** The age of the mirror, and when it is renewed. */
  mirror(): Promise<MirrorStatus>;
  temporal: EngineHealth;
  queues: QueueStats;
  runs: Runs;
  hytale: Hytale;
  tokenVerifier: TokenVerifier;
  streams: SyncStreams;
  usage: LiveUsage;
  log: Logger;
  /** Reports an error that a person should look at. Never throws. */
  report(error: unknown, context: { requestId: string; code: string }): void;
  /** Version of the package, for `/health` and the OpenAPI document. */
  version: string;
  /** Changes the schedule to the stored setting. The implementation limits its own duration. */
  reconcileAutoSync(setting: AutoSync): Promise<void>;
}

/** What handlers get: the dependencies, and what `createApp` makes of them. */
export interface Services extends AppDeps {
  tokens: Tokens;
  readOrigin: ReadOrigin;
  stats: StatsCache;
  totals: ListTotals;
  userCounts: ListTotals<UserCounts>;
  allocationCounts: ListTotals<readonly NodeCount[]>;
}

/** The authenticated caller of a route. */
export type Caller = { kind: 'public' } | { kind: 'apiKey' } | ({ kind: 'user' } & SignedInCaller);

/** The signed-in caller, for routes whose authentication mode guarantees one. */
export function signedIn(caller: Caller): SignedInCaller {
  if (caller.kind !== 'user') throw new AppError('INTERNAL_ERROR', { meta: { reason: 'route without a user' } });
  return caller;
}

/** The user of {@link signedIn}. */
export const userOf = (caller: Caller): AuthUser => signedIn(caller).user;

/** Who changes something, and from where: for the audit event of the change. */
export const changedBy = ({ caller, origin }: { caller: Caller; origin: RequestOrigin }): AuditOrigin => ({
  actor: actorOf(caller),
  network: origin.networkDigest,
  requestId: origin.requestId,
});

function actorOf(caller: Caller): AuditOrigin['actor'] {
  if (caller.kind === 'user') return { type: 'user', id: caller.user.id };
  return { type: caller.kind === 'apiKey' ? 'apiKey' : 'anonymous' };
}
