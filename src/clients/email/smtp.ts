/**
 * Emails over SMTP, one attempt and one connection per call. SMTP has no idempotency key: if the connection ends between
 * the last byte and the server's reply, a further attempt can deliver the email twice, with the same Message-ID.
 * A failure holds the reply code and the library's code, never the server's text: replies quote addresses.
 */
import { BlockList, isIP } from 'node:net';
import { Readable } from 'node:stream';
import MailComposer from 'nodemailer/lib/mail-composer';
import SmtpConnection from 'nodemailer/lib/smtp-connection';
import type { OutgoingEmail } from '../../domain/email.ts';
import { asciiAddress } from '../../domain/email-sender.ts';
import type { Secret } from '../../domain/secret.ts';
import { acceptedText, enhancedOf, type SmtpPhase, smtpFailure, smtpFailureOf } from './smtp-answers.ts';
import { type EmailTransport, notConfigured, type SendFailure } from './transport.ts';

export interface SmtpTransportOptions {
  /** `smtp(s)://user:password@host:port`, user and password URL-encoded; ports default to 587 and 465. */
  url: Secret;
  /** Login and email may go without encryption, if the server offers none. A server on this machine may offer none. */
  allowPlaintext?: boolean;
  /** Milliseconds for one attempt; default: as RFC 5321 4.5.3.2 says for each of its steps. */
  timeoutMs?: number;
}

/** Name, connection, encryption and greeting together. A greeting may take minutes, but a wrong port should be found soon. */
const CONNECT_MS = 2 * 60_000;
/** Silence after a command. The reply to the final dot may take ten minutes; to give up earlier makes doubles. */
const SILENCE_MS = 10 * 60_000;
/** One attempt. Below the time that the workflow gives to it. */
const ATTEMPT_MS = 14 * 60_000;
const TIMED_OUT = Symbol('timed out');
const IMPLICIT_TLS_PORT = 465;

const unusable = () => notConfigured('The SMTP URL is not valid: write smtp(s)://user:password@host:port');

interface Server {
  host: string;
  port: number;
  /** TLS from the first byte. */
  secure: boolean;
  login: { user: string; pass: string } | undefined;
}

