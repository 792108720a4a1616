/** The email transport for the settings as they are now; a change of settings makes a new one. */
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { createResendTransport, type EmailTransport } from './resend.ts';
import { createSmtpTransport } from './smtp.ts';

/**
 * SMTP when it has a URL, else Resend.
 * @returns a function that gives the transport, and `close` for the end of the process.
 * The function throws {AppError} EMAIL_NOT_CONFIGURED without either.
 */
export function createEmailProvider(options: {
  smtpUrl: Secret | undefined;
  resendBaseUrl: string;
  settings: () => Promise<{ email: { resendApiKey?: Secret } }>;
}): { transport: () => Promise<EmailTransport>; close: () => Promise<void> } {
  let current: { key: string; transport: EmailTransport } | undefined;
  const use = (key: string, make: () => EmailTransport): EmailTransport => {
    if (current?.key === key) return current.transport;
    const old = current?.transport;
    current = { key, transport: make() };
    // What is being sent on the old one is waited for.
    old?.close().catch(() => undefined);
    return current.transport;
  };
  return {
    async transport() {
      const { smtpUrl } = options;
      if (smtpUrl !== undefined) return use('smtp', () => createSmtpTransport({ url: smtpUrl }));
      const { resendApiKey } = (await options.settings()).email;
      if (resendApiKey === undefined) throw new AppError('EMAIL_NOT_CONFIGURED', { retryAfterMs: 60_000 });
      return use(`resend ${resendApiKey.reveal()}`, () =>
        createResendTransport({ baseUrl: options.resendBaseUrl, apiKey: resendApiKey }),
      );
    },
    async close() {
      await current?.transport.close();
    },
  };
}
