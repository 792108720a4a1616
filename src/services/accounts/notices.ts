/** What the owner of an account learns by email about what happened to it, in the transaction in which it happened. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import type { AuditActor } from '../../domain/audit.ts';
import type { NetworkStanding } from '../../store/accounts/network-store.ts';
import { findAuthUser } from '../../store/accounts/user-store.ts';
import type { Transaction } from '../../store/db/db.ts';
import { takeTokens } from '../../store/rate-limit-store.ts';
import { accountEvent, recordSecurityEvent } from '../audit/security-events.ts';
import type { AccountDeps } from './deps.ts';
import type { RequestOrigin } from './networks.ts';

/** Emails about new networks that an account gets: one a day. */
const NEW_NETWORK_LIMIT = { name: 'new-network-email', capacity: 1, windowSeconds: 86_400 };

/** `2026-03-01 09:30 UTC` */
const whenText = (): string => `${new Date().toISOString().slice(0, 16).replace('T', ' ')} UTC`;

/** Records a new password and notifies the owner. An address that was never verified may be a stranger's: it gets no notice. */
export async function recordNewPassword(
  trx: Transaction,
  deps: Pick<AccountDeps, 'emails'> & Partial<Pick<AccountDeps, 'log'>>,
  userId: string,
  about: { action: 'password-changed' | 'password-reset'; actor?: AuditActor; origin?: RequestOrigin },
): Promise<void> {
  await recordSecurityEvent({ db: trx, log: deps.log }, accountEvent(about.action, userId, about));
  const user = await findAuthUser(trx, userId);
  if (user === undefined || user.emailVerified === null) return;
  await deps.emails.queue(trx, {
    template: 'password-changed',
    to: user.email,
    userId,
    data: { name: user.firstName ?? '', when: whenText(), ...(about.actor === undefined ? {} : { by: 'operator' }) },
  });
}

/** Notifies the owner of a sign-in from a network that the account was not used from before, at most once a day. */
export async function noticeSignIn(
  trx: Transaction,
  { emails }: Pick<AccountDeps, 'emails'>,
  user: AuthUser,
  standing: NetworkStanding,
  origin: RequestOrigin,
): Promise<void> {
  if (standing !== 'new') return;
  const [today] = await takeTokens(trx, [{ ...NEW_NETWORK_LIMIT, identity: user.id }]);
  if (today?.allowed !== true) return;
  await emails.queue(trx, {
    template: 'new-network',
    to: user.email,
    userId: user.id,
    data: { name: user.firstName ?? '', when: whenText(), network: origin.network },
  });
}
