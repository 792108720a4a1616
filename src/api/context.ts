/** What the api is composed of: handed to `createApp` by the server or by a test, and from there to each handler. */

import type { Logger } from 'pino';
import type { Config } from '../config.ts';
import type { AuthUser } from '../domain/accounts/account.ts';
import { AppError } from '../domain/errors.ts';
import type { AutoSync } from '../domain/settings.ts';
import type { Tokens } from '../services/accounts/access-tokens.ts';
import type { StatsCache } from '../services/inventory/statistics-cache.ts';
import type { Settings } from '../services/settings/settings.ts';
import type { SyncLauncher } from '../services/sync/launcher.ts';
import type { Db } from '../store/db/db.ts';
import type { EmailStore } from '../store/email/email-store.ts';
import type { SyncStreams } from './streams/sync-stream.ts';

/** What health asks of the workflow engine; both answer within their timeout. */
export interface EngineHealth {
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
  >;
  db: Db;
  settings: Settings;
  emails: EmailStore;
  launcher: Pick<SyncLauncher, 'requestSync' | 'cancelSync'>;
  temporal: EngineHealth;
  streams: SyncStreams;
  log: Logger;
  /** Package version, as shown by health and the OpenAPI document. */
  version: string;
  /** Brings the schedule in line with the stored setting; bounded in time by the caller. */
  reconcileAutoSync(setting: AutoSync): Promise<void>;
}

/** What handlers see: the dependencies and what the app made of them. */
export interface Services extends AppDeps {
  tokens: Tokens;
  stats: StatsCache;
}

/** Who calls, as the route's declared mode of authentication found out. */
export type Caller =
  | { kind: 'public' }
  | { kind: 'apiKey' }
  | {
      kind: 'user';
      user: AuthUser;
      /** Unix seconds of the token's `iat`; it tells the session the token was issued with. */
      tokenIssuedAt: number | undefined;
    };

/** The signed-in user of a route whose mode guarantees one. */
export function userOf(caller: Caller): AuthUser {
  if (caller.kind !== 'user') throw new AppError('INTERNAL_ERROR', { meta: { reason: 'route without a user' } });
  return caller.user;
}
