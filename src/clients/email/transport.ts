/** What every way to send emails offers, and how an attempt that sent nothing is described. */
import type { OutgoingEmail } from '../../domain/email.ts';
import type { Sender } from '../../domain/email-sender.ts';
import { AppError, type ErrorCode } from '../../domain/errors.ts';

/** A way to send emails. */
export interface EmailTransport {
  readonly name: 'resend' | 'smtp';
  /**
   * Milliseconds for which the receiver knows an email again by its key, and so does not send it twice; 0: it has no
   * such key.
   */
  readonly keyLifetimeMs: number;
  /**
   * Sends one email. @returns what the receiver calls it, null if it gave no name.
   * @throws {SendFailure}
   * @throws the reason of `options.signal` if the caller aborted.
   */
  send(email: OutgoingEmail, options?: { signal?: AbortSignal }): Promise<{ providerId: string | null }>;
  /**
   * Connects and authenticates, and sends nothing. @returns what was found, for a person.
   * @param from the sender, where the receiver tells whether it may be used.
   * @throws {SendFailure}
   */
  check(from?: Sender): Promise<string>;
  /** Waits for emails in flight, then closes the connections. */
  close(): Promise<void>;
}

/** What an attempt that sent nothing means for the email. */
export interface Verdict {
  /** `retry`: no fault, try again. `hold`: the operator must act; it waits. `final`: no attempt can succeed. */
  outcome: 'retry' | 'hold' | 'final';
  /** For the row of the email, doctor and logs. Holds no address, and no text of the other side, which may quote one. */
  sentence: string;
  /** Whether the receiver may have accepted the email nevertheless. */
  accepted: 'no' | 'unknown';
  /** Milliseconds until a further attempt; absent: as the retry policy says. */
  pauseMs?: number;
  /** Every other email would meet the same, so none is tried during the pause. */
  all?: true;
  /** Milliseconds after which a hold becomes final: this email alone may be the cause. */
  boundedMs?: number;
  /** The content was refused as dangerous or unwanted: a person should look at it. */
  suspect?: true;
}

/** Pause after what the operator must correct: short enough to notice the correction, long enough not to annoy the receiver. */
export const HOLD_MS = 5 * 60_000;
/** Pause after a used up quota: it is renewed after hours. */
export const QUOTA_MS = 60 * 60_000;

function codeOf({ outcome, suspect }: Verdict): ErrorCode {
  if (outcome === 'retry') return 'EMAIL_UNAVAILABLE';
  if (outcome === 'hold') return 'EMAIL_NOT_CONFIGURED';
  return suspect ? 'EMAIL_SUSPECT' : 'EMAIL_REJECTED';
}

/** An attempt that sent nothing, as far as is known. */
export class SendFailure extends AppError {
  readonly verdict: Verdict;
  /** @param meta status, name or code of the other side, for logs. */
  constructor(verdict: Verdict, meta: Record<string, unknown> = {}) {
    super(codeOf(verdict), {
      publicMessage: verdict.sentence,
      meta,
      ...(verdict.pauseMs === undefined ? {} : { retryAfterMs: verdict.pauseMs }),
    });
    this.name = 'SendFailure';
    this.verdict = verdict;
  }
}

/** A hold that concerns every email: what the configuration lacks. */
export const notConfigured = (sentence: string): SendFailure =>
  new SendFailure({ outcome: 'hold', sentence, accepted: 'no', pauseMs: HOLD_MS, all: true });
