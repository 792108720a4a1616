/** The SMTP server of a catcher: user `resend`, the API key as the password, as at Resend. */
import type { Socket } from 'node:net';
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

/** Listens when the promise resolves. */
export async function startSmtpCatcher(
  state: EmailState,
  options: { host: string; port: number; apiKey: string; wait: () => Promise<void> },
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
    disabledCommands: ['STARTTLS'],
    allowInsecureAuth: true,
    disableReverseLookup: true,
    closeTimeout: 1,
    onAuth(auth, _session, done) {
      if (auth.username === USER && auth.password === options.apiKey) done(null, { user: USER });
      else done(reply(535, 'API key is invalid'));
    },
    onRcptTo(_address, _session, done) {
      const fault = state.takeSmtpFault('rcpt');
      if (fault?.kind === 'smtp-reply') done(reply(fault.code, fault.text ?? 'as the fault says'));
      else done();
    },
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        if (stream.sizeExceeded) return done(reply(552, 'The message is too large'));
        const fault = state.takeSmtpFault('data');
        if (fault?.kind === 'smtp-reply') return done(reply(fault.code, fault.text ?? 'as the fault says'));
        options.wait().then(() => {
          const buffer = Buffer.concat(chunks);
          const { headers, text, html } = readMessage(buffer.toString('latin1'));
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
            raw: buffer.toString('utf8'),
          });
          if (state.takeSmtpFault('end') === undefined) done(null, `queued as ${email.id}`);
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
  await new Promise<void>((resolve, reject) => {
    server.server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  const address = server.server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    url: `smtp://${USER}:${encodeURIComponent(options.apiKey)}@${options.host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets.values()) socket.destroy();
      }),
  };
}
