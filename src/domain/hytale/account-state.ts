/** What a Hytale account waits for, as people should read it. */
import type { AccountStatus } from './lifecycle.ts';

/** `profiles_unknown`: Hytale was not asked yet. `no_game`: it has no profile, so it cannot have a game session. */
export const ACCOUNT_STATES = [
  'active',
  'profiles_unknown',
  'profile_needed',
  'no_game',
  'reauth_required',
  'misconfigured',
  'closing',
] as const;
export type AccountState = (typeof ACCOUNT_STATES)[number];

/** The state of an account: its status, and for an active one what is known of its profiles. */
export function accountState(account: {
  status: AccountStatus;
  profiles: readonly unknown[] | null;
  profileUuid: string | null;
}): AccountState {
  if (account.status !== 'active') return account.status;
  if (account.profiles?.length === 0) return 'no_game';
  if (account.profileUuid !== null) return 'active';
  return account.profiles === null ? 'profiles_unknown' : 'profile_needed';
}
