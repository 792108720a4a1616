/** The device login against an OAuth server that others wrote: only the address of the host is another one. */
import type { RequestListener } from 'node:http';
import { exportJWK, generateKeyPair } from 'jose';
import Provider from 'oidc-provider';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { DeviceCode, HytaleClient, PollResult, TokenSet } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { type RawServer, startRawServer } from '../../support/panel.ts';

let server: RawServer;
let client: HytaleClient;
beforeAll(async () => {
  // It writes hints for its operator.
  vi.spyOn(console, 'info').mockImplementation(() => {});
  vi.spyOn(console, 'warn').mockImplementation(() => {});
  let handler: RequestListener = (_request, response) => response.writeHead(503).end();
  server = await startRawServer((request, response) => handler(request, response));
  const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const provider = new Provider(server.url, {
    clients: [
      {
        client_id: 'hytale-server',
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
        response_types: [],
        redirect_uris: [],
        id_token_signed_response_alg: 'EdDSA',
      },
    ],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), alg: 'EdDSA', use: 'sig' }] },
    enabledJWA: { idTokenSigningAlgValues: ['EdDSA'] },
    scopes: ['openid', 'offline', 'auth:server'],
    features: { deviceFlow: { enabled: true }, devInteractions: { enabled: true } },
    issueRefreshToken: async () => true,
    cookies: { keys: ['test'] },
    routes: {
      device_authorization: '/oauth2/device/auth',
      code_verification: '/oauth2/device/verify',
      token: '/oauth2/token',
    },
  });
  handler = provider.callback();
  client = createHytaleClient({ hosts: { oauth: server.url, accountData: server.url, sessions: server.url } });
});
afterAll(async () => {
  await client.close();
  await server.close();
  vi.restoreAllMocks();
});

/** A browser: it keeps cookies, follows redirects and sends the forms of pages. */
function openBrowser() {
  const cookies = new Map<string, string>();
  async function go(address: string, form?: URLSearchParams): Promise<{ url: string; html: string }> {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(address, {
      redirect: 'manual',
      headers: { cookie },
      ...(form === undefined ? {} : { method: 'POST', body: form }),
    });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      cookies.set(name, value);
    }
    const location = response.headers.get('location');
    const html = await response.text();
    return location === null ? { url: address, html } : go(new URL(location, address).href);
  }
  /** Sends the form of a page with its own hidden fields, and these. */
  function submit({ url, html }: { url: string; html: string }, fields: Record<string, string>) {
    const action = /<form[^>]*action="([^"]*)"/.exec(html)?.[1] ?? url;
    const form = new URLSearchParams();
    for (const [input] of html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)) {
      form.set(/name="([^"]*)"/.exec(input)?.[1] ?? '', /value="([^"]*)"/.exec(input)?.[1] ?? '');
    }
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    return go(new URL(action, url).href, form);
  }
  return { go, submit };
}

async function deviceCode(): Promise<DeviceCode> {
  const answer = await client.requestDeviceCode();
  if (answer.outcome !== 'ok') throw new Error(`no device code: ${answer.outcome}`);
  return answer;
}
function granted(answer: PollResult): TokenSet & { refreshToken: Secret } {
  if (answer.outcome !== 'ok' || answer.tokens.refreshToken === null) throw new Error(`no tokens: ${answer.outcome}`);
  return { ...answer.tokens, refreshToken: answer.tokens.refreshToken };
}

test('a person approves a device code on its pages, and the tokens rotate until one is used twice', async () => {
  const code = await deviceCode();
  expect(code).toMatchObject({ expiresInSeconds: 600, intervalSeconds: 5 });
  expect(code.verificationUri).toBe(`${server.url}/oauth2/device/verify`);
  expect(await client.pollToken(code.deviceCode)).toEqual({ outcome: 'pending' });

  const browser = openBrowser();
  let page = await browser.go(code.verificationUriComplete ?? '');
  page = await browser.submit(page, {});
  page = await browser.submit(page, { confirm: 'yes' });
  page = await browser.submit(page, { prompt: 'login', login: 'steve', password: 'x' });
  page = await browser.submit(page, { prompt: 'consent' });
  expect(page.html).toContain('Sign-in Success');

  const first = granted(await client.pollToken(code.deviceCode));
  expect(first).toMatchObject({ tokenType: 'Bearer', scope: 'openid offline auth:server', expiresInSeconds: 3600 });

  const second = await client.refreshToken(first.refreshToken);
  expect(second).toMatchObject({ outcome: 'ok', tokens: { scope: 'openid offline auth:server' } });
  if (second.outcome !== 'ok' || second.tokens.refreshToken === null) throw new Error('no refresh token');
  expect(second.tokens.refreshToken.reveal()).not.toBe(first.refreshToken.reveal());
  // A reuse ends the whole family, as of Hydra.
  expect(await client.refreshToken(first.refreshToken)).toMatchObject({ outcome: 'rejected', error: 'invalid_grant' });
  expect(await client.refreshToken(second.tokens.refreshToken)).toMatchObject({ outcome: 'rejected' });
  expect(await client.pollToken(code.deviceCode)).toMatchObject({ outcome: 'refused', error: 'invalid_grant' });
});

test('a person refuses a device code on its pages', async () => {
  const code = await deviceCode();
  const browser = openBrowser();
  const page = await browser.submit(await browser.go(code.verificationUriComplete ?? ''), {});
  await browser.submit(page, { abort: 'yes' });
  expect(await client.pollToken(code.deviceCode)).toMatchObject({ outcome: 'denied' });
  expect(await client.pollToken(new Secret('unknown'))).toMatchObject({ outcome: 'refused', error: 'invalid_grant' });
});

test('a client that it does not know is misconfigured', async () => {
  const other = new Provider(server.url, {
    features: { deviceFlow: { enabled: true } },
    routes: { device_authorization: '/oauth2/device/auth', token: '/oauth2/token' },
  }).callback();
  const stranger = await startRawServer((request, response) => void other(request, response));
  const { url } = stranger;
  const by = createHytaleClient({ hosts: { oauth: url, accountData: url, sessions: url } });
  expect(await by.requestDeviceCode()).toMatchObject({ outcome: 'refused', error: 'invalid_client' });
  expect(await by.pollToken(new Secret('x'))).toMatchObject({ outcome: 'misconfigured', error: 'invalid_client' });
  expect(await by.refreshToken(new Secret('x'))).toMatchObject({ outcome: 'misconfigured', error: 'invalid_client' });
  await by.close();
  await stranger.close();
});
