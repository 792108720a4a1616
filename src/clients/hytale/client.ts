/** The API of Hytale for game server providers: one attempt per call, no retries. */
import type { HytaleHosts } from '../../domain/hytale/environment.ts';
import { createHttpClient } from '../http/http.ts';
import { profiles } from './account-data.ts';
import type { HytaleClient } from './answers.ts';
import { createOAuth } from './oauth.ts';
import type { Host } from './read-answer.ts';
import { endSession, newSession, refreshSession } from './sessions.ts';

export interface HytaleClientOptions {
  /** Origins; of http only where an operator configured it. */
  hosts: HytaleHosts;
  /** Milliseconds for one request and its answer; default 30,000, as the official server has it. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_CONNECT_MS = 10_000;
/** The answers are a few kilobytes. */
const MAX_BODY_BYTES = 256 * 1024;
/** Per host. A worker makes at most 20 calls a second, most of which end within one. */
const CONNECTIONS = 50;

/** A client with a pool per host; the caller closes it. */
export function createHytaleClient(options: HytaleClientOptions): HytaleClient {
  const { hosts, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const hostAt = (origin: string, who: string): Host => {
    const http = createHttpClient({
      origin,
      guard: 'environment',
      timeoutMs,
      connectTimeoutMs: Math.min(timeoutMs, MAX_CONNECT_MS),
      maxBodyBytes: MAX_BODY_BYTES,
      connections: CONNECTIONS,
    });
    return { http, who };
  };
  const base = new URL(hosts.oauth).origin;
  const oauth = hostAt(base, 'the sign-in host of Hytale');
  const accountData = hostAt(new URL(hosts.accountData).origin, 'the account host of Hytale');
  const sessions = hostAt(new URL(hosts.sessions).origin, 'the session host of Hytale');
  return {
    ...createOAuth(oauth, base),
    profiles: (accessToken, signal) => profiles(accountData, accessToken, signal),
    newSession: (accessToken, profileUuid, signal) => newSession(sessions, accessToken, profileUuid, signal),
    refreshSession: (sessionToken, signal) => refreshSession(sessions, sessionToken, signal),
    endSession: (sessionToken, signal) => endSession(sessions, sessionToken, signal),
    close: async () => {
      await Promise.all([oauth, accountData, sessions].map(({ http }) => http.close()));
    },
  };
}
