import { createServer } from 'node:net';
import { inspect } from 'node:util';
import { afterEach, describe, expect, test } from 'vitest';
import { type EmailCatcher, type EmailCatcherOptions, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createResendTransport, type EmailTransport } from '../../../src/clients/email/resend.ts';
import { createSmtpTransport } from '../../../src/clients/email/smtp.ts';
import type { OutgoingEmail } from '../../../src/domain/email.ts';
import { AppError, type ErrorCode } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { startRawServer } from '../../support/panel.ts';

const KEY = 're_0123456789_ABCDEFGHIJKLMNOPQRSTUVWX';
const RECIPIENT = 'someone.private@customer.example';
const EMAIL: OutgoingEmail = {
  id: '0b9e6f0e-9a39-4b6c-8f4d-0f6c1d5f9a11',
  from: 'NodeByte <noreply@nodebyte.example>',
  to: RECIPIENT,
  subject: 'Grüße, verify your email',
  html: '<p>Hello <b>you</b>: <a href="https://site.example/v?token=abc&amp;id=1">verify</a></p>',
  text: 'Hello you: https://site.example/v?token=abc&id=1\n\nA line of words that is long enough to be wrapped by a transport, if it wraps.',
};

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function catching(options: EmailCatcherOptions = {}): Promise<EmailCatcher> {
  const catcher = await startEmailCatcher({ apiKey: KEY, ...options });
  closers.push(catcher.close);
  return catcher;
}
function resendTo(url: string, options: { key?: string; timeoutMs?: number } = {}): EmailTransport {
  const { key = KEY, ...rest } = options;
  const transport = createResendTransport({ baseUrl: url, apiKey: new Secret(key), ...rest });
  closers.push(transport.close);
  return transport;
}
function smtpTo(url: string, options: { timeoutMs?: number } = {}): EmailTransport {
  const transport = createSmtpTransport({ url: new Secret(url), ...options });
  closers.push(transport.close);
  return transport;
}
async function resend(options: EmailCatcherOptions = {}) {
  const catcher = await catching(options);
  return { catcher, transport: resendTo(catcher.url) };
}
async function smtp() {
  const catcher = await catching({ smtpPort: 0 });
  const url = catcher.smtpUrl ?? '';
  return { catcher, url, transport: smtpTo(url) };
}

async function failure(promise: Promise<unknown>): Promise<AppError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof AppError)) throw new Error(`expected an AppError, got ${inspect(error)}`);
  // No error may reveal a key, an address or a text of the email.
  for (const text of [inspect(error, { depth: 9, showHidden: true }), JSON.stringify(error), error.stack]) {
    for (const secret of [KEY, 'other-key', 'customer.example', 'Grüße', 'token=abc'])
      expect(text).not.toContain(secret);
  }
  return error;
}
const summary = (error: AppError) => [error.code, error.retryAfterMs, error.meta?.['status'], error.meta?.['name']];

