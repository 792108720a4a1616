/** The end of an attempt that sent nothing: what the row says, and when the email is tried again. */
import { SendFailure, type Verdict } from '../../clients/email/transport.ts';
import type { AppError } from '../../domain/errors.ts';
import type { Db } from '../../store/db/db.ts';
import { noteEmailFailure } from '../../store/email/email-store.ts';

/** Attempts after which a server that asks to try later is asked less often, and how often (RFC 5321 4.5.4.1). */
const PATIENT_AFTER = 12;
const PATIENT_MS = 30 * 60_000;

/**
 * Notes the failure of an attempt. A hold that may be about this email alone ends after a time.
 * @param attempt `attempts` so far; `began`: it was about to send.
 * @returns the error with which the attempt ends.
 */
export async function attemptFailed(
  db: Db,
  id: string,
  error: AppError,
  attempt: { attempts: number; began: boolean },
): Promise<AppError> {
  const verdict = error instanceof SendFailure ? error.verdict : undefined;
  const held = error.code === 'EMAIL_NOT_CONFIGURED';
  const refused = attempt.began && verdict?.accepted === 'no';
  const heldMs = await noteEmailFailure(db, id, error.message, { held, refused });
  if (verdict === undefined) return error;
  const next = nextStep(verdict, heldMs, attempt.attempts);
  return next === verdict ? error : new SendFailure(next, error.meta);
}

/** What follows from a verdict, by what the email has met before. */
export function nextStep(verdict: Verdict, heldMs: number, attempts: number): Verdict {
  const { outcome, boundedMs, pauseMs } = verdict;
  if (outcome === 'hold' && boundedMs !== undefined && heldMs > boundedMs) return { ...verdict, outcome: 'final' };
  if (outcome === 'retry' && pauseMs !== undefined && attempts > PATIENT_AFTER && pauseMs < PATIENT_MS) {
    return { ...verdict, pauseMs: PATIENT_MS };
  }
  return verdict;
}
