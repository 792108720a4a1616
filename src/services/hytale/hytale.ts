/** What can be asked of the Hytale accounts and sessions. Effects are carried out by their workflows; callers wait for the answer. */
import type { Profile } from '../../clients/hytale/answers.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import type { LoginStatus } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';

/** Who asks, for the audits. */
export interface Requester {
  by: AuditOrigin;
  /** Address and agent, which the Hytale audit keeps. */
  ipAddress: string | null;
  userAgent: string | null;
}

/** A login that waits for a person. */
export interface StartedLogin {
  loginId: string;
  deviceCode: Secret;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string | null;
  expiresInSeconds: number;
  intervalSeconds: number;
}

/** A login as an administrator sees it. */
export interface LoginView extends Omit<StartedLogin, 'deviceCode' | 'expiresInSeconds'> {
  status: LoginStatus;
  /** The account that approved it. */
  accountId: string | null;
  reason: string | null;
  expiresAt: Date | null;
}

/** The tokens of an account, for a caller who may have them. */
export interface AccountTokens {
  accountId: string;
  profileUuid: string | null;
  accessToken: Secret;
  refreshToken: Secret;
  /** Whole seconds, from now. */
  expiresInSeconds: number;
  tokenType: string;
  scope: string;
}

/** `failed`: `error` is the code of OAuth, `description` a sentence. */
export type PollAnswer =
  | { state: 'pending' }
  | { state: 'granted'; tokens: AccountTokens }
  | { state: 'failed'; error: string; description: string };

/** Names one session of an account: by its id, by its server, or by the profile alone. */
export interface SessionChoice {
  accountId: string;
  profileUuid?: string | undefined;
  sessionId?: string | undefined;
  serverId?: string | undefined;
}

export interface NewPair {
  sessionId: string;
  sessionToken: Secret;
  identityToken: Secret;
  /** ISO time of the end of the token that ends first. */
  expiresAt: string;
}

/**
 * All methods throw {AppError}: NOT_FOUND with `No token found for account`, SESSION_NOT_FOUND, SERVICE_UNAVAILABLE with a wait when
 * Temporal or its worker does not answer, and the codes of `HYTALE_*`, REAUTH_REQUIRED, SESSION_LIMIT_EXCEEDED, INTEGRATION_ERROR for
 * what Hytale answered.
 */
export interface Hytale {
  /** @param accountId the account that must approve it; null: whichever does. */
  startLogin(accountId: string | null, who: Requester): Promise<StartedLogin>;
  /** What became of the login of a device code. Hytale is not asked: the workflow polls. An unknown pair of code and account is `invalid_grant`. */
  pollLogin(deviceCode: string, accountId: string): Promise<PollAnswer>;
  /** @throws {AppError} NOT_FOUND. */
  login(loginId: string): Promise<LoginView>;
  cancelLogin(loginId: string, who: Requester): Promise<void>;
  /** Renews the tokens of an account now. */
  refreshAccount(accountId: string, who: Requester): Promise<AccountTokens>;
  /** Asks Hytale for the profiles. */
  profiles(accountId: string): Promise<{ owner: string; profiles: Profile[] }>;
  /** @throws {AppError} HYTALE_NOT_FOUND when the account has no such profile. */
  selectProfile(accountId: string, profileUuid: string, who: Requester): Promise<void>;
  /** Ends all sessions of an account and deletes its tokens. Returns when it has begun. */
  disconnect(accountId: string, who: Requester): Promise<void>;
  /** A session of a server, or of none; a fresh pair if there is one already. @throws {AppError} NOT_FOUND `Server not found`. */
  newSession(choice: Omit<SessionChoice, 'sessionId'>, who: Requester): Promise<NewPair>;
  /** @throws {AppError} CONFLICT when the choice fits several sessions. */
  refreshSession(choice: SessionChoice, who: Requester): Promise<void>;
  endSession(choice: SessionChoice, who: Requester): Promise<void>;
  /** A fresh pair, pushed to the server; `restart`: the server is restarted afterwards. */
  renewSession(sessionId: string, options: { restart: boolean }, who: Requester): Promise<void>;
  /** Links a session to a server, or to none. @throws {AppError} CONFLICT when the server has a session of that profile. */
  linkSession(sessionId: string, serverId: string | null, who: Requester): Promise<void>;
  /** Ends a session by its id. */
  endSessionById(sessionId: string, who: Requester): Promise<void>;
}
