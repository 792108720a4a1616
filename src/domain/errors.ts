/**
 * The closed table of error codes. HTTP status and body, the OpenAPI error responses and the Temporal failure of an
 * error all derive from it; nothing is ever recognised by its message.
 */
export interface ErrorSpec {
  /** HTTP status when the error reaches an API caller. */
  readonly status: number;
  /** Public text; `detail` of the error replaces it where the contract has a sentence of its own. */
  readonly text: string;
  /** Reported to Sentry: something a person should look at. */
  readonly report: boolean;
  /** A Temporal activity that fails with it is tried again by its retry policy. */
  readonly retryable: boolean;
  /** `code` of the body, where two rows share one and differ by status. */
  readonly wireCode?: string;
}

const spec = (
  status: number,
  text: string,
  flags: { report?: boolean; retryable?: boolean; wireCode?: string } = {},
): ErrorSpec => ({
  status,
  text,
  report: flags.report ?? false,
  retryable: flags.retryable ?? false,
  ...(flags.wireCode === undefined ? {} : { wireCode: flags.wireCode }),
});

export const ERRORS = {
  // transport
  BAD_REQUEST: spec(400, 'Invalid request'),
  VALIDATION_ERROR: spec(400, 'Invalid request'),
  UNAUTHORIZED: spec(401, 'Unauthorized'),
  FORBIDDEN: spec(403, 'Forbidden'),
  NOT_FOUND: spec(404, 'Not found'),
  METHOD_NOT_ALLOWED: spec(405, 'Method not allowed'),
  CONFLICT: spec(409, 'Conflict'),
  PAYLOAD_TOO_LARGE: spec(413, 'Request body is too large'),
  HEADERS_TOO_LARGE: spec(431, 'Request headers are too large'),
  RATE_LIMITED: spec(429, 'Too many requests'),
  INTERNAL_ERROR: spec(500, 'Internal server error', { report: true, retryable: true }),
  BAD_GATEWAY: spec(502, 'An upstream service failed'),
  SERVICE_UNAVAILABLE: spec(503, 'Service temporarily unavailable', { retryable: true }),
  // accounts (the wire's `error` is the code in lower case, contract: AERR)
  INVALID_REQUEST: spec(400, 'invalid_request'),
  MISSING_FIELDS: spec(400, 'missing_fields'),
  INVALID_EMAIL: spec(400, 'invalid_email'),
  MISSING_AUTHORIZATION: spec(401, 'missing_authorization'),
  INVALID_TOKEN: spec(401, 'invalid_token'),
  INVALID_CREDENTIALS: spec(401, 'invalid_credentials'),
  EMAIL_NOT_VERIFIED: spec(401, 'email_not_verified'),
  ACCOUNT_DISABLED: spec(401, 'account_disabled'),
  USER_NOT_FOUND: spec(401, 'user_not_found'),
  MISSING_EMAIL: spec(400, 'missing_email'),
  MISSING_TOKEN: spec(400, 'missing_token'),
  MISSING_REFRESH_TOKEN: spec(400, 'missing_refresh_token'),
  PASSWORD_TOO_SHORT: spec(400, 'password_too_short'),
  PASSWORD_TOO_LONG: spec(400, 'password_too_long'),
  PASSWORD_NEEDS_UPPERCASE: spec(400, 'password_needs_uppercase'),
  PASSWORD_NEEDS_LOWERCASE: spec(400, 'password_needs_lowercase'),
  PASSWORD_NEEDS_DIGIT: spec(400, 'password_needs_digit'),
  PASSWORDS_DONT_MATCH: spec(400, 'passwords_dont_match'),
  INVALID_MAILED_TOKEN: spec(400, 'invalid_token', { wireCode: 'INVALID_TOKEN' }),
  TOKEN_EXPIRED: spec(400, 'token_expired'),
  ALREADY_VERIFIED: spec(400, 'already_verified'),
  INVALID_REFRESH_TOKEN: spec(401, 'invalid_refresh_token'),
  REGISTRATION_DISABLED: spec(403, 'registration_disabled'),
  EMAIL_EXISTS: spec(409, 'email_exists'),
  TOKEN_GENERATION_FAILED: spec(500, 'token_generation_failed', { report: true }),
  SESSION_CREATION_FAILED: spec(500, 'session_creation_failed', { report: true }),
  // mail
  MAIL_REJECTED: spec(502, 'The mail server refused the mail'),
  MAIL_UNAVAILABLE: spec(502, 'The mail server cannot be reached', { retryable: true }),
  MAIL_NOT_CONFIGURED: spec(503, 'Mail is not configured: set a Resend API key or an SMTP URL', { retryable: true }),
  // panel
  PANEL_NOT_CONFIGURED: spec(503, 'The panel is not configured: set its URL and application API key'),
  PANEL_AUTH: spec(502, 'The panel refused the API key'),
  PANEL_NOT_FOUND: spec(502, 'The panel does not know this object'),
  PANEL_CONFLICT: spec(502, 'The panel refused the request in the present state'),
  PANEL_RATE_LIMITED: spec(503, 'The panel asks to wait', { retryable: true }),
  PANEL_UNAVAILABLE: spec(502, 'The panel cannot be reached', { retryable: true }),
  PANEL_CONTRACT: spec(502, 'The panel sent an answer that is not understood', { report: true }),
  // sync
  SYNC_RUNNING: spec(409, 'Another sync is running'),
  RUN_CLOSED: spec(409, 'The sync run is closed'),
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

export interface AppErrorOptions {
  /** `message` of the body: a sentence for people beside a code in `error`. */
  message?: string;
  /** Public sentence that replaces the table's text. Never holds a secret, an address or an e-mail address. */
  detail?: string;
  cause?: unknown;
  /** For logs only: never sent to a caller, never in a workflow history. */
  meta?: Record<string, unknown>;
  /** Field-wise problems for `details` of the body. */
  details?: readonly { path: string; message: string }[];
  /** Milliseconds after which a further attempt makes sense (`Retry-After`). */
  retryAfterMs?: number;
}

/** The one error type that crosses module borders. */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  /** Sentence for people beside `error`, see the options. */
  readonly human: string | undefined;
  readonly meta: Record<string, unknown> | undefined;
  readonly details: readonly { path: string; message: string }[] | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    super(options.detail ?? ERRORS[code].text, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.detail = options.detail;
    this.human = options.message;
    this.meta = options.meta;
    this.details = options.details;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** The table's row of this error. */
  get spec(): ErrorSpec {
    return ERRORS[this.code];
  }
}

export const isAppError = (error: unknown, code?: ErrorCode): error is AppError =>
  error instanceof AppError && (code === undefined || error.code === code);
