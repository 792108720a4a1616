/** Stores what Hytale answered, also if PostgreSQL is away for a while: an answer with tokens comes only once. */
import { setTimeout as delay } from 'node:timers/promises';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';

/** Milliseconds for which an answer is kept, and between two tries. */
const KEEP_MS = 90_000;
const AGAIN_MS = 250;

/** Runs `store` until the database takes it. @throws its error after 90 s, or at once if it is not the connection's. */
export async function keepAnswer<T>(store: () => Promise<T>): Promise<T> {
  for (const end = performance.now() + KEEP_MS; ; await delay(AGAIN_MS)) {
    try {
      return await store();
    } catch (error) {
      if (!isConnectionFailure(error) || performance.now() > end) throw error;
    }
  }
}
