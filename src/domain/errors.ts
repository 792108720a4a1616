/**
 * The closed table of error codes. The HTTP status and body, the OpenAPI error responses and the Temporal failure of an
 * error all derive from it. No code recognises an error by its message.
 */
export interface ErrorSpec {
  /** HTTP status when the error reaches an API caller. */
  readonly status: number;
  /** `error` of the body: a sentence, or a code in the sign-in area. The error's `publicMessage` replaces it. */
  readonly title: string;
  /** Whether it is reported to Sentry, because a person should look at it. */
  readonly report: boolean;
  /** Whether Temporal retries an activity that fails with it. */
  readonly retryable: boolean;
  /** `code` of the body, where two rows share one and differ by status. */
  readonly bodyCode?: string;
  /** `message` of the body where `error` is a code: what is wrong, as a sentence. */
  readonly hint?: string;
  /** Whether the body has the status as `status_code` too (by contract). */
  readonly statusInBody?: boolean;
}

const spec = (
  status: number,
  title: string,
  flags: { report?: boolean; retryable?: boolean; bodyCode?: string; hint?: string; statusInBody?: boolean } = {},
): ErrorSpec => ({
  status,
  title,
  report: flags.report ?? false,
  retryable: flags.retryable ?? false,
  ...(flags.bodyCode === undefined ? {} : { bodyCode: flags.bodyCode }),
  ...(flags.hint === undefined ? {} : { hint: flags.hint }),
  ...(flags.statusInBody === undefined ? {} : { statusInBody: flags.statusInBody }),
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
  /** The database was away or too busy where the area promises a 500 with a sentence of its own: nothing to look into. */
  DATABASE_UNAVAILABLE: spec(500, 'Internal server error', { retryable: true, bodyCode: 'INTERNAL_ERROR' }),
  DATABASE_REFUSED: spec(500, 'The database refuses the changes', { report: true }),
  BAD_GATEWAY: spec(502, 'An upstream service failed'),
  ADDRESS_REFUSED: spec(400, 'This address may not be reached from here'),
  SERVICE_UNAVAILABLE: spec(503, 'Service temporarily unavailable', { retryable: true }),
  // accounts: `error` of the body is the code in lower case (contract: AERR)
  INVALID_REQUEST: spec(400, 'invalid_request', { hint: 'The request is not readable: send a JSON object.' }),
  MISSING_FIELDS: spec(400, 'missing_fields', { hint: 'A required field is missing.' }),
  INVALID_EMAIL: spec(400, 'invalid_email', { hint: 'This is not an email address.' }),
  MISSING_AUTHORIZATION: spec(401, 'missing_authorization', { hint: 'Sign in first.' }),
  INVALID_TOKEN: spec(401, 'invalid_token', { hint: 'The token is not valid.' }),
  INVALID_CREDENTIALS: spec(401, 'invalid_credentials', { hint: 'Email address or password is wrong.' }),
  EMAIL_NOT_VERIFIED: spec(401, 'email_not_verified', {
    hint: 'Verify your email address first: the link is in the email that we sent you.',
  }),
  ACCOUNT_DISABLED: spec(401, 'account_disabled', { hint: 'This account is disabled.' }),
  NO_SUCH_USER: spec(404, 'user_not_found', { bodyCode: 'USER_NOT_FOUND', hint: 'There is no such user.' }),
  USER_NOT_FOUND: spec(401, 'user_not_found', { hint: 'There is no such user.' }),
  MISSING_EMAIL: spec(400, 'missing_email', { hint: 'Give an email address.' }),
  MISSING_TOKEN: spec(400, 'missing_token', { hint: 'The token is missing.' }),
  MISSING_REFRESH_TOKEN: spec(400, 'missing_refresh_token', { hint: 'The refresh token is missing.' }),
  PASSWORD_TOO_SHORT: spec(400, 'password_too_short', { hint: 'The password needs 8 characters or more.' }),
  PASSWORD_TOO_LONG: spec(400, 'password_too_long', { hint: 'The password may have at most 72 bytes.' }),
  PASSWORD_NEEDS_UPPERCASE: spec(400, 'password_needs_uppercase', { hint: 'The password needs a capital letter.' }),
  PASSWORD_NEEDS_LOWERCASE: spec(400, 'password_needs_lowercase', { hint: 'The password needs a small letter.' }),
  PASSWORD_NEEDS_DIGIT: spec(400, 'password_needs_digit', { hint: 'The password needs a digit.' }),
  PASSWORDS_DONT_MATCH: spec(400, 'passwords_dont_match', { hint: 'The two passwords differ.' }),
  INVALID_LINK_TOKEN: spec(400, 'invalid_token', {
    bodyCode: 'INVALID_TOKEN',
    hint: 'This link is not valid: it was used already, or a newer one was sent.',
  }),
  TOKEN_EXPIRED: spec(400, 'token_expired', { hint: 'This link has expired: ask for a new one.' }),
  ALREADY_VERIFIED: spec(400, 'already_verified', { hint: 'This address is verified already: sign in.' }),
  INVALID_REFRESH_TOKEN: spec(401, 'invalid_refresh_token', { hint: 'This session has ended: sign in again.' }),
  REGISTRATION_DISABLED: spec(403, 'registration_disabled', { hint: 'Registration is closed at present.' }),
  EMAIL_EXISTS: spec(409, 'email_exists', { hint: 'There is an account with this address already.' }),
  TOKEN_GENERATION_FAILED: spec(500, 'token_generation_failed', { report: true }),
  SESSION_CREATION_FAILED: spec(500, 'session_creation_failed', { report: true }),
  // email
  EMAIL_REJECTED: spec(502, 'The email server refused the email'),
  /** The content was refused as dangerous or unwanted, which can cost the account: a person should look at it. */
  EMAIL_SUSPECT: spec(502, 'The email server refused the email as unwanted', { report: true }),
  EMAIL_UNAVAILABLE: spec(502, 'The email server cannot be reached', { retryable: true }),
  EMAIL_NOT_CONFIGURED: spec(503, 'Email is not configured: set a Resend API key or an SMTP URL', { retryable: true }),
  // panel
  PANEL_NOT_CONFIGURED: spec(503, 'The panel is not configured: set its URL and application API key'),
  PANEL_AUTH: spec(502, 'The panel refused the API key'),
  PANEL_NOT_FOUND: spec(502, 'The panel does not know this object'),
  PANEL_CONFLICT: spec(502, 'The panel refused the request in the present state'),
  PANEL_RATE_LIMITED: spec(503, 'The panel asks to wait', { retryable: true }),
  PANEL_UNAVAILABLE: spec(502, 'The panel cannot be reached', { retryable: true }),
  PANEL_CONTRACT: spec(502, 'The panel sent an answer that is not understood', { report: true }),
  PANEL_CHANGED: spec(409, 'The panel is another one than the one that was mirrored'),
  // a server's console, at the daemon of its node
  CONSOLE_REFUSED: spec(502, 'The node refused the console of this server'),
  CONSOLE_THROTTLED: spec(503, 'The node asks to wait', { retryable: true }),
  CONSOLE_UNAVAILABLE: spec(502, 'The node cannot be reached', { retryable: true }),
  // Hytale
  HYTALE_BAD_REQUEST: spec(400, 'Invalid request format or missing required fields', { bodyCode: 'BAD_REQUEST' }),
  /** The contract's status for what Hytale answers by 401. */
  REAUTH_REQUIRED: spec(401, 'The Hytale account must be signed in again'),
  SESSION_LIMIT_EXCEEDED: spec(403, 'Session limit reached for this account', { statusInBody: true }),
  HYTALE_FORBIDDEN: spec(403, 'Valid authentication but insufficient permissions', { bodyCode: 'FORBIDDEN' }),
  HYTALE_NOT_FOUND: spec(404, 'Resource not found (invalid profile UUID or account)', { bodyCode: 'NOT_FOUND' }),
  SESSION_NOT_FOUND: spec(404, 'No game session found for account and profile'),
  HYTALE_RATE_LIMITED: spec(429, 'Too many requests. Please retry after a delay.', {
    retryable: true,
    bodyCode: 'RATE_LIMITED',
  }),
  HYTALE_SERVER_ERROR: spec(502, 'Hytale service error. Please retry later.', { retryable: true }),
  HYTALE_UNAVAILABLE: spec(503, 'Hytale service is currently unavailable. Please retry later.', {
    retryable: true,
    bodyCode: 'SERVICE_UNAVAILABLE',
  }),
  HYTALE_ERROR: spec(502, 'An error occurred while communicating with Hytale', { retryable: true }),
  /** Hytale refuses our client, or sent tokens that are not valid: a person should look at it. */
  INTEGRATION_ERROR: spec(502, 'Hytale sent tokens that are not valid', { report: true }),
  // sync
  SYNC_RUNNING: spec(409, 'Another sync is running'),
  RUN_CLOSED: spec(409, 'The sync run is closed'),
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof ERRORS;

/** `code` of the body. */
export function bodyCodeOf(code: ErrorCode): string {
  const { bodyCode = code }: ErrorSpec = ERRORS[code];
  return bodyCode;
}

export interface AppErrorOptions {
  /** Public sentence for this occurrence, in place of the title. Holds no secret, no network address, no email address. */
  publicMessage?: string;
  /** `message` of the body, beside the sentence of `error`: what is wrong in detail, with the same restrictions. */
  hint?: string;
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
  /** Public sentence for this occurrence; undefined: the title of the table. */
  readonly publicMessage: string | undefined;
  readonly hint: string | undefined;
  readonly meta: Record<string, unknown> | undefined;
  readonly details: readonly { path: string; message: string }[] | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, options: AppErrorOptions = {}) {
    super(
      options.publicMessage ?? ERRORS[code].title,
      options.cause === undefined ? undefined : { cause: options.cause },
    );
    this.name = 'AppError';
    this.code = code;
    this.publicMessage = options.publicMessage;
    this.hint = options.hint;
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
