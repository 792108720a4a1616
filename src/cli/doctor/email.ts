/** What `doctor` finds out about the way that email takes: it connects and logs in, and sends nothing. */
import type { Config } from '../../config.ts';
import { SENDER_FORM } from '../../domain/email-sender.ts';
import { isAppError } from '../../domain/errors.ts';
import { checkTransport, type EmailAccess } from '../../services/email/check-transport.ts';
import { type Check, probeError } from './check.ts';

const TIMEOUT_MS = 10_000;

/** Emails that wait for the operator. */
export interface HeldEmails {
  count: number;
  since: Date;
  reason: string;
}

export interface EmailSettings extends EmailAccess {
  /** Undefined: none, or the database cannot be read. */
  held?: HeldEmails | undefined;
}

/** The provider, the sender, and the emails that wait for a person. */
export async function checkEmail(config: Pick<Config, 'email'>, settings: EmailSettings): Promise<Check[]> {
  const { from, held } = settings;
  const checks = [await checkProvider(config.email, settings)];
  if (from === undefined) {
    const detail = 'the setting email_from is not a sender, so no email is sent';
    checks.push({ name: 'Email sender', state: 'failed', detail, advice: `save it as ${SENDER_FORM}, or empty` });
  }
  if (held !== undefined) {
    const detail = `${held.count} wait since ${held.since.toISOString()}: ${held.reason}`;
    checks.push({
      name: 'Emails',
      state: 'warning',
      detail,
      advice: 'they are sent by themselves once it is corrected',
    });
  }
  return checks;
}

async function checkProvider(email: Config['email'], settings: EmailSettings): Promise<Check> {
  const name = 'Email';
  try {
    const detail = await checkTransport(email, settings, TIMEOUT_MS);
    if (detail === undefined) {
      const advice = 'set RESEND_API_KEY or SMTP_URL';
      return { name, state: 'warning', detail: 'no provider: email waits for at most four days', advice };
    }
    if (email.smtpUrl === undefined || !email.smtpAllowPlaintext) return { name, state: 'ok', detail };
    const advice = 'SMTP_ALLOW_PLAINTEXT lets the login and every link go unencrypted: remove it if the server has TLS';
    return { name, state: 'warning', detail, advice };
  } catch (error) {
    if (!isAppError(error)) throw error;
    const way = email.smtpUrl === undefined ? 'Resend' : 'SMTP_URL';
    return {
      name,
      state: 'failed',
      detail: `${way}: ${probeError(error)}`,
      advice: 'email waits until it is corrected',
    };
  }
}
