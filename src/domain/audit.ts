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

/** `refused`: the caller was not let through. */
export type AuditOutcome = 'success' | 'refused';

/** Who acted. `anonymous`: a caller who proved nothing. `system`: the service itself. */
export type AuditActor =
  | { type: 'user'; id: string }
  | { type: 'apiKey' | 'cli' | 'system' | 'anonymous'; id?: undefined };

/** What the action was about. */
export interface AuditTarget {
  type: 'user';
  id: string;
}

/** Words, ids and numbers about the event. Never an address, a name or a secret. */
export type AuditDetails = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface AuditEvent {
  action: SecurityAction;
  outcome: AuditOutcome;
  actor: AuditActor;
  /** Absent: the account is not known, for example at a sign-in with an address that has none. */
  target?: AuditTarget;
  /** Keyed digest of the caller's network. */
  network?: string | undefined;
  requestId?: string | undefined;
  details?: AuditDetails;
}

/** Days for which events are kept. The database refuses to delete younger ones. */
export const AUDIT_RETENTION_DAYS = 365;
