/**
 * The email transport of the present settings; a change of settings makes a new one. After a refusal that every other
 * email would meet, there is no transport until the pause is over: a server locks out who tries a wrong password again and
 * again.
 */
import type { Secret } from '../../domain/secret.ts';
import { createResendTransport } from './resend.ts';
import { createSmtpTransport } from './smtp.ts';
import { type EmailTransport, notConfigured, SendFailure } from './transport.ts';

export interface EmailProviderOptions {
  smtpUrl: Secret | undefined;
  smtpAllowPlaintext: boolean;
  resendBaseUrl: string;
  settings: () => Promise<{ email: { resendApiKey?: Secret } }>;
}

interface Current {
  key: string;
  transport: EmailTransport;
  /** The last refusal that concerned every email. */
  refusal?: { until: number; failure: SendFailure };
}

/**
 * SMTP if there is a URL for it, otherwise Resend.
 * @returns `transport`, which throws {SendFailure} if neither is set or during a pause, and `close` for the end of the
 * process.
 */
export function createEmailProvider(options: EmailProviderOptions): {
  transport: () => Promise<EmailTransport>;
  close: () => Promise<void>;
} {
  let current: Current | undefined;
  const use = (key: string, make: () => EmailTransport): EmailTransport => {
    if (current?.key !== key) {
      const old = current?.transport;
      current = makeCurrent(key, make());
      // It waits for its emails in flight.
      old?.close().catch(() => undefined);
    }
    throwIfPaused(current);
    return current.transport;
  };
  return {
    async transport() {
      const { smtpUrl: url, smtpAllowPlaintext: allowPlaintext } = options;
      if (url !== undefined) return use('smtp', () => createSmtpTransport({ url, allowPlaintext }));
      const { resendApiKey } = (await options.settings()).email;
      if (resendApiKey === undefined) {
        throw notConfigured('Email is not configured: set a Resend API key or an SMTP URL');
      }
      return use(`resend ${resendApiKey.reveal()}`, () =>
        createResendTransport({ baseUrl: options.resendBaseUrl, apiKey: resendApiKey }),
      );
    },
    async close() {
      await current?.transport.close();
    },
  };
}

function makeCurrent(key: string, transport: EmailTransport): Current {
  const made: Current = {
    key,
    transport: {
      ...transport,
      async send(email, options) {
        try {
          return await transport.send(email, options);
        } catch (error) {
          const { all, pauseMs } = error instanceof SendFailure ? error.verdict : {};
          if (error instanceof SendFailure && all && pauseMs !== undefined) {
            made.refusal = { until: Date.now() + pauseMs, failure: error };
          }
          throw error;
        }
      },
    },
  };
  return made;
}

function throwIfPaused({ refusal }: Current): void {
  const left = refusal === undefined ? 0 : refusal.until - Date.now();
  if (refusal === undefined || left <= 0) return;
  throw new SendFailure({ ...refusal.failure.verdict, pauseMs: left }, refusal.failure.meta);
}
