import { describe, expect, test } from 'vitest';
import { type EmailCatcherOptions, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createEmailProvider } from '../../../src/clients/email/provider.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import type { SendFailure } from '../../../src/clients/email/transport.ts';
import type { ErrorCode } from '../../../src/domain/errors.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { startRawServer } from '../../support/panel.ts';
import { catching, closers, EMAIL, FROM, failure, KEY, RECIPIENT, resendTo } from '../../support/transports.ts';

async function resend(options: EmailCatcherOptions = {}) {
  const catcher = await catching(options);
  return { catcher, transport: resendTo(catcher.url) };
}
const summary = (error: SendFailure) => [error.code, error.retryAfterMs, error.meta?.['status'], error.meta?.['name']];

describe('Resend', () => {
  test('sends the email unchanged, and returns the id of the provider', async () => {
    const { catcher, transport } = await resend();
    const { providerId } = await transport.send(EMAIL);
    const { id, idempotencyKey, from, to, subject, html, text } = catcher.emails()[0] ?? {};
    expect({ id, idempotencyKey, from, to, subject, html, text }).toEqual({
      id: providerId,
      idempotencyKey: EMAIL.id,
      from: FROM,
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

  test('an email that was accepted before with other content is not called sent (M-2)', async () => {
    const { catcher, transport } = await resend();
    await transport.send(EMAIL);
    const error = await failure(transport.send({ ...EMAIL, text: 'other' }));
    expect([error.code, error.verdict.accepted]).toEqual(['EMAIL_REJECTED', 'unknown']);
    expect(error.publicMessage).toContain('accepted an email under this id before, with other content');
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

  test.each<[status: number, name: string, code: ErrorCode, pauseMs: number | undefined, accepted: 'no' | 'unknown']>([
    [403, 'validation_error', 'EMAIL_NOT_CONFIGURED', 300_000, 'no'],
    [429, 'daily_quota_exceeded', 'EMAIL_NOT_CONFIGURED', 3_600_000, 'no'],
    [429, 'rate_limit_exceeded', 'EMAIL_UNAVAILABLE', 2_000, 'no'],
    [422, 'validation_error', 'EMAIL_REJECTED', undefined, 'no'],
    [451, 'security_error', 'EMAIL_SUSPECT', undefined, 'no'],
    [500, 'internal_server_error', 'EMAIL_UNAVAILABLE', undefined, 'unknown'],
  ])('%i %s is %s', async (status, name, code, pauseMs, accepted) => {
    const { catcher, transport } = await resend();
    catcher.fault({ kind: 'status', status, name, message: `no email to ${RECIPIENT} with ${KEY}` });
    const error = await failure(transport.send(EMAIL));
    expect([...summary(error), error.verdict.accepted]).toEqual([code, pauseMs, status, name, accepted]);
    if (code === 'EMAIL_REJECTED') expect(error.publicMessage).toContain(name);
    expect(catcher.emails()).toEqual([]);
    await transport.send(EMAIL);
    expect(catcher.emails()).toHaveLength(1);
  });

  test('a sender whose domain is not verified holds the email (M-2)', async () => {
    const { transport } = await resend({ domains: ['verified.example'] });
    const error = await failure(transport.send(EMAIL));
    expect(summary(error)).toEqual(['EMAIL_NOT_CONFIGURED', 300_000, 403, 'validation_error']);
    expect(error.publicMessage).toContain('refuses the sender');
    const from = { name: 'NodeByte', address: 'noreply@verified.example' };
    await transport.send({ ...EMAIL, key: 'other', from });
  });

  test('a name with a comma is one sender (M-3)', async () => {
    const { catcher, transport } = await resend();
    const from = { name: 'Example Hosting, Inc.', address: 'a@hosting.example' };
    await transport.send({ ...EMAIL, from });
    expect(catcher.emails()[0]?.from).toBe('"Example Hosting, Inc." <a@hosting.example>');
  });

  test('a recipient with a domain in another script is sent in Punycode', async () => {
    const { catcher, transport } = await resend();
    await transport.send({ ...EMAIL, to: "o'neil@bücher.example" });
    expect(catcher.emails()[0]?.to).toEqual(["o'neil@xn--bcher-kva.example"]);
  });

  test.each([401, 403, 404, 422, 200, 502])(
    'a page with status %i came from something in between: retry',
    async (status) => {
      const { catcher, transport } = await resend();
      catcher.fault({ kind: 'page', status });
      const { code, verdict } = await failure(transport.send(EMAIL));
      expect([code, verdict.accepted]).toEqual(['EMAIL_UNAVAILABLE', 'unknown']);
      await transport.send(EMAIL);
      expect(catcher.emails()).toHaveLength(1);
    },
  );

  test('a refusal of a request without a name is held, not final', async () => {
    const server = await startRawServer((_request, response) => response.writeHead(403).end('error code: 1010'));
    closers.push(server.close);
    expect((await failure(resendTo(server.url).send(EMAIL))).code).toBe('EMAIL_NOT_CONFIGURED');
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
    expect(summary(error)).toEqual(['EMAIL_NOT_CONFIGURED', 300_000, 401, 'validation_error']);
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

  test.each(['reset', 'accept-reset', 'truncate', 'html'] as const)(
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
    'a 2xx without an id confirms nothing: a further attempt with the same key finds out',
    async (body) => {
      const server = await startRawServer((_request, response) => response.end(body));
      closers.push(server.close);
      const { code, verdict } = await failure(resendTo(server.url).send(EMAIL));
      expect([code, verdict.accepted]).toEqual(['EMAIL_UNAVAILABLE', 'unknown']);
    },
  );

  test('a check tells a living key from a refused one, and sends nothing (M-1)', async () => {
    const from = { name: '', address: 'noreply@verified.example' };
    const full = await catching({ domains: ['verified.example'] });
    expect(await resendTo(full.url).check(from)).toContain('accepts the key and the domain verified.example');
    const foreign = await failure(resendTo(full.url).check({ name: '', address: 'a@sub.verified.example' }));
    expect(foreign.publicMessage).toContain('not verified');
    const wrong = await failure(resendTo(full.url, { key: 'other-key' }).check(from));
    expect(summary(wrong)).toEqual(['EMAIL_NOT_CONFIGURED', 300_000, 400, 'validation_error']);
    const sending = await catching({ sendingOnly: true });
    expect(await resendTo(sending.url).check(from)).toContain('may only send');
    expect(full.emails()).toEqual([]);
  });

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

describe('after a refusal that every email would meet', () => {
  test('no other email is tried until the pause is over, or there is another key (M-2)', async () => {
    const catcher = await catching();
    let resendApiKey = new Secret('other-key');
    const provider = createEmailProvider({
      smtpUrl: undefined,
      smtpAllowPlaintext: false,
      resendBaseUrl: catcher.url,
      settings: async () => ({ email: { resendApiKey } }),
    });
    closers.push(provider.close);
    const refused = await provider.transport();
    await failure(refused.send(EMAIL));
    const paused = await failure(provider.transport());
    expect([paused.code, paused.publicMessage]).toEqual([
      'EMAIL_NOT_CONFIGURED',
      'The email provider refuses the API key',
    ]);
    expect(paused.retryAfterMs).toBeGreaterThan(290_000);
    resendApiKey = new Secret(KEY);
    const working = await provider.transport();
    catcher.fault({ kind: 'status', status: 422, message: 'Invalid `to` field' });
    await failure(working.send(EMAIL));
    await (await provider.transport()).send(EMAIL);
  });
});
