/** The SMTP server of a catcher: user `resend`, the API key as the password, as at Resend. */
import type { Socket } from 'node:net';
import type { SMTPServer, SMTPServerSession } from 'smtp-server';
import type { SmtpStep } from './contract.ts';
import { headerOf, readMessage } from './message.ts';
import type { EmailState } from './state.ts';

const USER = 'resend';
const MAX_MESSAGE_BYTES = 1024 * 1024;

export interface SmtpCatcher {
  /** With user and password. */
  readonly url: string;
  close(): Promise<void>;
}

const reply = (code: number, text: string): Error => Object.assign(new Error(text), { responseCode: code });

/** Starts the server; it listens when the promise resolves. */
export async function startSmtpCatcher(
  state: EmailState,
  options: {
    host: string;
    port: number;
    apiKey: string;
    wait: () => Promise<void>;
    withoutLogin: boolean;
    utf8: boolean;
  },
): Promise<SmtpCatcher> {
  // A development dependency: it is loaded only if SMTP is asked for.
  const { SMTPServer } = await import('smtp-server');
  /** By remote port, which the session has too. */
  const sockets = new Map<number, Socket>();
  const server = new SMTPServer({
    logger: false,
    banner: 'email catcher',
    size: MAX_MESSAGE_BYTES,
    // There is no certificate that a client would accept.
    disabledCommands: options.withoutLogin ? ['STARTTLS', 'AUTH'] : ['STARTTLS'],
    hideSMTPUTF8: !options.utf8,
    authOptional: options.withoutLogin,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    closeTimeout: 1,
    onConnect: (_session, done) => done(refusal(state, 'greeting')),
    onAuth(auth, _session, done) {
      const refused = refusal(state, 'auth');
      if (refused !== undefined) done(refused);
      else if (auth.username === USER && auth.password === options.apiKey) done(null, { user: USER });
      else done(reply(535, 'API key is invalid'));
    },
    onMailFrom: (_address, _session, done) => done(refusal(state, 'from')),
    onRcptTo: (_address, _session, done) => done(refusal(state, 'rcpt')),
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        const error = stream.sizeExceeded ? reply(552, 'The message is too large') : refusal(state, 'data');
        if (error !== undefined) return done(error);
        options.wait().then(() => {
          const id = accept(state, session, Buffer.concat(chunks));
          if (state.takeSmtpFault('end') === undefined) done(null, `queued as ${id}`);
          else sockets.get(session.remotePort)?.destroy();
        }, done);
      });
    },
  });
  // A client that closes its connection during a session is no error here.
  server.on('error', () => {});
  server.server.on('connection', (socket: Socket) => {
    const port = socket.remotePort ?? 0;
    sockets.set(port, socket);
    socket.once('close', () => sockets.delete(port));
  });
  const port = await listen(server, options.port, options.host);
  return {
    url: `smtp://${USER}:${encodeURIComponent(options.apiKey)}@${options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets.values()) socket.destroy();
      }),
  };
}

/** @returns the port. */
async function listen(server: SMTPServer, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** The reply of the next fault, if it is at this point. */
function refusal(state: EmailState, at: SmtpStep): Error | undefined {
  const fault = state.takeSmtpFault(at);
  return fault?.kind === 'smtp-reply' ? reply(fault.code, fault.text ?? 'as the fault says') : undefined;
}

/** Stores the message of a session. @returns id of the email. */
function accept(state: EmailState, session: SMTPServerSession, message: Buffer): string {
  const { headers, text, html } = readMessage(message.toString('latin1'));
  const { mailFrom, rcptTo } = session.envelope;
  const email = state.accept({
    via: 'smtp',
    from: headerOf(headers, 'from') || (mailFrom === false ? '' : mailFrom.address),
    to: rcptTo.map(({ address }) => address),
    subject: headerOf(headers, 'subject'),
    html,
    text,
    headers,
    idempotencyKey: null,
    raw: message.toString('utf8'),
  });
  return email.id;
}
