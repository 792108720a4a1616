import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkEmailData,
  EMAIL_FIELDS,
  EMAIL_TEMPLATES,
  type EmailData,
  type EmailTemplate,
} from '../../../src/domain/email.ts';
import { type EmailContext, renderEmail, spelledDuration } from '../../../src/messages/email/templates.ts';

const CONTEXT: EmailContext = {
  siteUrl: 'https://nodebyte.host',
  paths: { verify: '/auth/verify-email', reset: '/auth/reset-password', magic: '/auth/magic-link' },
  year: 2031,
};
const ACCOUNT = { name: 'Ada', token: 'abc123', id: 'user-1' };
const DATA: Readonly<Record<EmailTemplate, EmailData>> = {
  'email-verification': ACCOUNT,
  'password-reset': ACCOUNT,
  'set-password': ACCOUNT,
  'magic-link': ACCOUNT,
  welcome: ACCOUNT,
  'email-changed': { name: 'Ada', newEmail: 'new@example.com' },
  'password-changed': { name: 'Ada', when: '2031-03-01 09:30 UTC' },
  'new-network': { name: 'Ada', when: '2031-03-01 09:30 UTC', network: '192.0.2.0/24' },
  'sync-complete': { syncType: 'full', status: 'completed', duration: '12.4 s' },
  message: { message: 'One.\nTwo.' },
};
const render = (template: EmailTemplate, data: EmailData = DATA[template], context: Partial<EmailContext> = {}) =>
  renderEmail(template, data, { ...CONTEXT, ...context });

const unescaped = (text: string): string =>
  text
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>')
    .replaceAll('&quot;', '"')
    .replaceAll('&#39;', "'")
    .replaceAll('&amp;', '&');
const hrefs = (html: string): string[] =>
  [...html.matchAll(/ href="([^"]*)"/g)].map(([, href]) => unescaped(href ?? ''));
