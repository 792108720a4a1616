/** Links in emails that sign in or reset a password: asking for one, and signing in by a magic link. */
import { type AuthUser, normalizeEmail } from '../../domain/accounts/account.ts';
import type { EmailTemplate } from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import type { NetworkStanding } from '../../store/accounts/network-store.ts';
import { deleteTokens, lockToken, ownerOfToken } from '../../store/accounts/one-time-token-store.ts';
import { findAuthUser } from '../../store/accounts/user-store.ts';
import { inTransaction, type Transaction } from '../../store/db/db.ts';
import { logSecurityEvent, signInEvent } from '../audit/security-events.ts';
import { takeOrByNetwork } from './account-limits.ts';
import type { AccountDeps } from './deps.ts';
import { readEmail } from './email-address.ts';
import { type RequestOrigin, recordSignInFrom, rememberNetwork } from './networks.ts';
import { noticeSignIn } from './notices.ts';
import { proveAddress } from './prove-address.ts';
import { issuePair, openSession, type TokenPair } from './sessions.ts';

/** Emails of one kind that an address gets in an hour, from all places. A network known to its account has as many more. */
const EMAILS_PER_HOUR = { capacity: 10, windowSeconds: 3600 };

/**
 * Queues an email with a link, whether the address has an account or not: the worker finds out when it makes the email
 * (ADR 8), so the request costs the same and tells nothing. Beyond the limit of the address nothing is sent, without an
 * error: it would say that others ask for this address. Its owner has the links of their requests.
 * @throws {AppError} MISSING_EMAIL, INVALID_EMAIL.
 */
export async function requestLink(
  deps: Pick<AccountDeps, 'db' | 'emails'>,
  template: Extract<EmailTemplate, 'magic-link' | 'password-reset'>,
  email: string,
  origin: RequestOrigin,
): Promise<void> {
  const to = readEmail(email, 'MISSING_EMAIL');
  const account = normalizeEmail(to);
  const bucket = { name: `${template}-account`, identity: account, account, ...EMAILS_PER_HOUR };
  const [state] = await takeOrByNetwork(deps.db, [bucket], origin);
  if (state?.allowed !== true) return;
  await inTransaction(deps.db, (trx) => deps.emails.queue(trx, { template, to }));
}

/**
 * Signs in by the token of a magic link, which is used up: the same link never signs in twice, so a caller whose answer
 * was lost asks for another link. What a first proof of the address removes is in `prove-address.ts`.
 * @throws {AppError} INVALID_TOKEN, ACCOUNT_DISABLED, TOKEN_GENERATION_FAILED.
 */
export async function redeemMagicLink(
  deps: Pick<AccountDeps, 'db' | 'emails' | 'tokens' | 'log'>,
  token: string,
  origin: RequestOrigin,
): Promise<{ user: AuthUser; pair: TokenPair }> {
  const signedIn = await inTransaction(deps.db, async (trx) => {
    const { owner, standing } = await spendMagicLink(trx, token, origin);
    // The networks that are forgotten with a password include the one of this sign-in.
    const known = (await proveAddress(trx, owner, 'magic-link'))
      ? await rememberNetwork(trx, owner.id, origin)
      : standing;
    const user = (await findAuthUser(trx, owner.id)) ?? owner;
    const pair = await issuePair(deps, user);
    await openSession(trx, user, pair);
    await noticeSignIn(trx, deps, user, known, origin);
    return { user, pair };
  });
  logSecurityEvent(deps.log, signInEvent(signedIn.user.id, 'magic-link', origin));
  return signedIn;
}

/** The owner of the token, with the row locked and the token deleted. */
async function spendMagicLink(
  trx: Transaction,
  token: string,
  origin: RequestOrigin,
): Promise<{ owner: AuthUser; standing: NetworkStanding }> {
  const ownerId = await ownerOfToken(trx, token, 'magic_link');
  if (ownerId === undefined) throw new AppError('INVALID_TOKEN');
  // Written first: two requests that first share the row and then write it would wait for each other.
  const standing = await recordSignInFrom(trx, ownerId, signInEvent(ownerId, 'magic-link', origin), origin);
  const owner = await findAuthUser(trx, ownerId);
  const found = await lockToken(trx, token, 'magic_link');
  if (owner === undefined || found === undefined || found.expired) throw new AppError('INVALID_TOKEN');
  if (!owner.isActive) throw new AppError('ACCOUNT_DISABLED');
  await deleteTokens(trx, owner.id, ['magic_link']);
  return { owner, standing };
}
