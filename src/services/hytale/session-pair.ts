/** The two tokens of a game session: validated before they are stored, stored in one transaction with their audit. */
import type { SessionPair, Verified } from '../../clients/hytale/answers.ts';
import { sessionRefreshAt } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import { inTransaction } from '../../store/db/db.ts';
import { insertHytaleAudit } from '../../store/hytale/audit-store.ts';
import { type StoredSession, storePair } from '../../store/hytale/session-store.ts';
import type { HytaleDeps } from './deps.ts';
import { keepAnswer } from './keep-answer.ts';

/** `unknown`: the keys of Hytale cannot be had. */
export type CheckedPair =
  | { state: 'valid'; expiresAt: Date }
  | { state: 'invalid'; detail: string }
  | { state: 'unknown'; detail: string };

/** Checks both tokens of a pair. It expires with the first of them. */
export async function checkPair(
  deps: Pick<HytaleDeps, 'verifier' | 'now'>,
  profileUuid: string,
  pair: SessionPair,
): Promise<CheckedPair> {
  const now = new Date(deps.now());
  const verify = (token: Secret, type: 'session' | 'identity'): Promise<Verified> =>
    deps.verifier.verify(token, { type, profileUuid, now, justReceived: true });
  const checks = await Promise.all([
    verify(pair.identityToken, 'identity'),
    ...(pair.sessionToken === null ? [] : [verify(pair.sessionToken, 'session')]),
  ]);
  const ends = [pair.expiresAt.getTime()];
  for (const check of checks) {
    if (check.state !== 'valid') return { state: check.state, detail: check.detail };
    ends.push(check.expiresAt.getTime());
  }
  return { state: 'valid', expiresAt: new Date(Math.min(...ends)) };
}

/**
 * Stores a checked pair in place of the version that was read.
 * @returns when it is renewed, Unix milliseconds; undefined if the session has a newer pair, or is being ended.
 */
export async function keepPair(
  deps: HytaleDeps,
  session: StoredSession,
  pair: SessionPair,
  about: { expiresAt: Date; created: boolean; asked: boolean },
): Promise<number | undefined> {
  const now = deps.now();
  const at = sessionRefreshAt({ expiresAt: about.expiresAt.getTime(), now }, deps.random());
  const { id, accountId, profileUuid, version } = session;
  const by = about.asked || version === 0 ? { ipAddress: session.ipAddress, userAgent: session.userAgent } : {};
  const stored = await keepAnswer(() =>
    inTransaction(deps.db, async (trx) => {
      const kept = await storePair(trx, deps.encryption, id, version, {
        ...pair,
        expiresAt: about.expiresAt,
        now: new Date(now),
        nextAt: new Date(at),
        created: about.created,
      });
      if (!kept) return false;
      const event = about.created ? 'SESSION_CREATED' : 'SESSION_REFRESHED';
      const details = { session: id, version: version + 1, server: session.serverId };
      await insertHytaleAudit(trx, { event, accountId, profileUuid, details, ...by });
      return true;
    }),
  );
  return stored ? at : undefined;
}
