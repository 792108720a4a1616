/** What a running email catcher offers to tests, the demo and its own admin calls. */

/** One email that was accepted. */
export interface CaughtEmail {
  /** Id the sender was given (Resend) or would have been (SMTP). */
  readonly id: string;
  /** Unix milliseconds of its acceptance. */
  readonly at: number;
  readonly via: 'resend' | 'smtp';
  readonly from: string;
  readonly to: readonly string[];
  readonly subject: string;
  readonly html: string | null;
  readonly text: string | null;
  /** Headers in order: those of the message (SMTP, decoded), those it would be sent with (Resend). */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly idempotencyKey: string | null;
  /** The message as it came over SMTP. */
  readonly raw: string | null;
}

/** What happens to one request. */
export type HttpFault =
  /** An error of the API; `name` defaults to the documented one of the status. Nothing is accepted. */
  | {
      kind: 'status';
      status: number;
      name?: string | undefined;
      message?: string | undefined;
      /** Value of `Retry-After`: seconds, or any text. */
      retryAfter?: number | string | undefined;
    }
  /** Not accepted, never answered. */
  | { kind: 'hang' }
  /** Not accepted, the connection is reset. */
  | { kind: 'reset' }
  /** Accepted, never answered. */
  | { kind: 'accept-hang' }
  /** Accepted, half of the answer, then the connection ends. */
  | { kind: 'truncate' }
  /** Accepted, answered 200 with an HTML page. */
  | { kind: 'html' };

/** What happens to one SMTP session. */
export type SmtpFault =
  /** Reply 4xx or 5xx to RCPT TO, or to the end of DATA; nothing is accepted. */
  | { kind: 'smtp-reply'; at: 'rcpt' | 'data'; code: number; text?: string | undefined }
  /** Accepted, then the connection ends instead of the reply. */
  | { kind: 'smtp-drop' };

export type EmailFault = HttpFault | SmtpFault;

export interface EmailCatcherOptions {
  /** Default 0: a free one. */
  port?: number;
  /** Default 127.0.0.1. */
  host?: string;
  /** The one key that is accepted, and the SMTP password; generated when absent. */
  apiKey?: string;
  /** Between a request and its acceptance, milliseconds. */
  latencyMs?: number;
  /** Speaks SMTP too, on this port (0: a free one); needs the package smtp-server. */
  smtpPort?: number;
}

export interface EmailCatcher {
  /** Base URL of the API, and of the page with the emails. */
  readonly url: string;
  /** `smtp://resend:<key>@host:port`; null without `smtpPort`. */
  readonly smtpUrl: string | null;
  readonly apiKey: string;
  /** Accepted emails, oldest first (the latest 10,000). */
  emails(): CaughtEmail[];
  /** The next `times` (default 1) requests or SMTP sessions meet the fault; faults queue up in order. */
  fault(fault: EmailFault, times?: number): void;
  /** Forgets emails, idempotency keys and faults. */
  clear(): void;
  /** Ends every connection, hanging ones too. */
  close(): Promise<void>;
}
