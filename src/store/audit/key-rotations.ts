/** What the audit events remember of earlier rotations of the encryption key. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** When values were last rotated to a key, and away from it; null: never, as far as events are kept. */
export interface KeyHistory {
  rotatedTo: Date | null;
  rotatedFrom: Date | null;
}

/** The history of a key, by its id. */
export async function keyHistory(db: Db, keyId: string): Promise<KeyHistory> {
  const [row] = await query<KeyHistory>(
    db,
    `select max(a.at) filter (where a.details->>'keyId' = ?) as "rotatedTo",
            max(a.at) filter (where a.details->>'previousKeyId' = ?) as "rotatedFrom"
       from audit_events a where a.action = 'keys-rotated'`,
    [keyId, keyId],
  );
  return row ?? { rotatedTo: null, rotatedFrom: null };
}
