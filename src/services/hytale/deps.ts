/** What the steps of Hytale logins, accounts and sessions work with. */
import type { Logger } from 'pino';
import type { HytaleClient, TokenVerifier } from '../../clients/hytale/answers.ts';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { Db } from '../../store/db/db.ts';
import type { Encryption } from '../../store/db/encryption.ts';

/** Makes workflows look at their rows; starts those that do not run. */
export interface WakeHytale {
  account(accountId: string): Promise<void>;
  session(sessionId: string): Promise<void>;
}

export interface HytaleDeps {
  db: Db;
  encryption: Encryption;
  environment: HytaleEnvironment;
  client: HytaleClient;
  verifier: TokenVerifier;
  /** Sessions that Hytale allows one account at the same time. */
  sessionLimit: number;
  wake: WakeHytale;
  /** Waits for the turn to call Hytale; default: there is no need to. */
  turn?(): Promise<void>;
  log: Logger;
  /** Unix milliseconds. */
  now(): number;
  /** From 0 to 1: spreads the timers. */
  random(): number;
  /** Milliseconds for which a refresh may be under way; default: what the client's timeout needs. */
  leaseMs?: number;
}
