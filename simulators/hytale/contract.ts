/** What a running Hytale simulator offers to tests, to the demo and to `/__sim/*`. */

/** The hosts of Hytale, each on a port of its own. */
export interface SimulatorHosts {
  /** Also the verification page. */
  oauth: string;
  accountData: string;
  sessions: string;
}

/** What is not known of Hytale, each way. The defaults are what is seen or documented. */
export interface HytaleSwitches {
  /** Whether tokens of sessions name their key; default true. */
  kid: boolean;
  /** `aud` of session and identity tokens; default none. */
  audience: string | string[] | null;
  /** Status of a refused login; default 403, as Hydra. */
  deniedStatus: 403 | 400;
  /** Status of `slow_down`; default 400. */
  slowDownStatus: 400 | 429;
  /** Seconds in which a spent refresh token gives the same successor again; default 0: a reuse ends the whole family. */
  graceSeconds: number;
  /** Whether a reuse of a spent refresh token ends the whole family; default true. */
  reuseRevokesFamily: boolean;
  /** Error of a reuse; default `invalid_grant` at 400, else `token_inactive` at 401. */
  reuseError: 'invalid_grant' | 'token_inactive';
  /** Whether a refresh brings a new refresh token; default true. */
  rotates: boolean;
  /** Whether the 30 days begin again with each rotation; default true. */
  sliding: boolean;
  /** Status of a new session; default 201. */
  newSessionStatus: 200 | 201;
  /** Status of an ended session; default 204, and of one that is not there any more; default 404. */
  endStatus: 200 | 204;
  goneStatus: 401 | 403 | 404;
  /** How a bad bearer is answered; default 403 with plain text. */
  badBearerStatus: 401 | 403;
  /** Body of a 403 at the session limit; default empty. */
  limitBody: 'empty' | 'text' | 'json';
  /** Whether a refresh of a session ends its earlier pair; default true. */
  refreshEndsEarlierPair: boolean;
  /** Whether an expired session can be refreshed; default false. */
  refreshOfExpired: boolean;
  /** Whether the answer of a session refresh holds a session token; default true. */
  refreshHasSessionToken: boolean;
  /** Whether a device code answer has `verification_uri_complete` and `interval`; default true. */
  completeUri: boolean;
  sendsInterval: boolean;
}

export interface HytaleSimulatorOptions {
  /** First of three ports; default 0: free ports. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default: what `now` of the clock gives. A test with a clock of its own passes it. */
  now?: () => number;
  /** `iss` of session tokens; default: the origin of the session host. */
  issuer?: string;
  switches?: Partial<HytaleSwitches>;
  /** Seconds; defaults 600, 5, 3600, 30 days, 3600. */
  lives?: Partial<{
    deviceCode: number;
    interval: number;
    accessToken: number;
    refreshToken: number;
    session: number;
  }>;
  /** Sessions that an account may have at the same time; default 100. */
  sessionLimit?: number;
  seed?: number;
}

export interface SimulatedAccount {
  readonly id: string;
  readonly name: string;
  profiles: { uuid: string; username: string }[];
  /** `sessions.unlimited_servers`. */
  unlimited: boolean;
}

/** The calls, as faults and the log name them. */
export type HytaleCall =
  | 'device'
  | 'token-device'
  | 'token-refresh'
  | 'profiles'
  | 'session-new'
  | 'session-refresh'
  | 'session-end'
  | 'jwks';

export type HytaleFault =
  /** 429; `retryAfter`: seconds, an HTTP date that many seconds ahead (`date`), or none (null). */
  | { kind: 'limited'; retryAfter: number | null; date?: boolean | undefined }
  /** An error page or JSON of the server; nothing is carried out. */
  | { kind: 'status'; status: number; html?: boolean | undefined }
  /** This answer, and nothing is carried out. */
  | { kind: 'answer'; status: number; body: string; type?: string | undefined }
  /** Not carried out: the connection is reset, or no answer comes. */
  | { kind: 'cut' | 'hang' }
  /** Carried out: the connection is reset, no answer comes, half of the answer comes, or the answer comes late. */
  | { kind: 'done-cut' | 'done-hang' | 'done-half' }
  | { kind: 'slow'; ms: number }
  /** Carried out; the answer lacks these fields, or has them besides. */
  | { kind: 'without'; fields: string[] }
  | { kind: 'with'; fields: Record<string, unknown> }
  /** Carried out; the tokens of the session are spoiled. */
  | { kind: 'spoiled'; how: 'issuer' | 'expired' | 'future' | 'no-exp' | 'none' | 'tampered' | 'subject' | 'scope' };