/** Reads host, port and login only: a query parameter must not turn off certificate checks or turn on a log. */
function readUrl(secret: Secret): Server {
  const text = secret.reveal().trim();
  if (!URL.canParse(text)) throw unusable();
  const url = new URL(text);
  if (!['smtp:', 'smtps:'].includes(url.protocol) || url.hostname === '') throw unusable();
  const port = url.port === '' ? (url.protocol === 'smtps:' ? IMPLICIT_TLS_PORT : 587) : Number(url.port);
  let login: Server['login'];
  try {
    if (url.username !== '') login = { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) };
  } catch {
    throw unusable();
  }
  // On this port a server speaks TLS at once (RFC 8314), and would wait for us as long as we wait for its greeting.
  const secure = url.protocol === 'smtps:' || port === IMPLICIT_TLS_PORT;
  return { host: url.hostname.replace(/^\[(.*)\]$/, '$1'), port, secure, login };
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');
const isLoopback = (host: string): boolean =>
  host === 'localhost' || (isIP(host) !== 0 && loopback.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4'));

function connectionOptions(server: Server, options: SmtpTransportOptions): SmtpConnection.Options {
  const { host, port, secure } = server;
  const { timeoutMs = CONNECT_MS } = options;
  return {
    host,
    port,
    secure,
    requireTLS: !secure && options.allowPlaintext !== true && !isLoopback(host),
    tls: { minVersion: 'TLSv1.2' },
    connectionTimeout: Math.min(timeoutMs, CONNECT_MS),
    greetingTimeout: Math.min(timeoutMs, CONNECT_MS),
    dnsTimeout: Math.min(timeoutMs, 30_000),
    socketTimeout: options.timeoutMs ?? SILENCE_MS,
  };
}

const property = (error: unknown, name: string): unknown =>
  typeof error === 'object' && error !== null ? Reflect.get(error, name) : undefined;
const textProperty = (error: unknown, name: string): string | undefined => {
  const value = property(error, name);
  return typeof value === 'string' ? value : undefined;
};

/** How far an attempt came, by what the library says of its error. It calls a lost connection the same at any time. */
function phaseOf(error: unknown, progress: { connected: boolean; sent: boolean }): SmtpPhase {
  const code = textProperty(error, 'code');
  const command = textProperty(error, 'command') ?? '';
  if (code === 'EDNS') return 'dns';
  if (command.startsWith('AUTH') || code === 'EAUTH') return 'auth';
  if (command === 'MAIL FROM') return 'from';
  if (command === 'RCPT TO' || (command === 'API' && code === 'EENVELOPE')) return 'rcpt';
  if (command === 'DATA') return code === 'EMESSAGE' ? 'dot' : 'data';
  if (command === 'STARTTLS') return 'starttls';
  if (command === 'EHLO' || command === 'HELO') return 'ehlo';
  if (progress.sent) return 'lost';
  if (progress.connected) return 'cut';
  if (code === 'EPROTOCOL') return 'greeting';
  return code === 'ETLS' ? 'tls' : 'connect';
}

/** One connection: its steps as promises that end with a {@link SendFailure}. */
class Session {
  private readonly connection: SmtpConnection;
  private readonly server: Server;
  private readonly progress = { connected: false, sent: false };
  /** Fails when the connection does, whatever step is waiting. */
  private readonly broken: Promise<never>;
  private extensions = '';

  constructor(server: Server, options: SmtpTransportOptions) {
    this.server = server;
    this.connection = new SmtpConnection(connectionOptions(server, options));
    this.broken = new Promise<never>((_resolve, reject) => this.connection.once('error', reject));
    this.broken.catch(() => undefined);
  }

  /** Greeting, encryption, login. */
  async open(): Promise<void> {
    const { connection } = this;
    await this.step<void>((done) =>
      connection.connect((error) => {
        // The library does not show the extensions; the reply to EHLO is the last one at this moment.
        this.extensions = connection.lastServerResponse || '';
        done(error ?? null);
      }),
    );
    this.progress.connected = true;
    const { login } = this.server;
    if (login === undefined) return;
    // The library would go on without a login.
    if (!connection.allowsAuth) throw smtpFailure('login-not-offered');
    await this.step<void>((done) => connection.login({ ...login }, (error) => done(error)));
  }

  /** @returns the server's reply. */
  async send(email: OutgoingEmail): Promise<string> {
    const to = asciiAddress(email.to) ?? email.to;
    if (/[^\p{ASCII}]/u.test(to) && !/[ -]SMTPUTF8\b/i.test(this.extensions)) throw smtpFailure('utf8-address');
    const message = await compose({ ...email, to });
    const envelope = { from: email.from.address, to: [to], size: message.length };
    const stream = Readable.from([message]);
    stream.once('end', () => {
      this.progress.sent = true;
    });
    return this.step<string>((done) =>
      this.connection.send(envelope, stream, (error, info) => done(error, error === null ? info.response : undefined)),
    );
  }

  /** The failure of an attempt that took too long. */
  late(): SendFailure {
    return this.failure({ code: 'ETIMEDOUT', command: 'CONN' });
  }

  get secure(): boolean {
    return this.connection.secure;
  }

  quit(): void {
    this.connection.quit();
  }

  close(): void {
    this.connection.close();
  }

  private async step<T>(run: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
    const done = new Promise<T>((resolve, reject) => {
      run((error, value) => (error === null ? resolve(value as T) : reject(error)));
    });
    try {
      return await Promise.race([done, this.broken]);
    } catch (error) {
      throw this.failure(error);
    }
  }

  /** The library's error does not become the cause: its message is the server's reply. */
  private failure(error: unknown): SendFailure {
    const response = textProperty(error, 'response') ?? '';
    const reply = property(error, 'responseCode');
    const code = textProperty(error, 'originalCode') ?? textProperty(error, 'code');
    return smtpFailureOf({
      phase: phaseOf(error, this.progress),
      reply: typeof reply === 'number' ? reply : undefined,
      enhanced: enhancedOf(response),
      text: response,
      code: code !== undefined && /^[A-Z][A-Z0-9_]{0,63}$/.test(code) ? code : undefined,
    });
  }
}

/** The message. No part of it is read from a file or a URL. */
function compose(email: OutgoingEmail): Promise<Buffer> {
  const { id, from, to, subject, text, html } = email;
  const composer = new MailComposer({
    // The domain of the sender makes it globally unique.
    messageId: `<${id}@${from.address.slice(from.address.lastIndexOf('@') + 1)}>`,
    from,
    // An object is one address; a text would be split at its commas.
    to: { name: '', address: to },
    subject,
    text,
    html,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
  return composer.compile().build();
}

/** Runs `work` over a session, until the deadline or the caller's abort ends it. */
async function withSession<T>(
  options: SmtpTransportOptions,
  signal: AbortSignal | undefined,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  // The URL is read for each attempt, so that the clear password is not kept longer.
  const session = new Session(readUrl(options.url), options);
  const ending = Promise.withResolvers<never>();
  ending.promise.catch(() => undefined);
  const timer = setTimeout(() => ending.reject(TIMED_OUT), options.timeoutMs ?? ATTEMPT_MS);
  const abort = () => ending.reject(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  try {
    return await Promise.race([work(session), ending.promise]);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw error === TIMED_OUT ? session.late() : error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    session.close();
  }
}

/**
 * A transport to one server. `smtps:` and port 465 are encrypted from the start; `smtp:` demands STARTTLS, except on this
 * machine and with `allowPlaintext`. An invalid certificate fails the attempt.
 * @throws {SendFailure} if the URL is not valid.
 */
export function createSmtpTransport(options: SmtpTransportOptions): EmailTransport {
  const server = readUrl(options.url);
  const inFlight = new Set<Promise<unknown>>();
  return {
    name: 'smtp',
    keyLifetimeMs: 0,
    async send(email, { signal } = {}) {
      const sending = withSession(options, signal, async (session) => {
        await session.open();
        return { providerId: acceptedText(await session.send(email)) };
      });
      inFlight.add(sending);
      try {
        return await sending;
      } finally {
        inFlight.delete(sending);
      }
    },
    async check() {
      const found = await withSession(options, undefined, async (session) => {
        await session.open();
        session.quit();
        return session.secure;
      });
      const login = server.login === undefined ? 'no login is configured' : 'the login is accepted';
      return `${server.host}:${server.port}, ${found ? 'encrypted' : 'NOT encrypted'}, ${login}`;
    },
    async close() {
      await Promise.allSettled(inFlight);
    },
  };
}
