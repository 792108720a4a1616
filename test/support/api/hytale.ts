/** Fakes of what the api needs of Hytale: every account is unknown, and no keys can be had, until a test says otherwise. */
import type { TokenVerifier } from '../../../src/clients/hytale/answers.ts';
import { AppError } from '../../../src/domain/errors.ts';
import type { Hytale } from '../../../src/services/hytale/hytale.ts';

const unknown = async (): Promise<never> => {
  throw new AppError('NOT_FOUND', { publicMessage: 'No token found for account' });
};

/** @param methods what a test needs. */
export const fakeHytale = (methods: Partial<Hytale> = {}): Hytale => ({
  startLogin: unknown,
  pollLogin: async () => ({ state: 'failed', error: 'invalid_grant', description: 'The device code is not known' }),
  login: unknown,
  cancelLogin: unknown,
  refreshAccount: unknown,
  profiles: unknown,
  selectProfile: unknown,
  disconnect: unknown,
  newSession: unknown,
  refreshSession: unknown,
  endSession: unknown,
  renewSession: unknown,
  linkSession: unknown,
  endSessionById: unknown,
  ...methods,
});

const NO_KEYS = { cacheValid: false, keysCount: 0, lastRefresh: null, nextRefresh: null, problem: null };

/** @param methods what a test needs. */
export const fakeVerifier = (methods: Partial<TokenVerifier> = {}): TokenVerifier => ({
  ready: async () => ({ ok: false, detail: 'no keys' }),
  verify: async () => ({ state: 'unknown', detail: 'no keys' }),
  status: () => NO_KEYS,
  refresh: async () => NO_KEYS,
  ...methods,
});