/** One request. Tokens and codes are SHA-256 digests. */
export interface HytaleRequest {
  readonly n: number;
  /** Unix milliseconds by the clock of the simulator, and by the real one. */
  readonly at: number;
  readonly realAt: number;
  readonly call: HytaleCall | null;
  readonly method: string;
  readonly path: string;
  readonly userAgent: string | null;
  /** Digest of the bearer, refresh token or device code. */
  readonly credential: string | null;
  /** The account it was for, where that is known. */
  account: string | null;
  /** 0: not answered. */
  status: number;
  /** Whether it was carried out, whatever was answered. */
  done: boolean;
  /** `error` of OAuth, or what was refused. */
  error: string | null;
}

/** A refresh token in the simulator's book. */
export interface RefreshTokenFacts {
  digest: string;
  account: string;
  /** How often it was exchanged for a successor: more than once is what must never happen (within a grace period it may). */
  spent: number;
  /** How often it was presented after it had been spent. */
  reused: number;
  /** Whether the answer of its first spending reached the client, as far as the simulator can tell. */
  answered: boolean;
}

export interface SimulatedSession {
  readonly id: string;
  readonly account: string;
  readonly profile: string;
  readonly createdAt: number;
  expiresAt: number;
  ended: boolean;
  refreshes: number;
}

/** The tokens of a session, as an answer holds them. */
export interface SimulatedPair {
  sessionToken?: string;
  identityToken: string;
  expiresAt: string;
}

export interface HytaleSimulator {
  readonly hosts: SimulatorHosts;
  readonly issuer: string;
  switches: HytaleSwitches;
  /** Milliseconds by its clock, and moves it forward. */
  now(): number;
  advance(ms: number): void;
  /** A new account; default: one profile. */
  addAccount(account?: {
    id?: string;
    name?: string;
    profiles?: { uuid?: string; username: string }[];
  }): SimulatedAccount;
  accounts(): SimulatedAccount[];
  /** What the person does on the verification page: approves a user code for an account, or refuses it. */
  approve(userCode: string, accountId: string): void;
  deny(userCode: string): void;
  /** User codes that wait for a person, oldest first. */
  waiting(): string[];
  /** Withdraws the consent in the account portal: access and refresh tokens of the account die; its sessions live on. */
  revokeConsent(accountId: string): void;
  /** Ends sessions in the account portal. */
  endSessions(accountId: string): void;
  setSessionLimit(limit: number): void;
  /** A session that began earlier: its pair has so many seconds left. The limit of the account does not count. */
  runningSession(accountId: string, secondsLeft: number): Promise<{ profile: string; pair: SimulatedPair }>;
  sessions(accountId?: string): SimulatedSession[];
  /** Sessions that live now. */
  live(accountId?: string): SimulatedSession[];
  refreshTokens(accountId?: string): RefreshTokenFacts[];
  /** A new key signs; the old one stays published, or not. */
  rotateKeys(options?: { keepOld?: boolean }): Promise<void>;
  /**
   * Applies to the next requests of the call, of one account or of all. `times`: default 1, with `forMs` all; Infinity: until
   * cleared. `forMs`: ends after this time by its clock.
   */
  fault(call: HytaleCall, fault: HytaleFault, options?: { times?: number; forMs?: number; account?: string }): void;
  clearFaults(call?: HytaleCall): void;
  requests(call?: HytaleCall): HytaleRequest[];
  clearRequests(): void;
  /** Whether a text holds a token or code that was given out, for searches of logs and stores. */
  secrets(): string[];
  /** Forgets logins, tokens, sessions, requests and faults. Accounts, keys, switches and the clock stay. */
  reset(): void;
  close(): Promise<void>;
}
