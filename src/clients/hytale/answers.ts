/** What the calls of Hytale come to. Tokens are secrets; `detail` is a public sentence without tokens and bodies. */
import type { Secret } from '../../domain/secret.ts';

interface Explained {
  /** What happened, for people. */
  detail: string;
  /** Null: no complete answer came. */
  httpStatus: number | null;
}

/** A later attempt can succeed: an outage, a limit, something in between. */
export interface Unavailable extends Explained {
  outcome: 'unavailable';
  /** Milliseconds that the answer asks to wait. */
  retryAfterMs?: number | undefined;
  /** The request may have been carried out although no answer came. */
  lost: boolean;
}

/** The host decided against the request; `error` is the code of OAuth (RFC 6749, 5.2) where it sent one. */
export interface Refused extends Explained {
  outcome: 'refused';
  error: string | null;
}

/** The bearer token of the call is not accepted. */
export interface Unauthorized extends Explained {
  outcome: 'unauthorized';
}

export interface DeviceCode {
  outcome: 'ok';
  deviceCode: Secret;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string | null;
  expiresInSeconds: number;
  intervalSeconds: number;
}

export interface TokenSet {
  accessToken: Secret;
  /** Null: none came, so the one before stays. */
  refreshToken: Secret | null;
  expiresInSeconds: number;
  tokenType: string;
  scope: string;
}

export type DeviceCodeResult = DeviceCode | Refused | Unavailable;

/** `misconfigured`: our client id is refused, or the way of signing in. `refused`: any other definite error. */
export type PollResult =
  | { outcome: 'ok'; tokens: TokenSet }
  | { outcome: 'pending' }
  | { outcome: 'slow_down' }
  | (Explained & { outcome: 'expired' | 'denied' })
  | (Explained & { outcome: 'misconfigured'; error: string })
  | Refused
  | Unavailable;

/** `rejected`: the refresh token is spent, expired or revoked: a person must sign in again. */
export type RefreshResult =
  | { outcome: 'ok'; tokens: TokenSet }
  | (Explained & { outcome: 'rejected'; error: string })
  | (Explained & { outcome: 'misconfigured'; error: string })
  | Unavailable;

export interface Profile {
  uuid: string;
  username: string;
}
export type ProfilesResult =
  | { outcome: 'ok'; owner: string; profiles: Profile[] }
  | Unauthorized
  | Refused
  | Unavailable;

/** The tokens of a game session, not validated yet. */
export interface SessionPair {
  /** Null: the answer had none, so the one before stays. Only a refresh may lack it. */
  sessionToken: Secret | null;
  identityToken: Secret;
  expiresAt: Date;
}

/** `forbidden`: 403. `limit`: its text speaks of a limit of sessions; `auth`: of the token. Neither: it does not say. */
export type NewSessionResult =
  | { outcome: 'ok'; pair: SessionPair & { sessionToken: Secret } }
  | Unauthorized
  | (Explained & { outcome: 'forbidden'; limit: boolean; auth: boolean })
  | (Explained & { outcome: 'no_profile' })
  | Refused
  | Unavailable;

/** `rejected`: only a new session helps. */
export type RefreshSessionResult =
  | { outcome: 'ok'; pair: SessionPair }
  | (Explained & { outcome: 'rejected' })
  | Unavailable;

/** `gone`: Hytale does not know the session any more. */
export type EndSessionResult = { outcome: 'ended' | 'gone' } | Unavailable;

/** One attempt per call. @throws the reason of `signal` when the caller aborted. */
export interface HytaleClient {
  requestDeviceCode(signal?: AbortSignal): Promise<DeviceCodeResult>;
  pollToken(deviceCode: Secret, signal?: AbortSignal): Promise<PollResult>;
  refreshToken(refreshToken: Secret, signal?: AbortSignal): Promise<RefreshResult>;
  profiles(accessToken: Secret, signal?: AbortSignal): Promise<ProfilesResult>;
  newSession(accessToken: Secret, profileUuid: string, signal?: AbortSignal): Promise<NewSessionResult>;
  refreshSession(sessionToken: Secret, signal?: AbortSignal): Promise<RefreshSessionResult>;
  endSession(sessionToken: Secret, signal?: AbortSignal): Promise<EndSessionResult>;
  /** Waits for requests in flight, then closes the connections. */
  close(): Promise<void>;
}

export interface TokenClaims {
  iss: string;
  sub: string;
  iat: number;
  exp: number;
  nbf?: number | undefined;
  aud?: string | string[] | undefined;
  scope?: string | undefined;
  [claim: string]: unknown;
}

/** `unknown`: the keys of Hytale cannot be had, so nothing can be said about the token. */
export type Verified =
  | { state: 'valid'; claims: TokenClaims; expiresAt: Date }
  | { state: 'invalid'; code: 'EXPIRED_TOKEN' | 'INVALID_TOKEN'; detail: string }
  | { state: 'unknown'; detail: string };

export interface JwksStatus {
  /** Whether the keys are younger than an hour. */
  cacheValid: boolean;
  keysCount: number;
  lastRefresh: Date | null;
  nextRefresh: Date | null;
  /** Why the last fetch failed; null: it did not. */
  problem: string | null;
}

export interface VerifyOptions {
  type: 'session' | 'identity';
  /** The profile that the token must stand for. */
  profileUuid?: string | undefined;
  audience?: string | undefined;
  /** Hytale has sent it just now: if its key is not known, the keys are fetched at once. Other tokens do so every five minutes. */
  justReceived?: boolean | undefined;
  /** Default: now. */
  now?: Date | undefined;
}

/** Verifies tokens of the session service against its published keys. */
export interface TokenVerifier {
  /** Whether keys are there, fetched or kept. Called before a session is spent on tokens that could not be verified. */
  ready(): Promise<{ ok: true } | { ok: false; detail: string }>;
  verify(token: Secret, options: VerifyOptions): Promise<Verified>;
  status(): JwksStatus;
  /** Fetches the keys now. */
  refresh(): Promise<JwksStatus>;
}
