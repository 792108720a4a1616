/** Audit events: the closed lists of what is recorded, and who can be named in it. */

/** What is recorded of accounts and sessions. */
export const SECURITY_ACTIONS = [
  'sign-in',
  'sign-out',
  'lockout',
  'token-reuse',
  'role-refused',
  'password-reset-requested',
  'password-reset',
  'password-changed',
  'email-changed',
  'email-verified',
  'account-denied',
  'account-created',
  'account-disabled',
  'account-enabled',
  'roles-changed',
] as const;
export type SecurityAction = (typeof SECURITY_ACTIONS)[number];

/** What is recorded of administration: changes that an administrator, an operator or a program made. */
export const ADMINISTRATION_ACTIONS = [
  'settings-changed',
  'secrets-cleared',
  'repositories-changed',
  'setup-opened',
  'setup-values-confirmed',
  'setup-values-dropped',
  'keys-rotated',
  'sessions-ended',
  'verification-resent',
  'maintenance-changed',
  'sync-requested',
  'sync-withdrawn',
  'sync-cancelled',
  'email-queued',
  'email-resent',
  'run-retried',
  'webhook-created',
  'webhook-changed',
  'webhook-deleted',
  'webhook-tested',
  'webhook-dispatched',
  'webhook-disabled',
  'webhook-resent',
  'webhook-cancelled',
  'hytale-login-started',
  'hytale-login-cancelled',
  'hytale-account-refreshed',
  'hytale-profile-selected',
  'hytale-account-disconnected',
  'hytale-session-created',
  'hytale-session-refreshed',
  'hytale-session-renewed',
  'hytale-session-linked',
  'hytale-session-ended',
  'audit-exported',
  'database-migrated',
  'database-rolled-back',
] as const;
export type AuditAction = SecurityAction | (typeof ADMINISTRATION_ACTIONS)[number];
export const AUDIT_ACTIONS: readonly AuditAction[] = [...SECURITY_ACTIONS, ...ADMINISTRATION_ACTIONS];

/** `refused`: the caller was not let through. */
export const AUDIT_OUTCOMES = ['success', 'refused'] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

export const AUDIT_ACTOR_TYPES = ['user', 'apiKey', 'cli', 'system', 'anonymous'] as const;
/** Who acted. `anonymous`: a caller who proved nothing. `system`: the service itself. */
export type AuditActor =
  | { type: 'user'; id: string }
  | { type: 'apiKey' | 'cli' | 'system' | 'anonymous'; id?: undefined };

/** Who acted, and from where. */
export interface AuditOrigin {
  actor: AuditActor;
  /** Keyed digest of the caller's network; absent for the command line and the service itself. */
  network?: string | undefined;
  requestId?: string | undefined;
}

/** What the action was about; an event about several things, or about the installation, has no target. */
export const AUDIT_TARGETS = [
  'user',
  'setting',
  'repository',
  'node',
  'sync',
  'email',
  'run',
  'webhook',
  'delivery',
  'hytale-account',
  'hytale-session',
  'hytale-login',
] as const;
export interface AuditTarget {
  type: (typeof AUDIT_TARGETS)[number];
  id: string;
}

type AuditValue = string | number | boolean | null | readonly string[];
/**
 * Words, ids and numbers about the event; `before` and `after` hold values by field. Never a person's address or name, and
 * never a secret: of such a value the event tells only that it was set, changed or cleared.
 */
export type AuditDetails = Readonly<Record<string, AuditValue | Readonly<Record<string, AuditValue>>>>;

export interface AuditEvent {
  action: AuditAction;
  outcome: AuditOutcome;
  actor: AuditActor;
  /** Absent: the account is not known, for example at a sign-in with an address that has none. */
  target?: AuditTarget;
  /** Keyed digest of the caller's network. */
  network?: string | undefined;
  requestId?: string | undefined;
  details?: AuditDetails;
}

/** The database refuses to delete younger events (ADR 13). */
export const MIN_AUDIT_RETENTION_DAYS = 30;
