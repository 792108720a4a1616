/** The URLs that a webhook may have, and texts that only look like them. */
import { describe, expect, test } from 'vitest';
import { checkWebhookUrl, webhookHost } from '../../../src/domain/webhook-url.ts';

const TOKEN = 'Zx9-marker_token-that-must-not-be-shown-0123456789abcdefghijklmnopqr';
const PATH = `/api/webhooks/1234567890123456789/${TOKEN}`;
const LOCAL = { hosts: ['gateway.nodebyte.host', 'localhost:4100', '127.0.0.1:4100', '[::1]:4100'], production: false };
const PRODUCTION = { hosts: ['gateway.nodebyte.host', 'other.example:8443'], production: true };

const problem = (text: string, rules = PRODUCTION): string => {
  const checked = checkWebhookUrl(text, rules);
  expect(checked, text).toHaveProperty('problem');
  return 'problem' in checked ? checked.problem : '';
};

describe('the URL of a webhook', () => {
  test.each([
    `https://discord.com${PATH}`,
    `https://discordapp.com${PATH}`,
    ...['ptb.', 'canary.', 'www.'].flatMap((at) => [
      `https://${at}discord.com${PATH}`,
      `https://${at}discordapp.com${PATH}`,
    ]),
    `https://discord.com/api/v10/webhooks/1/${TOKEN}`,
    `https://discord.com/api/v9/webhooks/9223372036854775807/a`,
    `  HTTPS://Discord.com${PATH}\n`,
    `https://discord.com:443${PATH}`,
    `https://discord.com${PATH}/`,
  ])('%s is one', (text) => {
    expect(checkWebhookUrl(text, PRODUCTION)).toMatchObject({ discord: true, loopback: false });
  });

  test('keeps its own query', () => {
    const checked = checkWebhookUrl(`https://discord.com${PATH}?thread_id=77&with_components=true`, PRODUCTION);
    expect('url' in checked && checked.url.search).toBe('?thread_id=77&with_components=true');
  });

  test('may be at a host of DISCORD_WEBHOOK_HOSTS, at the port that is named there', () => {
    for (const text of [
      `https://gateway.nodebyte.host${PATH}`,
      `https://gateway.nodebyte.host/discord/webhooks/5/${TOKEN}`,
      `https://other.example:8443${PATH}`,
    ]) {
      expect(checkWebhookUrl(text, PRODUCTION)).toMatchObject({ discord: false, loopback: false });
    }
    for (const text of [
      `https://other.example${PATH}`,
      `https://gateway.nodebyte.host:8443${PATH}`,
      `https://a.gateway.nodebyte.host${PATH}`,
    ]) {
      expect(problem(text)).toMatch(/DISCORD_WEBHOOK_HOSTS/);
    }
  });

  test('leads to this machine outside production only, at a host and port that are named', () => {
    for (const host of ['localhost:4100', '127.0.0.1:4100', '[::1]:4100']) {
      expect(checkWebhookUrl(`http://${host}${PATH}`, LOCAL)).toMatchObject({ loopback: true });
      expect(problem(`https://${host}${PATH}`, LOCAL)).toBe('The URL of this host must begin with http://');
      expect(problem(`http://${host}${PATH}`, { ...LOCAL, production: true })).not.toContain('4100');
    }
    for (const host of ['localhost', 'localhost:4101', '127.0.0.2:4100', 'gateway.nodebyte.host', 'discord.com'])
      problem(`http://${host}${PATH}`, LOCAL);
  });

  test.each([
    ['no text', ''],
    ['no URL', 'discord'],
    ['http', `http://discord.com${PATH}`],
    ['another scheme', `ftp://discord.com${PATH}`],
    ['no path', 'https://discord.com'],
    ['another path', `https://discord.com/channels/1/${TOKEN}`],
    ['no token', 'https://discord.com/api/webhooks/1'],
    ['an empty token', 'https://discord.com/api/webhooks/1/'],
    ['a token with other characters', `https://discord.com/api/webhooks/1/${TOKEN}%2e`],
    ['a further segment', `https://discord.com${PATH}/messages`],
    ['an id that is no number', `https://discord.com/api/webhooks/one/${TOKEN}`],
    ['an id beyond 63 bits', `https://discord.com/api/webhooks/9223372036854775808/${TOKEN}`],
    ['an id that begins with 0', `https://discord.com/api/webhooks/01/${TOKEN}`],
    ['a path that is rewritten', `https://discord.com/x/..${PATH}`],
    ['a path that is rewritten, encoded', `https://discord.com/x/%2e%2e${PATH}`],
    ['two slashes', `https://discord.com/${PATH}`],
    ['a user', `https://user@discord.com${PATH}`],
    ['a user and a password', `https://discord.com:secret@evil.example${PATH}`],
    ['a host after an @', `https://discord.com@evil.example${PATH}`],
    ['an empty user', `https://@discord.com${PATH}`],
    ['a fragment', `https://discord.com${PATH}#`],
    ['a fragment after a query', `https://discord.com${PATH}?thread_id=1#x`],
    ['a port without a number', `https://discord.com:${PATH}`],
    ['a backslash', `https://discord.com\\@evil.example${PATH}`],
    ['backslashes for slashes', `https:\\\\discord.com${PATH}`],
    ['no slashes', `https:discord.com${PATH}`],
    ['three slashes', `https:///discord.com${PATH}`],
    ['a host that begins with the allowed one', `https://discord.com.evil.example${PATH}`],
    ['a host that ends with the allowed one', `https://evildiscord.com${PATH}`],
    ['another subdomain', `https://status.discord.com${PATH}`],
    ['a dot at the end of the host', `https://discord.com.${PATH}`],
    ['an encoded host', `https://discord%2ecom${PATH}`],
    ['an encoded letter in the host', `https://%64iscord.com${PATH}`],
    ['letters of another script', `https://disc\u043erd.com${PATH}`],
    ['wide letters', `https://\uff44iscord.com${PATH}`],
    ['another kind of dot', `https://discord\u3002com${PATH}`],
    ['a soft hyphen', `https://dis\u00adcord.com${PATH}`],
    ['such a name in ASCII', `https://xn--discrd-jye.com${PATH}`],
    ['another port', `https://discord.com:8443${PATH}`],
    ['a line break', `https://discord.com\n${PATH}`],
    ['a tab', `https://dis\tcord.com${PATH}`],
    ['a zero character', `https://discord.com${PATH}\0x`],
    ['a space', `https://discord.com${PATH}?a=b c`],
    ['loopback', `https://127.0.0.1${PATH}`],
    ['loopback in hexadecimal', `https://0x7f.1${PATH}`],
    ['loopback as one number', `https://2130706433${PATH}`],
    ['loopback in octal', `https://0177.0.0.1${PATH}`],
    ['loopback, mapped', `https://[::ffff:127.0.0.1]${PATH}`],
    ['the metadata service', `https://169.254.169.254${PATH}`],
    ['the metadata service, mapped', `https://[::ffff:a9fe:a9fe]${PATH}`],
    ['a private address', `https://10.0.0.1${PATH}`],
    ['too many characters', `https://discord.com${PATH}?a=${'b'.repeat(1100)}`],
  ])('is refused with %s', (_what, text) => {
    for (const rules of [PRODUCTION, LOCAL]) {
      const found = problem(text, rules);
      expect(found).toMatch(/^The URL /);
      for (const part of [TOKEN, 'evil', 'secret', '1234567890']) expect(found).not.toContain(part);
    }
  });

  test('in another notation is not the loopback address that DISCORD_WEBHOOK_HOSTS names', () => {
    for (const host of [
      '0x7f.1',
      '2130706433',
      '0177.0.0.1',
      '127.1',
      '127.0.0.1.',
      '127.0.0.01',
      '%3127.0.0.1',
      '①27.0.0.1',
    ])
      problem(`http://${host}:4100${PATH}`, LOCAL);
    for (const host of ['[0:0:0:0:0:0:0:1]', '[::0001]', '[::ffff:7f00:1]', 'localhost.', 'LOCALHOST.'])
      problem(`http://${host}:4100${PATH}`, LOCAL);
  });

  test('with /slack or /github at its end is refused with the reason', () => {
    for (const end of ['/slack', '/github', '/GitHub/', '/slack?wait=true'])
      for (const host of ['discord.com', 'gateway.nodebyte.host'])
        expect(problem(`https://${host}${PATH}${end}`)).toMatch(/remove that end/);
  });

  test('in its masked form is refused with the reason', () => {
    expect(problem('https://discord.com/api/webhooks/1/••••wxyz')).toMatch(/enter the whole URL/);
  });

  test('at another host has a path with /webhooks/', () => {
    for (const path of [
      '',
      '/',
      '/api',
      '/webhooks/',
      '/a/../webhooks/1/t',
      '/a/%2e%2e/webhooks/1/t',
      '//webhooks/1/t',
    ])
      problem(`https://gateway.nodebyte.host${path}`);
  });
});

test('DISCORD_WEBHOOK_HOSTS takes names, and addresses of this machine with a port', () => {
  expect(webhookHost('Gateway.Example')).toEqual({ hostname: 'gateway.example', port: 443, loopback: false });
  expect(webhookHost('gateway.example:8443')).toEqual({ hostname: 'gateway.example', port: 8443, loopback: false });
  for (const hostname of ['localhost', '127.0.0.1', '127.8.0.1', '[::1]'])
    expect(webhookHost(`${hostname}:4100`)).toEqual({ hostname, port: 4100, loopback: true });
  for (const entry of [
    ...['', '*', '*.example.com', 'https://a.example', 'a.example/', 'a.example:0', 'a.example:65536', 'a.example:x'],
    ...['a@b.example', 'a.example.', 'a..example', 'intern', 'localhost', '127.0.0.1', '127.1:80', '0x7f.1:80'],
    ...['10.0.0.1', '10.0.0.1:80', '169.254.169.254:80', '[::ffff:127.0.0.1]:80', 'ä.example', '-a.example'],
  ])
    expect(webhookHost(entry), entry).toBeUndefined();
});