describe('Resend', () => {
  test('sends the email unchanged, and returns the id of the provider', async () => {
    const { catcher, transport } = await resend();
    const { providerId } = await transport.send(EMAIL);
    const { id, idempotencyKey, from, to, subject, html, text } = catcher.emails()[0] ?? {};
    expect({ id, idempotencyKey, from, to, subject, html, text }).toEqual({
      id: providerId,
      idempotencyKey: EMAIL.id,
      from: EMAIL.from,
      to: [EMAIL.to],
      subject: EMAIL.subject,
      html: EMAIL.html,
      text: EMAIL.text,
    });
    expect(transport.name).toBe('resend');
  });

  test('keeps the path of the base URL', async () => {
    const server = await startRawServer((_request, response) => response.end('{"id":"x"}'));
    closers.push(server.close);
    await resendTo(`${server.url}/proxy/`).send(EMAIL);
    expect(server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual(['POST /proxy/emails']);
  });

  test('a repeated call sends no second email', async () => {
    const { catcher, transport } = await resend();
    const first = await transport.send(EMAIL);
    expect(await transport.send(EMAIL)).toEqual(first);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('an email that was accepted before with other content counts as sent', async () => {
    const { catcher, transport } = await resend();
    await transport.send(EMAIL);
    expect(await transport.send({ ...EMAIL, text: 'other' })).toEqual({ providerId: null });
    expect(catcher.emails()).toHaveLength(1);
  });

  test('waits while another attempt with the same id is in flight', async () => {
    const { catcher, transport } = await resend({ latencyMs: 1_000 });
    const outcomes = await Promise.allSettled([transport.send(EMAIL), transport.send(EMAIL)]);
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused).toHaveLength(1);
    expect(summary(await failure(Promise.reject(refused[0]?.reason)))).toEqual([
      'EMAIL_UNAVAILABLE',
      2_000,
      409,
      'concurrent_idempotent_requests',
    ]);
    expect(catcher.emails()).toHaveLength(1);
  });

  test.each<[name: string, status: number, code: ErrorCode, retryAfterMs: number | undefined]>([
    ['validation_error', 400, 'EMAIL_REJECTED', undefined],
    ['missing_api_key', 401, 'EMAIL_NOT_CONFIGURED', 300_000],
    ['restricted_api_key', 401, 'EMAIL_NOT_CONFIGURED', 300_000],
    ['validation_error', 401, 'EMAIL_NOT_CONFIGURED', 300_000],
    ['invalid_api_key', 403, 'EMAIL_NOT_CONFIGURED', 300_000],
    ['suspended_api_key', 403, 'EMAIL_NOT_CONFIGURED', 300_000],
    ['validation_error', 403, 'EMAIL_REJECTED', undefined],
    ['not_found', 404, 'EMAIL_REJECTED', undefined],
    ['application_error', 408, 'EMAIL_UNAVAILABLE', undefined],
    ['concurrent_idempotent_requests', 409, 'EMAIL_UNAVAILABLE', 2_000],
    ['missing_required_field', 422, 'EMAIL_REJECTED', undefined],
    ['rate_limit_exceeded', 429, 'EMAIL_UNAVAILABLE', 2_000],
    ['daily_quota_exceeded', 429, 'EMAIL_UNAVAILABLE', 600_000],
    ['monthly_quota_exceeded', 429, 'EMAIL_UNAVAILABLE', 600_000],
    ['security_error', 451, 'EMAIL_REJECTED', undefined],
    ['internal_server_error', 500, 'EMAIL_UNAVAILABLE', undefined],
    ['application_error', 503, 'EMAIL_UNAVAILABLE', undefined],
  ])('%s (%i) is %s', async (name, status, code, retryAfterMs) => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status, name, message: `no email to ${RECIPIENT} with ${KEY}` });
    const error = await failure(transport.send(EMAIL));
    expect(summary(error)).toEqual([code, retryAfterMs, status, name]);
    if (code === 'EMAIL_REJECTED') expect(error.publicMessage).toContain(name);
    expect(catcher.emails()).toEqual([]);
    await transport.send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('distinguishes a malformed key from a malformed email', async () => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status: 400, name: 'validation_error', message: 'API key is invalid' });
    expect((await failure(transport.send(EMAIL))).code).toBe('EMAIL_NOT_CONFIGURED');
  });

  test('drops an error name that is not one word', async () => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status: 422, name: `refused ${RECIPIENT}` });
    const error = await failure(transport.send(EMAIL));
    expect(error.publicMessage).toBe('The email provider refused the email (status 422)');
  });

  test.each<[header: string | number, from: number, to: number]>([
    [7, 7_000, 7_000],
    ['0', 1_000, 1_000],
    ['999999', 3_600_000, 3_600_000],
    ['soon', 2_000, 2_000],
    [new Date(Date.now() + 600_000).toUTCString(), 500_000, 600_000],
    [new Date(Date.now() - 600_000).toUTCString(), 1_000, 1_000],
  ])('Retry-After: %s', async (retryAfter, from, to) => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status: 429, retryAfter });
    const { retryAfterMs } = await failure(transport.send(EMAIL));
    expect(retryAfterMs).toBeGreaterThanOrEqual(from);
    expect(retryAfterMs).toBeLessThanOrEqual(to);
  });

  test('uses Retry-After also after a used up quota and during maintenance', async () => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status: 429, name: 'daily_quota_exceeded', retryAfter: 30 });
    expect((await failure(transport.send(EMAIL))).retryAfterMs).toBe(30_000);
    catcher.fault({ kind: 'status', status: 503, retryAfter: 30 });
    expect((await failure(transport.send(EMAIL))).retryAfterMs).toBe(30_000);
  });

  test('a wrong key means that email is not configured', async () => {
    const catcher = await catching();
    const error = await failure(resendTo(catcher.url, { key: 'other-key' }).send(EMAIL));
    expect(summary(error)).toEqual(['EMAIL_NOT_CONFIGURED', 300_000, 403, 'invalid_api_key']);
    expect(error.publicMessage).toBe('The email provider refuses the API key');
  });

  test.each(['', 'two words', `line\r\nX-Injected: ${KEY}`])('the key %j is never sent', async (key) => {
    const server = await startRawServer((_request, response) => response.end('{"id":"x"}'));
    closers.push(server.close);
    expect((await failure(resendTo(server.url, { key }).send(EMAIL))).code).toBe('EMAIL_NOT_CONFIGURED');
    expect(server.requests).toEqual([]);
  });

  test.each(['smtp://provider.example', 'provider', ''])('refuses the base URL %j', async (baseUrl) => {
    const make = async () => createResendTransport({ baseUrl, apiKey: new Secret(KEY) });
    expect((await failure(make())).code).toBe('EMAIL_NOT_CONFIGURED');
  });

  test('an address that the provider refuses rejects the email', async () => {
    const { transport } = await resend();
    const error = await failure(
      transport.send({ ...EMAIL, to: 'someone.private@customer.example, b@customer.example' }),
    );
    expect(summary(error)).toEqual(['EMAIL_REJECTED', undefined, 422, 'validation_error']);
  });

  test.each(['reset', 'truncate'] as const)(
    '%s: not sent as far as is known, and sent once after all',
    async (kind) => {
      const { catcher, transport } = await resend();
      catcher.fault({ kind });
      expect((await failure(transport.send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
      const { providerId } = await transport.send(EMAIL);
      expect(catcher.emails().map(({ id }) => id)).toEqual([providerId]);
    },
  );

  test.each(['hang', 'accept-hang'] as const)(
    '%s: the attempt ends at its timeout, and a further attempt sends the email once',
    async (kind) => {
      const catcher = await catching();
      const transport = resendTo(catcher.url, { timeoutMs: 1_000 });
      catcher.fault({ kind });
      expect(summary(await failure(transport.send(EMAIL)))).toEqual([
        'EMAIL_UNAVAILABLE',
        undefined,
        undefined,
        'timeout',
      ]);
      const { providerId } = await resendTo(catcher.url).send(EMAIL);
      expect(catcher.emails().map(({ id }) => id)).toEqual([providerId]);
    },
  );

  test.each(['<html>', '{}', '[]', 'null', '{"id":5}', '{"id":""}', '', 'x'.repeat(100_000)])(
    'a 2xx counts as sent, whatever it says',
    async (body) => {
      const server = await startRawServer((_request, response) => response.end(body));
      closers.push(server.close);
      expect(await resendTo(server.url).send(EMAIL)).toEqual({ providerId: null });
    },
  );

  test('a redirect is not followed', async () => {
    const server = await startRawServer((_request, response) => response.writeHead(302, { location: '/x' }).end());
    closers.push(server.close);
    expect((await failure(resendTo(server.url).send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
    expect(server.requests).toHaveLength(1);
  });

  test('a closed port means unavailable', async () => {
    const catcher = await startEmailCatcher();
    await catcher.close();
    expect(summary(await failure(resendTo(catcher.url).send(EMAIL)))).toEqual([
      'EMAIL_UNAVAILABLE',
      undefined,
      undefined,
      'ECONNREFUSED',
    ]);
  });

  test('an abort ends the call with the reason of the abort', async () => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'hang' });
    const stopping = new AbortController();
    const reason = new Error('stopping');
    setTimeout(() => stopping.abort(reason), 50);
    await expect(transport.send(EMAIL, { signal: stopping.signal })).rejects.toBe(reason);
  });
});

describe('SMTP', () => {
  test('sends the email unchanged, with a Message-ID made of its id', async () => {
    const { catcher, transport } = await smtp();
    const { providerId } = await transport.send(EMAIL);
    const { via, from, to, subject, html, text, headers } = catcher.emails()[0] ?? {};
    expect({ via, from, to, subject, html, text: text?.trimEnd() }).toEqual({
      via: 'smtp',
      from: EMAIL.from,
      to: [EMAIL.to],
      subject: EMAIL.subject,
      html: EMAIL.html,
      text: EMAIL.text,
    });
    expect(providerId).toBe(`<${EMAIL.id}@nodebyte.example>`);
    expect(headers).toContainEqual(['Message-ID', providerId]);
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

  test.each<[at: 'rcpt' | 'data', reply: number, code: ErrorCode]>([
    ['rcpt', 421, 'EMAIL_UNAVAILABLE'],
    ['rcpt', 450, 'EMAIL_UNAVAILABLE'],
    ['rcpt', 530, 'EMAIL_NOT_CONFIGURED'],
    ['rcpt', 550, 'EMAIL_REJECTED'],
    ['rcpt', 554, 'EMAIL_REJECTED'],
    ['data', 451, 'EMAIL_UNAVAILABLE'],
    ['data', 552, 'EMAIL_REJECTED'],
    ['data', 554, 'EMAIL_REJECTED'],
  ])('reply at %s: %i is %s', async (at, reply, code) => {
    const { catcher, transport } = await smtp();
    catcher.fault({ kind: 'smtp-reply', at, code: reply, text: `<${RECIPIENT}> with ${KEY}` });
    const error = await failure(transport.send(EMAIL));
    expect([error.code, error.meta?.['status']]).toEqual([code, reply]);
    if (code === 'EMAIL_REJECTED') expect(error.publicMessage).toBe(`The email server refused the email (${reply})`);
    expect(catcher.emails()).toEqual([]);
    await transport.send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
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
    expect((await failure(transport.send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
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
    expect((await failure(smtpTo(url).send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
  });

  test('smtps is encrypted from the first byte', async () => {
    const { catcher, url } = await smtp();
    expect((await failure(smtpTo(url.replace('smtp:', 'smtps:')).send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
    expect(catcher.emails()).toEqual([]);
  });

  test('uses STARTTLS if it is offered, and ends at an untrusted certificate', async () => {
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
    expect((await failure(smtpTo(url).send(EMAIL))).code).toBe('EMAIL_UNAVAILABLE');
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
