/** Rate limits of the Hytale routes. The numbers are the contract's; both spellings of a route share their buckets. */
import { byAddress, byHytaleAccount, byStrangersAddress, type LimitRule } from '../../http/limits.ts';

/** The account is what the caller says: so an address has a limit too, that many times as wide. */
const ADDRESS_FACTOR = 20;

const byAccountAndAddress = (rule: Omit<LimitRule, 'by'>): readonly LimitRule[] => [
  { ...rule, by: byHytaleAccount },
  { ...rule, name: `${rule.name}-address`, max: rule.max * ADDRESS_FACTOR, by: byAddress },
];

export const DEVICE_CODE_LIMIT: readonly LimitRule[] = [
  { name: 'hytale-device-code', max: 5, windowSeconds: 15 * 60, by: byAddress },
];
export const POLL_LIMIT = byAccountAndAddress({ name: 'hytale-token', max: 10, windowSeconds: 5 * 60 });
export const REFRESH_LIMIT = byAccountAndAddress({ name: 'hytale-refresh', max: 6, windowSeconds: 60 * 60 });
/** One limit for all five routes of profiles and game sessions. */
export const SESSION_LIMIT = byAccountAndAddress({ name: 'hytale-session', max: 20, windowSeconds: 60 * 60 });

/** Signatures are cheap to check; this is for an installation that asks for no key. */
export const VERIFY_LIMIT: readonly LimitRule[] = [
  { name: 'hytale-verify', max: 600, windowSeconds: 60, by: byAddress },
];
/** Each request is one to Hytale. */
export const KEYS_LIMIT: readonly LimitRule[] = [{ name: 'hytale-keys', max: 10, windowSeconds: 60, by: byAddress }];

/**
 * For an installation that asks for no key. A node with a key has no limit: one with a hundred servers sends fifty batches a
 * second, and each token would be a write more.
 */
export const PUSH_LIMIT: readonly LimitRule[] = [
  { name: 'hytale-server-logs', max: 600, windowSeconds: 60, by: byStrangersAddress },
];
