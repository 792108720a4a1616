/**
 * Emails over SMTP, one attempt and one connection per call. SMTP has no idempotency key: if the connection ends between
 * the last byte and the server's reply, a further attempt can deliver the email twice, with the same Message-ID.
 * Every failure is an `AppError` whose `meta` holds the reply code and the library's code, never the server's text:
 * replies quote addresses.
 */
import { createTransport, type SMTPTransportOptions } from 'nodemailer';
import type { OutgoingEmail } from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { type EmailTransport, REFUSED_MS } from './resend.ts';

export interface SmtpTransportOptions {
  /** `smtp(s)://user:password@host:port`, user and password URL-encoded; ports default to 587 and 465. */
  url: Secret;
  /** Milliseconds for one attempt, the look-up of the host included; default 30,000. */
  timeoutMs?: number;
}

const DEFAULT_TIMEOUT_MS = 30_000;
const TIMED_OUT = Symbol('timed out');
/** Replies that ask for a login, refuse it, or ask for encryption first (RFC 4954, RFC 3207). */
const LOGIN_REPLIES: readonly number[] = [530, 534, 535, 538];
/** Codes of the library for a refused email, in contrast to a failed connection. */
const ABOUT_THE_EMAIL: readonly string[] = ['EENVELOPE', 'EMESSAGE'];

const unusable = () =>
  new AppError('EMAIL_NOT_CONFIGURED', {
    publicMessage: 'The SMTP URL is not valid: write smtp(s)://user:password@host:port',
    retryAfterMs: REFUSED_MS,
  });

/** Reads host, port and login only: a query parameter must not turn off certificate checks or turn on a log. */
function readUrl(secret: Secret): SMTPTransportOptions {
  const text = secret.reveal().trim();
  if (!URL.canParse(text)) throw unusable();
  const url = new URL(text);
  if (!['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '') throw unusable();
  const secure = url.protocol === 'smtps:';
  let login: { user: string; pass: string } | undefined;
  try {
    if (url.username !== '') {
      login = { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) };
    }
  } catch {
    throw unusable();
  }
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (secure ? 465 : 587) : Number(url.port),
    secure,
    ...(login === undefined ? {} : { auth: login }),
  };
}

function property(error: unknown, name: string): unknown {
  return typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined;
}

function sendError(error: unknown): AppError {
  const code = property(error, 'code');
  const reply = property(error, 'responseCode');
  const name = typeof code === 'string' && /^[A-Z][A-Z_]{0,63}$/.test(code) ? code : undefined;
  const status = typeof reply === 'number' ? reply : undefined;
  const meta = { ...(name === undefined ? {} : { name }), ...(status === undefined ? {} : { status }) };
  // The library's error does not become the cause: its message is the server's reply.
  if (status !== undefined && status < 500) return new AppError('EMAIL_UNAVAILABLE', { meta });
  if (name === 'EAUTH' || (status !== undefined && LOGIN_REPLIES.includes(status))) {
    return new AppError('EMAIL_NOT_CONFIGURED', {
      publicMessage: 'The email server refuses the login',
      meta,
      retryAfterMs: REFUSED_MS,
    });
  }
  if (name !== undefined && ABOUT_THE_EMAIL.includes(name)) {
    return new AppError('EMAIL_REJECTED', {
      publicMessage: `The email server refused the email (${status ?? 'invalid address or size'})`,
      meta,
    });
  }
  return new AppError('EMAIL_UNAVAILABLE', { meta });
}

/** Domain of the sender, which makes the Message-ID globally unique. */
const domainOf = (from: string): string => /@([^\s@<>]+)>?\s*$/.exec(from)?.[1] ?? 'localhost';

/** One attempt, over a connection of its own. @returns the id in the server's reply, or the Message-ID. */
async function sendOnce(
  { url, timeoutMs }: { url: Secret; timeoutMs: number },
  email: OutgoingEmail,
  signal: AbortSignal | undefined,
): Promise<{ providerId: string | null }> {
  signal?.throwIfAborted();
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(TIMED_OUT), timeoutMs);
  const abort = () => deadline.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  // Read for each attempt, so that the clear password is not kept longer.
  const transport = createTransport({
    ...readUrl(url),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
  });
  try {
    const { messageId, serverMessageId } = await transport.sendMail({
      messageId: `<${email.id}@${domainOf(email.from)}>`,
      from: email.from,
      // An object is one address; a text would be split at its commas.
      to: { name: '', address: email.to },
      subject: email.subject,
      text: email.text,
      html: email.html,
      xMailer: false,
      disableFileAccess: true,
      disableUrlAccess: true,
      signal: deadline.signal,
    });
    return { providerId: serverMessageId ?? messageId };
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (deadline.signal.aborted) throw new AppError('EMAIL_UNAVAILABLE', { meta: { name: 'timeout' } });
    throw sendError(error);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    transport.close();
  }
}

/**
 * A transport to one server. `smtps:` is encrypted from the start, `smtp:` if the server offers STARTTLS; an invalid
 * certificate fails the attempt.
 * @throws {AppError} EMAIL_NOT_CONFIGURED if the URL is not valid.
 */
export function createSmtpTransport(options: SmtpTransportOptions): EmailTransport {
  const { url, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  readUrl(url);
  const inFlight = new Set<Promise<unknown>>();
  return {
    name: 'smtp',
    async send(email, { signal } = {}) {
      const sending = sendOnce({ url, timeoutMs }, email, signal);
      inFlight.add(sending);
      try {
        return await sending;
      } finally {
        inFlight.delete(sending);
      }
    },
    async close() {
      await Promise.allSettled(inFlight);
    },
  };
}
