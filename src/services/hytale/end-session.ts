/** The end of a game session. Hytale is asked to end it, too; a session that is not ended there dies within an hour. */
import { inTransaction } from '../../store/db/db.ts';
import { findAccount } from '../../store/hytale/account-store.ts';
import { insertHytaleAudit } from '../../store/hytale/audit-store.ts';
import { opened } from '../../store/hytale/secrets.ts';
import { deleteSession, releaseLimited, type StoredSession } from '../../store/hytale/session-store.ts';
import type { HytaleDeps } from './deps.ts';
import { type HytaleStep, over } from './step.ts';

/** Ends a session at Hytale, as far as it can be reached, and deletes its row. */
export async function endSession(deps: HytaleDeps, session: StoredSession): Promise<HytaleStep> {
  const { id, accountId, profileUuid, ipAddress, userAgent, version } = session;
  const upstream = await endAtHytale(deps, session);
  await inTransaction(deps.db, async (trx) => {
    if (!(await deleteSession(trx, id))) return;
    const details = { session: id, server: session.serverId, upstream };
    await insertHytaleAudit(trx, { event: 'SESSION_DELETED', accountId, profileUuid, details, ipAddress, userAgent });
  });
  const limited = await releaseLimited(deps.db, accountId);
  if (limited !== undefined) await deps.wake.session(limited);
  // An account that is being disconnected waits for the end of its sessions.
  const account = await findAccount(deps.db, deps.environment, accountId);
  if (account?.status === 'closing') await deps.wake.account(accountId);
  return over({ id, status: 'ended', version, result: 'done', why: 'it has ended' });
}

/** Asks Hytale to end the session of the stored pair. Never throws for what Hytale answers. @returns what came of it. */
export async function endAtHytale(deps: HytaleDeps, session: StoredSession): Promise<string> {
  if (session.expiresAt.getTime() <= deps.now()) return 'expired';
  const token = opened(deps.encryption, session.sessionToken);
  if (token === undefined) return 'no token';
  return (await deps.client.endSession(token)).outcome;
}
