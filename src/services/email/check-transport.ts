/** Whether email could be sent now: connects and authenticates, and sends nothing. */
import type { Config } from '../../config.ts';
import { type Sender, senderText } from '../../domain/email-sender.ts';
import type { Secret } from '../../domain/secret.ts';

/** What the settings say about email. */
export interface EmailAccess {
  resendApiKey?: Secret | undefined;
  /** Undefined: the stored setting is not a sender. */
  from: Sender | undefined;
}

/**
 * SMTP if there is a URL for it, otherwise Resend.
 * @returns what was found, for a person; undefined when neither is configured.
 * @throws {SendFailure} that says why no email could be sent.
 */
export async function checkTransport(
  email: Config['email'],
  { resendApiKey, from }: EmailAccess,
  timeoutMs: number,
): Promise<string | undefined> {
  const transport = await openTransport(email, resendApiKey, timeoutMs);
  if (transport === undefined) return undefined;
  try {
    return `${await transport.check(from)}${from === undefined ? '' : `; sender ${senderText(from)}`}`;
  } finally {
    await transport.close();
  }
}

/** The libraries are loaded when they are needed: the api sends no email. */
async function openTransport(email: Config['email'], apiKey: Secret | undefined, timeoutMs: number) {
  const { smtpUrl: url, smtpAllowPlaintext: allowPlaintext, resendBaseUrl: baseUrl } = email;
  if (url !== undefined) {
    const { createSmtpTransport } = await import('../../clients/email/smtp.ts');
    return createSmtpTransport({ url, allowPlaintext, timeoutMs });
  }
  if (apiKey === undefined) return undefined;
  const { createResendTransport } = await import('../../clients/email/resend.ts');
  return createResendTransport({ baseUrl, apiKey, timeoutMs });
}
