/** Counts the SQL statements of a request. For that, the same app runs in this process. */
import type { AddressInfo } from 'node:net';
import pino from 'pino';
import { Pool } from 'undici';
import { createApp } from '../../src/api/app.ts';
import { createHttpServer } from '../../src/api/http/http-server.ts';
import { createSyncStreams } from '../../src/api/streams/sync-stream.ts';
import { loadConfig } from '../../src/config.ts';
import { createQueueStats } from '../../src/services/runs/queue-stats.ts';
import { createSettings } from '../../src/services/settings/settings.ts';
import { createSyncLauncher } from '../../src/services/sync/launcher.ts';
import { createEncryption } from '../../src/store/db/encryption.ts';
import { createListener } from '../../src/store/db/listener.ts';
import { createEmailStore } from '../../src/store/email/email-store.ts';
import { createTemporalGateway } from '../../src/temporal/connection.ts';
import { readTaskQueues } from '../../src/temporal/task-queues.ts';
import { openTestDb } from '../../test/support/database.ts';
import type { Case } from './cases.ts';
import { httpLane } from './load.ts';

/**
 * Number of statements per case of its second request, with BEGIN and COMMIT.
 * @param env environment of the measured api, with DATABASE_URL and TEMPORAL_ADDRESS.
 */
export async function countStatements(
  env: Record<string, string>,
  cases: readonly Case[],
): Promise<ReadonlyMap<string, number>> {
  const config = loadConfig(env);
  const connectionString = config.databaseUrl?.reveal() ?? '';
  const log = pino({ level: 'silent' });
  const db = openTestDb({ connectionString, applicationName: 'bench-statements' });
  const listener = createListener({ connectionString, log });
  const temporal = createTemporalGateway({ ...config.temporal, address: config.temporal.address ?? '' });
  const encryption = createEncryption({ key: config.encryptionKey });
  const streams = createSyncStreams({ db, listener, log });
  const app = createApp({
    config,
    db,
    settings: createSettings({ db, config, encryption }),
    emails: createEmailStore(encryption),
    launcher: createSyncLauncher({ db, temporal, log }),
    // Not the real client: it throws from a timer when it is closed while it waits for its next try.
    temporal: { reachable: async () => false, workersPolling: async () => false },
    queues: createQueueStats(() => readTaskQueues(temporal, 100)),
    streams,
    log,
    report: () => undefined,
    version: '0.0.0',
    reconcileAutoSync: async () => undefined,
  });
  const server = createHttpServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 1 });
  try {
    let sent = 0;
    db.on('query', () => {
      sent += 1;
    });
    const counts = new Map<string, number>();
    for (const { name, open } of cases) {
      const lane = httpLane(pool, await open());
      await lane();
      sent = 0;
      await lane();
      counts.set(name, sent);
    }
    return counts;
  } finally {
    await pool.destroy();
    streams.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await Promise.allSettled([listener.close(), temporal.close(), db.destroy()]);
  }
}
