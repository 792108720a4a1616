/** What `doctor` finds out about the way that email takes: it connects and logs in, and sends nothing. */
import type { EmailTransport } from '../../clients/email/transport.ts';
import type { Config } from '../../config.ts';
import { SENDER_FORM, type Sender, senderText } from '../../domain/email-sender.ts';
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { type Check, probeError } from './check.ts';

const TIMEOUT_MS = 10_000;

/** Emails that wait for the operator. */
export interface HeldEmails {
  count: number;
  since: Date;
  reason: string;
}

export interface EmailSettings {
  resendApiKey: Secret | undefined;
  /** Undefined: the stored setting is not a sender. */
  from: Sender | undefined;
  /** Undefined: none, or the database cannot be read. */
  held?: HeldEmails | undefined;
}

/** The provider, the sender, and the emails that wait for a person. */
export async function checkEmail(config: Pick<Config, 'email'>, settings: EmailSettings): Promise<Check[]> {
  const { from, held } = settings;
  const checks = [await checkTransport(config.email, settings)];
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

async function checkTransport(email: Config['email'], { resendApiKey, from }: EmailSettings): Promise<Check> {
  const name = 'Email';
  let transport: EmailTransport | undefined;
  try {
    transport = await openTransport(email, resendApiKey);
    if (transport === undefined) {
      const advice = 'set RESEND_API_KEY or SMTP_URL';
      return { name, state: 'warning', detail: 'no provider: email waits for at most four days', advice };
    }
    const detail = `${await transport.check(from)}${from === undefined ? '' : `; sender ${senderText(from)}`}`;
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
  } finally {
    await transport?.close();
  }
}

async function openTransport(email: Config['email'], apiKey: Secret | undefined): Promise<EmailTransport | undefined> {
  const { smtpUrl: url, smtpAllowPlaintext: allowPlaintext, resendBaseUrl: baseUrl } = email;
  if (url !== undefined) {
    const { createSmtpTransport } = await import('../../clients/email/smtp.ts');
    return createSmtpTransport({ url, allowPlaintext, timeoutMs: TIMEOUT_MS });
  }
  if (apiKey === undefined) return undefined;
  const { createResendTransport } = await import('../../clients/email/resend.ts');
  return createResendTransport({ baseUrl, apiKey, timeoutMs: TIMEOUT_MS });
}
