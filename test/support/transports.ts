/** Transports to an email catcher, and what their failures say. */
import { inspect } from 'node:util';
import { afterEach, expect } from 'vitest';
import { type EmailCatcher, type EmailCatcherOptions, startEmailCatcher } from '../../simulators/email/simulator.ts';
import { createResendTransport } from '../../src/clients/email/resend.ts';
import { createSmtpTransport, type SmtpTransportOptions } from '../../src/clients/email/smtp.ts';
import { type EmailTransport, SendFailure } from '../../src/clients/email/transport.ts';
import type { OutgoingEmail } from '../../src/domain/email.ts';
import { Secret } from '../../src/domain/secret.ts';

export const KEY = 're_0123456789_ABCDEFGHIJKLMNOPQRSTUVWX';
export const RECIPIENT = 'someone.private@customer.example';
export const EMAIL: OutgoingEmail = {
  id: '0b9e6f0e-9a39-4b6c-8f4d-0f6c1d5f9a11',
  key: '0b9e6f0e-9a39-4b6c-8f4d-0f6c1d5f9a11',
  from: { name: 'NodeByte', address: 'noreply@nodebyte.example' },
  to: RECIPIENT,
  subject: 'Grüße, verify your email',
  html: '<p>Hello <b>you</b>: <a href="https://site.example/v?token=abc&amp;id=1">verify</a></p>',
  text: 'Hello you: https://site.example/v?token=abc&id=1\n\nA line of words that is long enough to be wrapped by a transport, if it wraps.',
};
export const FROM = 'NodeByte <noreply@nodebyte.example>';

/** Called in reverse order after each test. */
export const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

export async function catching(options: EmailCatcherOptions = {}): Promise<EmailCatcher> {
  const catcher = await startEmailCatcher({ apiKey: KEY, requestsPerSecond: 1000, ...options });
  closers.push(catcher.close);
  return catcher;
}
export function resendTo(url: string, options: { key?: string; timeoutMs?: number } = {}): EmailTransport {
  const { key = KEY, ...rest } = options;
  const transport = createResendTransport({ baseUrl: url, apiKey: new Secret(key), ...rest });
  closers.push(transport.close);
  return transport;
}
export function smtpTo(url: string, options: Omit<SmtpTransportOptions, 'url'> = {}): EmailTransport {
  const transport = createSmtpTransport({ url: new Secret(url), ...options });
  closers.push(transport.close);
  return transport;
}

export async function failure(promise: Promise<unknown>): Promise<SendFailure> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof SendFailure)) throw new Error(`expected a SendFailure, got ${inspect(error)}`);
  // No error may reveal a key, an address or a text of the email.
  for (const text of [inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error), error.stack]) {
    for (const secret of [KEY, 'other-key', 'customer.example', 'Grüße', 'token=abc'])
      expect(text).not.toContain(secret);
  }
  return error;
}
