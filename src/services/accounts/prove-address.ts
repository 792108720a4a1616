/**
 * What a link of an email proves, and what the first proof of an address ends. A link proves who reads the mailbox. It
 * does not prove who registered the account, or who chose its password.
 */
import type { AuthUser } from '../../domain/accounts/account.ts';
import { ONE_TIME_TOKEN_TYPES } from '../../domain/email.ts';
import { deleteTokens } from '../../store/accounts/one-time-token-store.ts';
import { deletePending, isPanelCustomer } from '../../store/accounts/pending-account-store.ts';
import { markEmailVerified } from '../../store/accounts/user-store.ts';
import type { Transaction } from '../../store/db/db.ts';
import { recordSecurityEvent } from '../audit/security-events.ts';
import { forgetNetworks } from './networks.ts';
import { setPassword } from './passwords.ts';

export type AddressProof = 'verification-link' | 'magic-link' | 'reset-link';

/**
 * Marks the address as proven, if it was not. This first proof ends what the person who registered the account may hold,
 * unless the proof is a verification link and the account is no panel customer's: then the reader of the email is asked
 * to confirm the registration, and the password stays.
 *
 * | first proof by | password | sessions, access tokens, links |
 * | --- | --- | --- |
 * | verification link | stays | stay, but for verification links |
 * | verification link, account of a panel customer | removed | end |
 * | magic link | removed | end |
 * | reset link | replaced by the caller | end |
 *
 * The caller holds the user's lock; a reset link's caller has set the new password.
 * @returns whether the password was removed.
 */
export async function proveAddress(trx: Transaction, user: AuthUser, proof: AddressProof): Promise<boolean> {
  if (user.emailVerified !== null) {
    await deleteTokens(trx, user.id, ['email_verification', 'account_denial']);
    return false;
  }
  const removes = proof === 'magic-link' || (proof === 'verification-link' && (await isPanelCustomer(trx, user.id)));
  await markEmailVerified(trx, user.id);
  await deletePending(trx, user.id);
  if (removes) await setPassword(trx, user.id, null);
  if (removes || proof === 'reset-link') await forgetNetworks(trx, user.id);
  await deleteTokens(trx, user.id, removes ? ONE_TIME_TOKEN_TYPES : ['email_verification', 'account_denial']);
  await recordSecurityEvent(
    { db: trx },
    {
      action: 'email-verified',
      outcome: 'success',
      actor: { type: 'user', id: user.id },
      target: { type: 'user', id: user.id },
      details: { proof, passwordRemoved: removes },
    },
  );
  return removes;
}
