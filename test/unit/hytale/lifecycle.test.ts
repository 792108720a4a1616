import { describe, expect, test } from 'vitest';
import { accountRefreshAt, retryWait, sessionRefreshAt } from '../../../src/domain/hytale/lifecycle.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const DAY = 24 * 60 * MINUTE;
const NOW = Date.UTC(2026, 10, 28);

describe('when tokens are renewed', () => {
  const account = (lifeMs: number, random = 0, obtainedAt = NOW) =>
    accountRefreshAt({ accessExpiresAt: NOW + lifeMs, obtainedAt }, random) - NOW;
  const session = (lifeMs: number, random = 0) => sessionRefreshAt({ expiresAt: NOW + lifeMs, now: NOW }, random) - NOW;

  test('five minutes before they expire, and up to 30 seconds earlier', () => {
    for (const at of [account, session]) {
      expect(at(60 * MINUTE)).toBe(55 * MINUTE);
      expect(at(60 * MINUTE, 0.5)).toBe(55 * MINUTE - 15 * SECOND);
    }
  });

  test('not within a minute after they came, so that a short life causes no loop', () => {
    for (const at of [account, session]) {
      for (const life of [-DAY, 0, SECOND, 5 * MINUTE, 6 * MINUTE]) expect(at(life, 0.9)).toBe(MINUTE);
    }
  });

  test('a refresh token of 23 days is rotated, although its access token is good', () => {
    expect(account(40 * DAY)).toBe(23 * DAY);
    expect(account(60 * MINUTE, 0, NOW - 23 * DAY)).toBe(0);
  });
});

test('failed attempts are repeated after 30 s, 60 s and then every five minutes, and not sooner than was asked for', () => {
  expect([1, 2, 3, 4, 99].map((failures) => retryWait(failures, undefined))).toEqual([
    30 * SECOND,
    60 * SECOND,
    5 * MINUTE,
    5 * MINUTE,
    5 * MINUTE,
  ]);
  expect(retryWait(1, 45 * SECOND)).toBe(45 * SECOND);
  expect(retryWait(2, 45 * SECOND)).toBe(60 * SECOND);
});