/** The text of the body, without markup and without the hidden line. */
const words = (html: string): string =>
  unescaped(
    html
      .replace(/^.*<body/s, '<body')
      .replace(/<div style="display:none.*?<\/div>/s, '')
      .replaceAll(/<!--.*?-->|<[^>]*>/gs, ' '),
  )
    .replaceAll(/\s+/g, ' ')
    .trim();
/** Every tag with the names of its attributes, without texts and values. Throws if a text contains `<` or `>`. */
function skeleton(html: string): string[] {
  const tag = /<!--.*?-->|<style>[^<]*<\/style>|<[!/]?[a-zA-Z][a-zA-Z0-9]*((?:\s+[a-z-]+(?:="[^"<>]*")?)*)\s*>/gs;
  const rest = html.replaceAll(tag, '');
  if (/[<>]/.test(rest)) throw new Error(`markup in a text: ${rest}`);
  return [...html.matchAll(tag)].map(([whole]) => whole.replaceAll(/="[^"]*"/g, ''));
}

describe.each(EMAIL_TEMPLATES)('%s', (template) => {
  const { subject, html, text } = render(template);

  test('has an HTML part with the brand, the year and the note, and no script or remote content', () => {
    expect(html).toMatch(/^<!DOCTYPE html>\n<html lang="en"/);
    expect(words(html)).toMatch(/^NodeByte /);
    expect(words(html)).toMatch(/© 2031 NodeByte\. All rights reserved\. This is an automated message\./);
    expect(html).toContain('#6366f1');
    expect(html).toContain('#f9fafb');
    expect(html).toContain(`<title>${subject}</title>`);
    expect(html).not.toMatch(/<script|<img|<link|url\(|@import/i);
    expect(html).not.toMatch(/undefined|\[object|\bnull\b/);
  });

  test('has a plain part of short lines without markup', () => {
    expect(text).toContain('© 2031 NodeByte. All rights reserved.');
    expect(text).not.toMatch(/[<>]|&[a-z0-9#]+;/);
    expect(text).not.toMatch(/[ \t]$|\n{3}|undefined/m);
    for (const line of text.split('\n')) if (!line.startsWith('https://')) expect(line.length).toBeLessThanOrEqual(72);
  });

  test('has the same texts in both parts', () => {
    const plain = text
      .replace(/\n--\n/, '\n')
      .replaceAll(/\s+/g, ' ')
      .trim();
    const rich = words(html).replaceAll('If the button does not work, copy this address into your browser: ', '');
    // Only the plain part has a colon after a label.
    expect(plain.replaceAll(/(\w): /g, '$1 ')).toBe(rich.replaceAll(/(\w): /g, '$1 '));
  });

  test('is the same for equal arguments', () => {
    expect(render(template)).toEqual({ subject, html, text });
  });

  test('renders without data', () => {
    const empty = render(template, {});
    expect(empty.subject).not.toBe('');
    expect(empty.html + empty.text).not.toMatch(/undefined|null/);
  });
});

describe('links', () => {
  const built: readonly [EmailTemplate, string][] = [
    ['email-verification', 'https://nodebyte.host/auth/verify-email?token=abc123&id=user-1'],
    ['password-reset', 'https://nodebyte.host/auth/reset-password?token=abc123&id=user-1'],
    ['set-password', 'https://nodebyte.host/auth/reset-password?token=abc123&id=user-1'],
    ['magic-link', 'https://nodebyte.host/auth/magic-link?token=abc123'],
    ['welcome', 'https://nodebyte.host/auth/verify-email?token=abc123&id=user-1'],
  ];
  test.each(built)('%s contains the token: %s', (template, url) => {
    const { html, text } = render(template);
    expect(hrefs(html)).toEqual([url, url]);
    expect(words(html)).toContain(url);
    expect(text.split('\n')).toContain(url);
  });

  test.each([
    ['email-verification', 'verifyUrl'],
    ['password-reset', 'resetUrl'],
    ['magic-link', 'magicLinkUrl'],
    ['welcome', 'verifyUrl'],
  ] as const)('%s takes %s as it is given, before a token', (template, key) => {
    const url = 'https://other.example/a?b=1&c=%3D#d';
    const { html, text } = render(template, { ...ACCOUNT, [key]: url });
    expect(hrefs(html)).toEqual([url, url]);
    expect(text.split('\n')).toContain(url);
    expect(html + text).not.toContain('abc123');
  });

  test('uses the site and paths of the context; a token cannot add another parameter', () => {
    const context = {
      siteUrl: 'http://localhost:3000/',
      paths: { verify: '/v', reset: '/r', magic: '/m' },
    };
    const data = { token: 'a&id=b#/?', id: 'ü "<>' };
    expect(hrefs(render('email-verification', data, context).html)[0]).toBe(
      'http://localhost:3000/v?token=a%26id%3Db%23%2F%3F&id=%C3%BC%20%22%3C%3E',
    );
    expect(hrefs(render('password-reset', { token: 'x' }, context).html)[0]).toBe('http://localhost:3000/r?token=x');
    expect(hrefs(render('magic-link', data, context).html)[0]).toBe(
      'http://localhost:3000/m?token=a%26id%3Db%23%2F%3F',
    );
  });

  const hostile = [
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    'java\nscript:alert(1)',
    ' javascript:alert(1)',
    '\u0001javascript:alert(1)',
    'data:text/html,<script>alert(1)</script>',
    'vbscript:x',
    'file:///etc/passwd',
    '//evil.example',
    '/relative',
    'mailto:a@b.example',
    'https://',
    'ht\ntps://evil.example/',
  ];
  test.each(hostile)('%j never becomes a link, and the email says that it has none', (url) => {
    const { html, text } = render('email-verification', { ...ACCOUNT, verifyUrl: url });
    expect(hrefs(html)).toEqual([]);
    expect(words(html)).toContain('without a valid one');
    expect(text.replaceAll('\n', ' ')).toContain('without a valid one');
    expect(text).not.toContain(url);
    expect(checkEmailData('email-verification', { verifyUrl: url })).toEqual([
      { path: 'data.verifyUrl', message: 'must be an http(s) URL' },
    ]);
  });
  test('a site with an invalid URL gives no link', () => {
    for (const template of EMAIL_TEMPLATES) {
      expect(hrefs(render(template, DATA[template], { siteUrl: 'javascript:alert(1)//' }).html)).toEqual([]);
    }
  });

  test('says so if token and URL are missing; a welcome needs neither', () => {
    for (const template of ['email-verification', 'password-reset', 'set-password', 'magic-link'] as const) {
      expect(words(render(template, { name: 'Ada' }).html)).toContain('Please ask for a new email.');
    }
    expect(words(render('email-verification', { token: 'abc' }).html)).toContain('Please ask for a new email.');
    expect(words(render('welcome', { name: 'Ada' }).html)).not.toMatch(/link|confirm/);
  });
});

describe('texts', () => {
  test.each([
    ['email-verification', 'expires in 24 hours'],
    ['password-reset', 'expires in 24 hours'],
    ['set-password', 'expires in 7 days'],
    ['welcome', 'expires in 24 hours'],
    ['magic-link', 'expires in 30 minutes'],
  ] as const)('%s %s', (template, lifetime) => {
    const { html, text } = render(template);
    expect(words(html)).toContain(lifetime);
    expect(text).toContain(lifetime);
  });
  test.each([
    [3600, '1 hour'],
    [86_400, '24 hours'],
    [172_800, '2 days'],
    [90_000, '25 hours'],
    [5400, '90 minutes'],
    [60, '1 minute'],
    [90, '90 seconds'],
  ])('%i s is %s', (seconds, spelled) => {
    expect(spelledDuration(seconds)).toBe(spelled);
  });

  test.each([
    ['Ada', 'Hello Ada,'],
    ['  Ada\r\nBcc: x  ', 'Hello Ada Bcc: x,'],
    ['Dr. J.R. O’Neil-Smith', 'Hello Dr. J.R. O’Neil-Smith,'],
    ['', 'Hello,'],
    ['   ', 'Hello,'],
    ['Win at https://evil.example', 'Hello,'],
    ['Win at evil.example', 'Hello,'],
    ['www.evil', 'Hello,'],
    ['x'.repeat(65), 'Hello,'],
  ])('name %j is greeted with %s', (name, hello) => {
    expect(render('email-verification', { ...ACCOUNT, name }).text.split('\n')).toContain(hello);
  });

  test('a name cannot change the direction of the text', () => {
    expect(render('welcome', { name: '\u202egro.live' }).text).not.toContain('\u202e');
  });

  test('a verification says when the account was opened and what not to confirm; its own button comes first (S4)', () => {
    const data = { ...ACCOUNT, openedOn: '2031-03-01', lapses: 'yes', denialToken: 'def456' };
    const apiUrl = 'https://api.example';
    const { html, text } = render('email-verification', data, { apiUrl });
    expect(text.replaceAll(/\s+/g, ' ')).toContain('a password on 2031-03-01.');
    expect(text.replaceAll(/\s+/g, ' ')).toContain(
      'do not confirm: the person who chose the password could then sign in.',
    );
    expect(new Set(hrefs(html))).toEqual(
      new Set([
        'https://nodebyte.host/auth/verify-email?token=abc123&id=user-1',
        'https://api.example/api/v1/auth/not-me?token=def456&id=user-1',
      ]),
    );
    expect(hrefs(html)[0]).toContain('verify-email');
    // Without the origin of the api there is no such link, and without the mark nothing lapses.
    const plain = render('email-verification', { ...data, lapses: '' }).text;
    expect(plain).not.toMatch(/not-me|7 days/);
    expect(render('email-verification', data).text.replaceAll(/\s+/g, ' ')).toContain('removed after 7 days');
  });
  test('tells the old address the new one, and what to do', () => {
    const { html, text } = render('email-changed');
    for (const part of [words(html), text.replaceAll('\n', ' ')]) {
      expect(part).toContain('new@example.com');
      expect(part).toContain('Contact our support at once');
    }
    expect(hrefs(html)[0]).toBe('https://nodebyte.host/');
  });

  test('a new password and a new network are named with the time, and with what to do if it was not the owner (S14)', () => {
    for (const [template, fact] of [
      ['password-changed', '2031-03-01 09:30 UTC'],
      ['new-network', '192.0.2.0/24'],
    ] as const) {
      const { html, text } = render(template);
      for (const part of [words(html), text.replaceAll('\n', ' ')]) {
        expect(part).toContain('2031-03-01 09:30 UTC');
        expect(part).toContain(fact);
        expect(part).toContain('"Forgot password"');
        expect(part).toContain('contact our support');
      }
      expect(hrefs(html)[0]).toBe('https://nodebyte.host/');
    }
    const byOperator = render('password-changed', { ...DATA['password-changed'], by: 'operator' });
    expect(byOperator.text).toContain('An operator of NodeByte');
  });

  test('a message keeps its line breaks, of every kind, and its long lines are wrapped', () => {
    const long = 'word '.repeat(40).trim();
    const { html, text } = render('message', { message: `One\r\nTwo\rThree\n\n${long}` });
    expect(html).toContain('One<br>Two<br>Three<br><br>word');
    expect(text).toContain('One\nTwo\nThree\n\nword word');
    expect(text.replaceAll('\n', ' ')).toContain(long);
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(72);
  });
});

describe('subjects', () => {
  test.each([
    ['email-verification', 'Verify your email'],
    ['password-reset', 'Reset your password'],
    ['magic-link', 'Your magic link'],
    ['welcome', 'Welcome to NodeByte'],
    ['email-changed', 'Your email address was changed'],
    ['password-changed', 'Your password was changed'],
    ['new-network', 'Sign-in from a new network'],
    ['sync-complete', 'Sync completed'],
    ['message', 'Message from NodeByte'],
  ] as const)('%s: %s', (template, subject) => {
    expect(render(template).subject).toBe(subject);
    expect(render(template, DATA[template], { subject: 'Another' }).subject).toBe('Another');
    expect(render(template, DATA[template], { subject: ' \r\n ' }).subject).toBe(subject);
  });

  test('never contain a line break or control character', () => {
    const noise = fc.string({ unit: fc.constantFrom('\r', '\n', '\u0085', '\u2028', '\u0000', '\t', 'a', 'Bcc: x') });
    fc.assert(
      fc.property(noise, noise, (subject, status) => {
        const email = render('sync-complete', { status, syncType: 'x' }, { subject });
        // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression finds them
        expect(email.subject).toMatch(/^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$/);
      }),
    );
  });
});

describe('escaping', () => {
  // Pieces of tags and attributes, cut and joined at random, among any other characters.
  const piece = fc.constantFrom('<', '>', '"', "'", '&', '`', '=', '/', '<!--', '-->', ']]>', '<b', ' href="', '</td>');
  const text = fc
    .array(fc.oneof(piece, fc.string({ unit: 'binary', maxLength: 4 })), { maxLength: 12 })
    .map((parts) => parts.join(''));

  test.each(EMAIL_TEMPLATES)('no value of %s adds a tag or an attribute', (template) => {
    const keys = EMAIL_FIELDS[template].filter((field) => !field.url).map((field) => field.key);
    const record = fc.record(Object.fromEntries(keys.map((key) => [key, text])));
    fc.assert(
      fc.property(record, text, (data, subject) => {
        // Presence of the text and its line breaks are kept; every other character is replaced by a harmless one.
        const harmless = Object.fromEntries(
          Object.entries(data).map(([key, value]) => [key, value.replaceAll(/[<>"'&`=/!\]-]/g, 'x')]),
        );
        const { html } = render(template, data, { subject });
        expect(skeleton(html)).toEqual(skeleton(render(template, harmless).html));
        for (const href of hrefs(html)) expect(href).toMatch(/^https:\/\/nodebyte\.host\//);
      }),
      { numRuns: 200 },
    );
  });

  test('no URL leaves its attribute, and only http(s) URLs get into one', () => {
    const url = fc.tuple(fc.constantFrom('https://a.example/', 'http://b.example?', 'javascript:', ''), text);
    fc.assert(
      fc.property(url, ([start, end]) => {
        const { html } = render('magic-link', { magicLinkUrl: start + end });
        skeleton(html);
        for (const href of hrefs(html)) expect(href).toMatch(/^https?:\/\//);
        expect(html.match(/<a /g)?.length ?? 0).toBe(hrefs(html).length);
      }),
      { numRuns: 300 },
    );
  });

  test('shows a value as it was written', () => {
    const message = `<script>alert("1 & '2'")</script>`;
    const email = render('message', { message });
    expect(email.html).toContain('&lt;script&gt;alert(&quot;1 &amp; &#39;2&#39;&quot;)&lt;/script&gt;');
    expect(words(email.html)).toContain(message);
    expect(email.text).toContain(message);
  });

  test('replaces a lone surrogate', () => {
    const { subject, html, text: plain } = render('message', { message: 'a\ud800b' }, { subject: 'c\udc00' });
    expect((subject + html + plain).isWellFormed()).toBe(true);
  });
});

describe('checkEmailData', () => {
  test.each(EMAIL_TEMPLATES)('finds no problem in good data of %s', (template) => {
    expect(checkEmailData(template, DATA[template])).toEqual([]);
  });
  test('names missing fields', () => {
    expect(checkEmailData('message', { message: ' \n' })).toEqual([
      { path: 'data.message', message: 'must not be empty' },
    ]);
    expect(checkEmailData('sync-complete', {}).map(({ path }) => path)).toEqual(['data.syncType', 'data.status']);
    expect(checkEmailData('email-changed', {}).map(({ path }) => path)).toEqual(['data.newEmail']);
  });
  test('needs no token: it is issued later', () => {
    for (const template of ['email-verification', 'password-reset', 'magic-link', 'welcome'] as const) {
      expect(checkEmailData(template, {})).toEqual([]);
    }
  });
});
