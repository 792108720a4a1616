/** Runs of every kind as one list shows them: syncs, emails, deliveries to webhooks, effects of the outbox, and what schedules started. */

/**
 * `webhook`: a delivery to a webhook. `outbox`: an effect that waits or cannot be handed to Temporal. `scheduled-sync`: the tick of the auto-sync, which only
 * requests a sync. `maintenance`: a job of another schedule.
 */
export const RUN_KINDS = ['sync', 'email', 'webhook', 'outbox', 'scheduled-sync', 'maintenance'] as const;
export type RunKind = (typeof RUN_KINDS)[number];
/** The kinds that only Temporal knows; the others have rows in the database. */
export const ENGINE_KINDS = ['scheduled-sync', 'maintenance'] as const satisfies readonly RunKind[];
export type EngineKind = (typeof ENGINE_KINDS)[number];
export type StoredKind = Exclude<RunKind, EngineKind>;

export const isEngineKind = (kind: RunKind): kind is EngineKind => ENGINE_KINDS.some((known) => known === kind);

export const RUN_STATUSES = ['waiting', 'running', 'completed', 'failed', 'cancelled', 'skipped'] as const;
export type RunStatus = (typeof RUN_STATUSES)[number];

/** How a failed run of a kind is done again. No way is a reset: that would end a newer run with the same workflow id. */
export const RETRY_WAYS = {
  sync: 'request-sync',
  email: 'resend-email',
  webhook: 'resend-delivery',
  outbox: 'dispatch',
  'scheduled-sync': 'trigger-schedule',
  maintenance: 'trigger-schedule',
} as const satisfies Record<RunKind, string>;
export type RetryWay = (typeof RETRY_WAYS)[RunKind];

export interface Run {
  kind: RunKind;
  id: string;
  /** What it did: the target of a sync, the template of an email, the event of a delivery, the kind of an effect or of a maintenance job. */
  name: string;
  status: RunStatus;
  startedAt: Date | null;
  /** Null also where it is not known. */
  endedAt: Date | null;
  /** Its place in the list: when it ended, or else started. Whole milliseconds. */
  at: Date;
  /** Why it failed, or why it still waits. */
  reason: string | null;
  workflowId: string | null;
  /** Run id of the workflow; null: not known, or not started. */
  runId: string | null;
  retry: {
    possible: boolean;
    how: RetryWay;
    /** Why it is not possible. */
    obstacle: string | null;
    /** Id of the run that repeats this one. */
    as: string | null;
  };
}

/** A place in a list of runs: newest first, then by kind and id. */
export interface RunCursor {
  at: Date;
  kind: RunKind;
  id: string;
}

/** Whether `a` comes before `b` in the list. */
export function comparePlaces(a: RunCursor, b: RunCursor): number {
  const byTime = b.at.getTime() - a.at.getTime();
  if (byTime !== 0) return byTime;
  if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1;
  if (a.id === b.id) return 0;
  return a.id < b.id ? -1 : 1;
}

/** Maximum number of characters of a reason. */
const REASON_LIMIT = 500;
const HIDDEN: readonly [RegExp, string][] = [
  // user:password@ of a URL
  [/:\/\/[^\s/@]+@/g, '://'],
  [/[^\s<>"'(),;:]+@[^\s<>"'(),;:]+/g, '[address]'],
  [/\b(bearer|basic)\s+\S+/gi, '$1 [hidden]'],
  [/\b(password|passwd|pwd|secret|token|api[-_ ]?key|key)(["']?\s*[=:]\s*)\S+/gi, '$1$2[hidden]'],
  // Keys of the panel (ptla_…) and of the email provider (re_…), and whatever else is long and random.
  [/\b(?:ptl[ac]|re|sk|pk)_[\w-]{8,}/g, '[hidden]'],
  [/\b[A-Za-z0-9_+/=]{40,}/g, '[hidden]'],
];

/** A reason as it may be shown: without secrets and addresses of persons, whatever a server wrote into its answer. */
export function shownReason(reason: string | null | undefined): string | null {
  if (reason === null || reason === undefined || reason.trim() === '') return null;
  const text = HIDDEN.reduce((shown, [pattern, instead]) => shown.replace(pattern, instead), reason.toWellFormed());
  return text.length > REASON_LIMIT ? `${text.slice(0, REASON_LIMIT - 1)}…` : text;
}
