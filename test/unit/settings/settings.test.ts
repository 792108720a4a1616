import { describe, expect, test } from 'vitest';
import { isEmail, toWireUser } from '../../../src/domain/accounts/account.ts';
import { passwordProblem } from '../../../src/domain/accounts/password-policy.ts';
import { isAdministrator } from '../../../src/domain/accounts/roles.ts';
import { parseWholeNumber } from '../../../src/domain/numbers.ts';
import {
  isSensitiveSetting,
  readBoolean,
  readInteger,
  SECRET_MASK,
  SETTING_KEYS,
} from '../../../src/domain/settings.ts';

describe('texts in the settings table', () => {
  test.each([
    ['true', true],
    ['1', true],
    ['YES', true],
    [' true ', true],
    ['false', false],
    ['on', false],
    ['0', false],
  ])('%j as a boolean is %s', (text, value) => {
    expect(readBoolean(text, !value)).toBe(value);
  });
  test('a missing or empty text gives the fallback', () => {
    for (const fallback of [true, false]) {
      expect(readBoolean(undefined, fallback)).toBe(fallback);
      expect(readBoolean('', fallback)).toBe(fallback);
    }
  });
  test.each([
    ['3600', 3600],
    ['60 seconds', 60],
    ['0', undefined],
    ['-5', undefined],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j as a number from 1 is %s', (text, value) => {
    expect(readInteger(text, 1)).toBe(value);
  });
  test.each([
    ['12', {}, 12],
    [' -3 ', {}, -3],
    ['12 s', {}, undefined],
    ['1e3', {}, undefined],
    ['0x10', {}, undefined],
    ['', {}, undefined],
    ['60 seconds', { ignoreRest: true }, 60],
    ['about 60', { ignoreRest: true }, undefined],
    ['5', { min: 6 }, undefined],
    ['7', { max: 6 }, undefined],
    ['6', { min: 6, max: 6 }, 6],
    ['9007199254740993', {}, undefined],
  ])('%j with %j is the whole number %s', (text, options, value) => {
    expect(parseWholeNumber(text, options)).toBe(value);
  });
  test('every key that names a key or token is a secret', () => {
    for (const key of SETTING_KEYS) {
      if (/_(key|token|secret)$/.test(key)) expect(isSensitiveSetting(key), key).toBe(true);
    }
    expect(isSensitiveSetting('pterodactyl_url')).toBe(false);
  });
  test('the mask is 20 bullets', () => {
    expect([...SECRET_MASK]).toEqual(Array.from({ length: 20 }, () => '\u2022'));
  });
});

describe('accounts', () => {
  test.each([
    [{ roles: [], isSystemAdmin: true }, true],
    [{ roles: ['SUPER_ADMIN'], isSystemAdmin: false }, true],
    [{ roles: ['MEMBER', 'ADMINISTRATOR'], isSystemAdmin: false }, true],
    [{ roles: ['SUPPORT_TEAM', 'administrator'], isSystemAdmin: false }, false],
  ])('%j is an administrator: %s', (user, expected) => {
    expect(isAdministrator(user)).toBe(expected);
  });
  test.each([
    ['Sh0rt', 'PASSWORD_TOO_SHORT'],
    ['nocapital1', 'PASSWORD_NEEDS_UPPERCASE'],
    ['NOSMALL11', 'PASSWORD_NEEDS_LOWERCASE'],
    ['NoDigitHere', 'PASSWORD_NEEDS_DIGIT'],
    [`A1${'a'.repeat(71)}`, 'PASSWORD_TOO_LONG'],
    [`Ä1${'ä'.repeat(35)}`, 'PASSWORD_TOO_LONG'],
    ['Äö1Äö1', undefined],
    ['Correct-7', undefined],
  ])('the password %s has the problem %s', (password, code) => {
    expect(passwordProblem(password)?.code).toBe(code);
  });
  test('empty fields of a user become null, the username an empty text', () => {
    const user = {
      id: 'u',
      email: 'e',
      username: null,
      firstName: '',
      lastName: null,
      roles: [],
      isPterodactylAdmin: false,
      isVirtfusionAdmin: false,
      isSystemAdmin: false,
      pterodactylId: 0,
      emailVerified: null,
      isActive: true,
    };
    expect(toWireUser(user)).toMatchObject({ username: '', firstName: null, lastName: null, pterodactylId: null });
    expect(toWireUser(user)).not.toHaveProperty('isActive');
  });
});

describe('an email address', () => {
  test.each([
    "o'neil@nodebyte.example",
    'a@bank.xn--p1ai',
    'a@xn--bcher-kva.example',
    'a!#$%&*/=?^_`{|}~b@c.example',
    'a.b+c@d-e.example',
  ])('%s is accepted (M-7)', (text) => {
    expect(isEmail(text)).toBe(true);
  });
  test.each([
    'a',
    'a@b',
    'a@b.c',
    'a b@c.example',
    'a@b.example, c@d.example',
    '<a@b.example>',
    'a"b@c.example',
    'a@b@c.example',
    'a@b.example\n',
    'jürgen@b.example',
    'a@почта.рф',
    `${'a'.repeat(250)}@b.example`,
  ])('%j is refused', (text) => {
    expect(isEmail(text)).toBe(false);
  });
});
