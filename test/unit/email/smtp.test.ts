import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import type { SmtpStep } from '../../../simulators/email/contract.ts';
import { type EmailCatcherOptions, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createSmtpTransport } from '../../../src/clients/email/smtp.ts';
import type { ErrorCode } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { catching, closers, EMAIL, FROM, failure, KEY, RECIPIENT, smtpTo } from '../../support/transports.ts';

async function smtp(options: EmailCatcherOptions = {}) {
  const catcher = await catching({ smtpPort: 0, ...options });
  const url = catcher.smtpUrl ?? '';
  return { catcher, url, transport: smtpTo(url) };
}

/** A server on port 465; `port` is undefined if this process may not open it. `first`: the first bytes of a client. */
async function listening465(): Promise<{ port: number | undefined; first: Promise<Buffer | undefined> }> {
  const first = Promise.withResolvers<Buffer | undefined>();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (bytes: Buffer) => {
      first.resolve(bytes);
      socket.destroy();
    });
  });
  const port = await new Promise<number | undefined>((resolve) => {
    server.once('error', () => resolve(undefined));
    server.listen(465, '127.0.0.1', () => resolve(465));
  });
  closers.push(async () => void server.close());
  return { port, first: first.promise };
}

describe('SMTP', () => {
  test('sends the email unchanged, with a Message-ID made of its id', async () => {
    const { catcher, transport } = await smtp();
    const { providerId } = await transport.send(EMAIL);
    const { via, from, to, subject, html, text, headers } = catcher.emails()[0] ?? {};
    expect({ via, from, to, subject, html, text: text?.trimEnd() }).toEqual({
      via: 'smtp',
      from: FROM,
      to: [EMAIL.to],
      subject: EMAIL.subject,
      html: EMAIL.html,
      text: EMAIL.text,
    });
    expect(providerId).toMatch(/^250 .*queued as [0-9a-f-]{36}$/);
    expect(headers).toContainEqual(['Message-ID', `<${EMAIL.id}@nodebyte.example>`]);
    expect(transport.name).toBe('smtp');
  });

  test.each(['\r\n', '\n', '\r'])('a line break (%j) in a field adds no header and no command', async (end) => {
    const { catcher, transport } = await smtp();
    const subject = `Hello${end}Bcc: evil@evil.example${end}${end}body`;
    await transport.send({ ...EMAIL, subject });
    const [email] = catcher.emails();
    expect(email?.headers.map(([name]) => name)).not.toContain('Bcc');
    expect(email?.to).toEqual([EMAIL.to]);
    expect(email?.raw).not.toMatch(/^Bcc:/m);
    expect(email?.html).toBe(EMAIL.html);

    const to = `${RECIPIENT}${end}RCPT TO:<evil@evil.example>`;
    await failure(transport.send({ ...EMAIL, to }));
    expect(catcher.emails()).toHaveLength(1);
  });

  test('an address with a comma is one recipient', async () => {
    const { catcher, transport } = await smtp();
    await transport.send({ ...EMAIL, to: 'a@customer.example, b@customer.example' }).catch(() => undefined);
    expect(catcher.emails().flatMap(({ to }) => to)).not.toContain('b@customer.example');
  });

  test('reads no part of an email from a file or a URL', async () => {
    const { catcher, transport } = await smtp();
    await transport.send({ ...EMAIL, text: '/etc/passwd', html: 'file:///etc/passwd' });
    expect(catcher.emails()[0]).toMatchObject({ html: 'file:///etc/passwd' });
    expect(catcher.emails()[0]?.text?.trim()).toBe('/etc/passwd');
  });

  test.each<[at: SmtpStep, reply: number, text: string, code: ErrorCode, sentence: RegExp]>([
    ['greeting', 421, '4.7.0 busy', 'EMAIL_UNAVAILABLE', /try again later \(421/],
    ['greeting', 554, '5.7.1 your address is blocked', 'EMAIL_NOT_CONFIGURED', /refuses connections from this address/],
    ['auth', 454, '4.7.0 temporary', 'EMAIL_UNAVAILABLE', /try again later/],
    ['auth', 535, '5.7.8 no', 'EMAIL_NOT_CONFIGURED', /refuses the login \(535 5\.7\.8\)/],
    ['from', 550, '5.1.8 sender', 'EMAIL_NOT_CONFIGURED', /refuses the sender \(550 5\.1\.8\)/],
    ['rcpt', 450, '4.2.0 greylisted', 'EMAIL_UNAVAILABLE', /try again later/],
    ['rcpt', 550, '5.1.1 unknown', 'EMAIL_REJECTED', /refused the recipient \(550 5\.1\.1\)/],
    ['rcpt', 554, '5.7.1 relay access denied', 'EMAIL_NOT_CONFIGURED', /this login and sender/],
    ['data', 451, '4.3.0 queue', 'EMAIL_UNAVAILABLE', /try again later/],
    ['data', 552, '5.3.4 too big', 'EMAIL_REJECTED', /larger than/],
    ['data', 554, '5.7.1 spam', 'EMAIL_SUSPECT', /as unwanted/],
  ])('reply at %s: %i %s is %s (M-2)', async (at, code, text, expected, sentence) => {
    const { catcher, transport } = await smtp();
    catcher.fault({ kind: 'smtp-reply', at, code, text: `${text} <${RECIPIENT}> with ${KEY}` });
    const error = await failure(transport.send(EMAIL));
    expect([error.code, error.meta?.['status'], error.verdict.accepted]).toEqual([expected, code, 'no']);
    expect(error.publicMessage).toMatch(sentence);
    expect(catcher.emails()).toEqual([]);
    await transport.send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('an email is never sent without the login, if the server offers none', async () => {
    const { catcher, transport } = await smtp({ smtpWithoutLogin: true });
    const error = await failure(transport.send(EMAIL));
    expect(error.code).toBe('EMAIL_NOT_CONFIGURED');
    expect(error.publicMessage).toContain('offers no login on this port');
    expect(catcher.emails()).toEqual([]);
  });

  test('login and email do not go in clear to a server that offers no encryption (S8)', async () => {
    const { catcher, url } = await smtp();
    // Leads to this machine, and is no loopback address.
    const distant = url.replace('127.0.0.1', '0.0.0.0');
    const error = await failure(smtpTo(distant).send(EMAIL));
    expect(error.code).toBe('EMAIL_NOT_CONFIGURED');
    expect(error.publicMessage).toContain('SMTP_ALLOW_PLAINTEXT=true');
    expect(catcher.emails()).toEqual([]);
    await smtpTo(distant, { allowPlaintext: true }).send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('port 465 is encrypted from the first byte, also with smtp: (M-1)', async () => {
    const { port, first } = await listening465();
    if (port === undefined) return;
    const sending = failure(smtpTo('smtp://127.0.0.1:465', { timeoutMs: 2_000 }).send(EMAIL));
    // 22: a TLS handshake.
    expect((await first)?.[0]).toBe(22);
    await sending;
  });

  test('a local part outside ASCII is refused before the server sees it', async () => {
    const { catcher, transport } = await smtp();
    catcher.fault({ kind: 'smtp-reply', at: 'from', code: 550, text: 'the session came this far' });
    const error = await failure(transport.send({ ...EMAIL, to: 'jürgen@bücher.example' }));
    expect([error.code, error.meta]).toEqual(['EMAIL_REJECTED', {}]);
    expect(error.publicMessage).toContain('outside ASCII');
    const modern = await smtp({ smtpUtf8: true });
    await modern.transport.send({ ...EMAIL, to: 'jürgen@bücher.example' });
    expect(modern.catcher.emails()[0]?.to).toEqual(['jürgen@bücher.example']);
  });

  test('a check logs in and sends nothing (M-1)', async () => {
    const { catcher, url, transport } = await smtp();
    expect(await transport.check()).toMatch(/^127\.0\.0\.1:\d+, NOT encrypted, the login is accepted$/);
    const wrong = await failure(smtpTo(url.replace(encodeURIComponent(KEY), 'other-key')).check());
    expect(wrong.publicMessage).toContain('refuses the login (535');
    expect(catcher.emails()).toEqual([]);
  });

  test.each([
    ['a wrong password', (url: string) => url.replace(encodeURIComponent(KEY), 'other-key'), 535],
    ['no login', (url: string) => url.replace(/\/\/.*@/, '//'), 530],
  ])('%s', async (_name, change, reply) => {
    const { url } = await smtp();
    const error = await failure(smtpTo(change(url)).send(EMAIL));
    expect([error.code, error.retryAfterMs, error.meta?.['status']]).toEqual(['EMAIL_NOT_CONFIGURED', 300_000, reply]);
  });

  test('decodes a password with reserved characters', async () => {
    const catcher = await catching({ smtpPort: 0, apiKey: 'p@ss:w/rd%20#?ü' });
    await smtpTo(catcher.smtpUrl ?? '').send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('a connection that ends after the acceptance costs a second copy with the same Message-ID', async () => {
    const { catcher, transport } = await smtp();
    catcher.fault({ kind: 'smtp-drop' });
    const { code, verdict } = await failure(transport.send(EMAIL));
    expect([code, verdict.accepted, verdict.pauseMs]).toEqual(['EMAIL_UNAVAILABLE', 'unknown', 600_000]);
    expect(verdict.sentence).toContain('may have arrived');
    await transport.send(EMAIL);
    const ids = catcher.emails().map(({ headers }) => headers.find(([name]) => name === 'Message-ID')?.[1]);
    expect(new Set(ids).size).toBe(1);
  });

  /** A server that sends a greeting and then nothing. */
  async function greeting(text: string): Promise<string> {
    const server = createServer((socket) => {
      closers.push(async () => void socket.destroy());
      socket.on('error', () => {});
      socket.write(text);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(async () => void server.close());
    const address = server.address();
    return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  test.each(['', '220 email\r\n'])('the attempt ends at its timeout if the server is silent after %j', async (text) => {
    const url = `smtp://${await greeting(text)}`;
    expect((await failure(smtpTo(url, { timeoutMs: 300 }).send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
  });

  test('a server that refuses every session does not reject the email', async () => {
    const url = `smtp://${await greeting('554 no service\r\n')}`;
    expect((await failure(smtpTo(url).send(EMAIL))).code).toBe('EMAIL_NOT_CONFIGURED');
  });

  test('smtps is encrypted from the first byte', async () => {
    const { catcher, url } = await smtp();
    const error = await failure(smtpTo(url.replace('smtp:', 'smtps:')).send(EMAIL));
    expect(error.code).toBe('EMAIL_NOT_CONFIGURED');
    expect(error.publicMessage).toContain('Check whether the port speaks TLS');
    expect(catcher.emails()).toEqual([]);
  });

  test('uses STARTTLS if it is offered, and names what is wrong with a certificate (M-4)', async () => {
    const { SMTPServer } = await import('smtp-server');
    const commands: string[] = [];
    const server = new SMTPServer({
      logger: false,
      closeTimeout: 1,
      onMailFrom: (_address, _session, done) => {
        commands.push('MAIL FROM');
        done();
      },
    });
    server.on('error', () => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closers.push(() => new Promise((resolve) => server.close(() => resolve())));
    const address = server.server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const url = `smtp://user:${KEY}@127.0.0.1:${port}?tls.rejectUnauthorized=false&ignoreTLS=true`;
    const error = await failure(smtpTo(url).send(EMAIL));
    expect(error.code).toBe('EMAIL_NOT_CONFIGURED');
    expect(error.publicMessage).toContain('its certificate has expired');
    expect(commands).toEqual([]);
  });

  test('a closed port means unavailable', async () => {
    const catcher = await startEmailCatcher({ smtpPort: 0 });
    await catcher.close();
    expect((await failure(smtpTo(catcher.smtpUrl ?? '').send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
  });

  test.each([
    '',
    'email.example',
    'http://email.example',
    'smtp://',
    `smtp://user:%zz${KEY}@email.example`,
    'smtp://h:99999',
  ])('%j is no SMTP URL', async (url) => {
    const make = async () => createSmtpTransport({ url: new Secret(url) });
    expect((await failure(make())).code).toBe('EMAIL_NOT_CONFIGURED');
  });

  test('an abort ends the connection, and the call with the reason of the abort', async () => {
    const url = `smtp://${await greeting('220 email\r\n')}`;
    const stopping = new AbortController();
    const reason = new Error('stopping');
    const transport = smtpTo(url);
    const sending = transport.send(EMAIL, { signal: stopping.signal });
    setTimeout(() => stopping.abort(reason), 50);
    await expect(sending).rejects.toBe(reason);
    await expect(transport.send(EMAIL, { signal: stopping.signal })).rejects.toBe(reason);
  });

  test('closing waits for the emails in flight', async () => {
    const catcher = await catching({ smtpPort: 0, latencyMs: 200 });
    const transport = createSmtpTransport({ url: new Secret(catcher.smtpUrl ?? '') });
    const sending = transport.send(EMAIL);
    await transport.close();
    expect(catcher.emails()).toHaveLength(1);
    await sending;
  });
});
