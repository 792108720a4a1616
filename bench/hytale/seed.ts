/** Rows of accounts and of game sessions that live at the simulated Hytale, due evenly over the time of one life. */
import { randomUUID } from 'node:crypto';
import type { HytaleSimulator } from '../../simulators/hytale/contract.ts';
import { RENEW_BEFORE_MS } from '../../src/domain/hytale/lifecycle.ts';
import { Secret } from '../../src/domain/secret.ts';
import type { Database } from '../../src/store/db/db.ts';
import type { Encryption } from '../../src/store/db/encryption.ts';
import { storeSignedIn } from '../../src/store/hytale/account-store.ts';
import { insertSession, storePair } from '../../src/store/hytale/session-store.ts';

const NOBODY = { environment: 'production', ipAddress: null, userAgent: null } as const;
/** The accounts need no new tokens while the benchmark runs. */
const ACCOUNT_LIFE_MS = 24 * 60 * 60_000;
/** Time for the start of one workflow, on two cores: the first session is due when all are started. */
const START_MS = 25;

export async function seedSessions(
  db: Database,
  encryption: Encryption,
  hytale: HytaleSimulator,
  size: { sessions: number; perAccount: number; lifeSeconds: number },
): Promise<void> {
  const span = size.lifeSeconds * 1_000 - RENEW_BEFORE_MS;
  for (let first = 0; first < size.sessions; first += size.perAccount) {
    const accountId = randomUUID();
    const account = hytale.addAccount({ id: accountId });
    const profileUuid = account.profiles[0]?.uuid ?? '';
    const obtainedAt = new Date();
    const expiresAt = new Date(obtainedAt.getTime() + ACCOUNT_LIFE_MS);
    await storeSignedIn(
      db,
      encryption,
      { ...NOBODY, accountId, profileUuid, profiles: account.profiles },
      {
        accessToken: new Secret(randomUUID()),
        refreshToken: new Secret(randomUUID()),
        tokenType: 'Bearer',
        scope: 'openid offline auth:server',
        accessExpiresAt: expiresAt,
        obtainedAt,
        nextAt: expiresAt,
      },
    );
    const numbers = Array.from({ length: Math.min(size.perAccount, size.sessions - first) }, (_, n) => first + n);
    await Promise.all(
      numbers.map(async (n) => {
        const now = new Date();
        const dueIn = START_MS * size.sessions + (span * n) / size.sessions;
        const { pair } = await hytale.runningSession(accountId, (dueIn + RENEW_BEFORE_MS) / 1_000);
        const id = await insertSession(db, { ...NOBODY, accountId, profileUuid, serverId: null });
        await storePair(db, encryption, id, 0, {
          sessionToken: new Secret(pair.sessionToken ?? ''),
          identityToken: new Secret(pair.identityToken),
          expiresAt: new Date(pair.expiresAt),
          now,
          nextAt: new Date(now.getTime() + dueIn),
          created: true,
        });
      }),
    );
  }
}
