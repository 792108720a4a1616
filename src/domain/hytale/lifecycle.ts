/** How long the tokens of Hytale live, and when each is renewed. Times are Unix milliseconds. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;

/** A token is renewed this long before it expires (the official server does so too) … */
export const RENEW_BEFORE_MS = 5 * MINUTE;
/** … and up to this much earlier, so that many do not come at once. */
export const SPREAD_MS = 30 * SECOND;
/** Tokens are not renewed sooner than this after they were received, however short they live. */
const MIN_WAIT_MS = 60 * SECOND;
/** Age at which a refresh token is rotated although its access token is still good. It dies at 30 days. */
export const ROTATE_AFTER_MS = 23 * DAY;
export const REFRESH_TOKEN_LIFE_MS = 30 * DAY;
/** A game server renews its session only if it starts with more than five minutes left; ten leave it time to start. */
export const MIN_HANDOUT_MS = 10 * MINUTE;
/** An access token with less left is not used for a call. */
export const MIN_ACCESS_LEFT_MS = 60 * SECOND;
/** Calls of Hytale in a second that timers cause, over all workers: after an outage thousands can be overdue at once. */
export const CALLS_PER_SECOND = 20;
/** Waits after the first and the second failed attempt (as the official server), then after each further one. */
const RETRY_WAITS_MS = [30 * SECOND, 60 * SECOND];
export const LATER_RETRY_MS = 5 * MINUTE;
/** Attempts to renew a session by its own token, before a new one is created. */
export const SESSION_REFRESH_ATTEMPTS = 3;
/** How often a session that the limit of the account refused is tried again. */
export const LIMITED_RETRY_MS = 10 * MINUTE;
/** A session without a living pair for this long, of no server, is removed. */
export const DEAD_SESSION_MS = 2 * 60 * MINUTE;
/** Device login: bounds of the interval between polls, its growth by `slow_down` (RFC 8628, 3.5), and our cap of its life. */
export const POLL_SECONDS = { default: 5, min: 5, max: 60, slowDown: 5 } as const;
export const LOGIN_LIFE_MS = 15 * MINUTE;

/** Moves a moment earlier by a random part of the spread. @param random from 0 to 1. */
export const spread = (at: number, random: number): number => at - Math.floor(random * SPREAD_MS);

/** When the tokens of an account are renewed. @param obtainedAt when its refresh token was received. */
export const accountRefreshAt = (tokens: { accessExpiresAt: number; obtainedAt: number }, random: number): number =>
  Math.max(
    spread(Math.min(tokens.accessExpiresAt - RENEW_BEFORE_MS, tokens.obtainedAt + ROTATE_AFTER_MS), random),
    tokens.obtainedAt + MIN_WAIT_MS,
  );

/** When a pair of session tokens is renewed. @param expiresAt the earlier of the two ends. */
export const sessionRefreshAt = (pair: { expiresAt: number; now: number }, random: number): number =>
  Math.max(spread(pair.expiresAt - RENEW_BEFORE_MS, random), pair.now + MIN_WAIT_MS);

/** Milliseconds until the next attempt. @param failures attempts that failed in a row, from 1. @param asked what the answer asked for. */
export const retryWait = (failures: number, asked: number | undefined): number =>
  Math.max(RETRY_WAITS_MS[failures - 1] ?? LATER_RETRY_MS, asked ?? 0);

/** `pending`: a person is to approve it. `approved`: the tokens are there, the account is being looked up. */
export const LOGIN_STATUSES = [
  'requested',
  'pending',
  'approved',
  'completed',
  'denied',
  'expired',
  'cancelled',
  'failed',
] as const;
export type LoginStatus = (typeof LOGIN_STATUSES)[number];

/** `reauth_required`: a person must sign in again. `misconfigured`: Hytale refuses our client. `closing`: it is being disconnected. */
export const ACCOUNT_STATUSES = ['active', 'reauth_required', 'misconfigured', 'closing'] as const;
export type AccountStatus = (typeof ACCOUNT_STATUSES)[number];

/**
 * `requested`: it has no pair yet. `limited`: the limit of the account refused it. `lapsed`: its pair expired and the account
 * must be signed in again. `failed`: it cannot be created until somebody acts. `ending`: it is being ended.
 */
export const SESSION_STATUSES = ['requested', 'active', 'limited', 'lapsed', 'failed', 'ending'] as const;
export type SessionStatus = (typeof SESSION_STATUSES)[number];

/** How the tokens came to the variables of the game server. `none`: there is nothing to push. */
export const PUSH_STATUSES = ['none', 'pending', 'pushed', 'failed'] as const;
export type PushStatus = (typeof PUSH_STATUSES)[number];

/** The events of the Hytale audit. */
export const HYTALE_EVENTS = [
  'TOKEN_CREATED',
  'TOKEN_REFRESHED',
  'TOKEN_DELETED',
  'AUTH_FAILED',
  'SESSION_CREATED',
  'SESSION_REFRESHED',
  'SESSION_DELETED',
  'PROFILE_SELECTED',
] as const;
export type HytaleEvent = (typeof HYTALE_EVENTS)[number];
