/** The contract of the workflows, for every process: queues, ids, names, inputs, results, queries. */
import { defineSearchAttributeKey } from '@temporalio/common';
import type { SyncCounts, SyncStatus, SyncTarget, SyncWarning } from '../domain/sync/targets.ts';
import type { DeliveryStatus } from '../domain/webhooks.ts';

/** Task queues: workflows and database work; panel calls; email; webhooks, whose slow receivers must not delay an email. */
export const QUEUE = { core: 'core', panel: 'panel', outbound: 'outbound', webhooks: 'webhooks' } as const;

/** All syncs share this id, so no two overlap, however many copies of the api start one (ADR 2). */
export const PANEL_SYNC_ID = 'panel-sync';
export const AUTO_SYNC_SCHEDULE_ID = 'auto-sync';
export const MAINTENANCE_PREFIX = 'maintenance:';
export const maintenanceId = (kind: MaintenanceKind) => `${MAINTENANCE_PREFIX}${kind}`;

export type MaintenanceKind = 'sync-watch' | 'retention' | 'expired-data';

/** One workflow per email: the workflow id is derived from the email's id. */
export const sendEmailId = (emailId: string) => `email:${emailId}`;

/** One workflow per delivery to a webhook: the workflow id is derived from the delivery's id. */
export const deliverWebhookId = (deliveryId: string) => `webhook:${deliveryId}`;

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
