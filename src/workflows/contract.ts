/** The contract of the workflows, for every process: queues, ids, names, inputs, results, queries. */
import { defineSearchAttributeKey } from '@temporalio/common';
import type { SyncCounts, SyncStatus, SyncTarget, SyncWarning } from '../domain/sync/targets.ts';
import type { DeliveryStatus } from '../domain/webhooks.ts';

/**
 * Task queues: workflows and database work; panel calls; email, and calls of Hytale that somebody waits for; webhooks, whose
 * slow receivers must not delay an email; steps of Hytale accounts and sessions that timers cause, which can be thousands.
 */
export const QUEUE = {
  core: 'core',
  panel: 'panel',
  outbound: 'outbound',
  webhooks: 'webhooks',
  hytale: 'hytale',
} as const;

/** All syncs share this id, so no two overlap, however many copies of the api start one (ADR 2). */
export const PANEL_SYNC_ID = 'panel-sync';
export const AUTO_SYNC_SCHEDULE_ID = 'auto-sync';
/** The live mirror is one workflow, which runs as long as the settings want it (ADR 18). */
export const LIVE_MIRROR_ID = 'live-mirror';
export const LIVE_MIRROR_TYPE = 'liveMirror';
export const MAINTENANCE_PREFIX = 'maintenance:';
export const maintenanceId = (kind: MaintenanceKind) => `${MAINTENANCE_PREFIX}${kind}`;

export type MaintenanceKind =
  | 'sync-watch'
  | 'hytale-watch'
  | 'hytale-sessions'
  | 'hytale-logs'
  | 'retention'
  | 'expired-data';

/** One workflow per email: the workflow id is derived from the email's id. */
export const sendEmailId = (emailId: string) => `email:${emailId}`;

/** One workflow per delivery to a webhook: the workflow id is derived from the delivery's id. */
export const deliverWebhookId = (deliveryId: string) => `webhook:${deliveryId}`;

/** One workflow per device login, account and game session: the ids are derived from those of their rows. */
export const hytaleLoginId = (loginId: string) => `hytale-login:${loginId}`;
export const hytaleAccountId = (accountId: string) => `hytale-account:${accountId}`;
export const hytaleSessionId = (sessionId: string) => `hytale-session:${sessionId}`;

/** Key of the memo of a failed workflow that holds the reason: a public sentence, as in the failure itself. */
export const FAILURE_MEMO = 'failure';

/** Set at the start only. Ids and kinds, since search attributes are never encrypted. */
export const SEARCH_ATTRIBUTES = {
  syncType: defineSearchAttributeKey('SyncType', 'KEYWORD'),
  requestedBy: defineSearchAttributeKey('RequestedBy', 'KEYWORD'),
};

export interface PanelSyncInput {
  logId: string;
  target: SyncTarget;
  dryRun: boolean;
  skipUsers: boolean;
  /** `api`, `cli`, `scheduler` or the id of a user. */
  requestedBy: string;
  /** Events of its history after which the sync goes on in a new run; default 10,000. */
  maxEvents?: number;
}

export interface PanelSyncResult {
  /** `WITHDRAWN`: the request was withdrawn before the run began, so there was nothing to do. */
  status: SyncStatus | 'WITHDRAWN';
  logId: string;
  counts: SyncCounts;
  warnings: SyncWarning[];
  /** Panel requests that were answered. */
  requests: number;
}

/** The workflow `panelSync` as its callers know it. */
export type PanelSyncWorkflow = (input: PanelSyncInput) => Promise<PanelSyncResult>;

/** Answer of the `progress` query of a running sync. */
export interface SyncProgressView {
  logId: string;
  target: SyncTarget;
  phase: 'opening' | 'reading' | 'checking' | 'writing' | 'closing';
  sources: { source: string; pass: number; pagesDone: number; pagesTotal: number; items: number; complete: boolean }[];
  requests: number;
  /** Why no page is being read; null while one is. */
  waiting: string | null;
  warnings: SyncWarning[];
}
export const PROGRESS_QUERY = 'progress';

export interface SendEmailInput {
  emailId: string;
}

export interface SendEmailResult {
  status: 'sent' | 'failed' | 'skipped';
}

