/** The email transport of the present settings; a change of settings makes a new one. */
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { createResendTransport, type EmailTransport } from './resend.ts';
import { createSmtpTransport } from './smtp.ts';

/**
 * SMTP if there is a URL for it, otherwise Resend.
 * @returns `transport`, which throws {AppError} EMAIL_NOT_CONFIGURED if neither is set, and `close` for the end of the
 * process.
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
    // It waits for its emails in flight.
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