export interface DeliverWebhookInput {
  deliveryId: string;
  /** The workflow goes on in a new run, after a long history. */
  continued?: boolean;
}

export interface DeliverWebhookResult {
  status: Exclude<DeliveryStatus, 'queued'>;
}

/** Answer of the `delivery` query of a running delivery. */
export interface DeliveryView {
  deliveryId: string;
  /** Why no request is being sent; null while one is. */
  waiting: string | null;
  /** ISO time until which it waits; null while it does not. */
  until: string | null;
}
export const DELIVERY_QUERY = 'delivery';

export interface ScheduledSyncResult {
  outcome: 'started' | 'skipped';
  logId: string | null;
}

/** One look of the live mirror. */
export interface MirrorTick {
  did: ScheduledSyncResult['outcome'] | 'waited' | 'ended';
  /** Milliseconds until the next look. */
  waitMs: number;
  /** Why: a public sentence. */
  why: string;
}

export interface HytaleLoginInput {
  loginId: string;
}
/** What an account or a session is started with, beside its id. */
export interface HytaleEntityInput {
  /** Somebody waits for the first step. */
  asked?: boolean;
  /** Unix milliseconds of the first step; default: at once. */
  dueAt?: number;
  /** What the run before came to; until the first step, this is what the query answers. */
  view?: HytaleView;
  /** Steps after which the workflow goes on in a new run. A short history is quickly replayed on another worker. */
  stepsPerRun?: number;
}
export interface HytaleAccountInput extends HytaleEntityInput {
  accountId: string;
}
export interface HytaleSessionInput extends HytaleEntityInput {
  sessionId: string;
}

/**
 * The input of a run of this release.
 * @param dueAt Unix milliseconds of its first step; undefined: at once.
 * @param view what the run before came to.
 */
export const nextRun = (dueAt?: number, view?: HytaleView): HytaleEntityInput => ({
  stepsPerRun: STEPS_PER_RUN,
  ...(dueAt === undefined ? {} : { dueAt }),
  ...(view === undefined ? {} : { view }),
});
const STEPS_PER_RUN = 12;

/** Update of a login: answers when the code is there, or the login has ended. */
export const CODE_UPDATE = 'code';
/** Signal of an account or a session: its row has changed, look at it. Of the live mirror: the settings have changed. */
export const CHANGED_SIGNAL = 'changed';
/**
 * Update of an account or a session: acts now, and answers with what came of it. An account that must be signed in again, and
 * one that is being disconnected, refuse it.
 */
export const ACT_UPDATE = 'act';
/** Query of a login, an account or a session. */
export const HYTALE_QUERY = 'state';

/** What an account is asked to do. @param ifVersion renew only if the tokens still have this version. */
export interface AccountWish {
  what: 'refresh' | 'look';
  ifVersion?: number | undefined;
}
/** `look`: do what is due. `refresh`: renew the pair. `renew`: a new session, if the pair still has the version `ifVersion`. */
export interface SessionWish {
  what: 'look' | 'refresh' | 'renew';
  ifVersion?: number | undefined;
}

/** What an account or a session is, and what it waits for: the answer of the query, and of an update. No tokens. */
export interface HytaleView {
  id: string;
  status: string;
  /** Version of the tokens: one more with each new pair; 0: none yet. */
  version: number;
  /** What it belongs to, by ids: for Temporal's interface. */
  about?: string | undefined;
  /** What the last step came to. */
  result: HytaleResult;
  /** Why it came to that, or what it waits for: a public sentence. */
  why: string;
  /** ISO time of the next step; null: it waits for somebody to act. */
  until: string | null;
  /** Milliseconds that Hytale asked to wait. */
  retryAfterMs?: number | undefined;
}

/**
 * `none`: nothing was due. `done`: it was done, now or before. Otherwise why not: an outage (`unreached`: no answer of Hytale
 * came; `unavailable`, `limited_rate`, `server_error`), a decision of Hytale, or a state in which nothing can be done.
 */
export type HytaleResult =
  | 'none'
  | 'done'
  | 'unavailable'
  | 'unreached'
  | 'limited_rate'
  | 'server_error'
  | 'reauth_required'
  | 'misconfigured'
  | 'session_limit'
  | 'forbidden'
  | 'no_profile'
  | 'refused'
  | 'invalid_tokens'
  | 'gone';
