/** The question that shows whether the database answers. */
import type { Db } from './db.ts';
import { query } from './query.ts';

/** Version of the PostgreSQL server, e.g. `17.2`. @throws driver errors when the server does not answer. */
export async function serverVersion(db: Db): Promise<string> {
  const [found] = await query<{ version: string }>(db, `select current_setting('server_version') as version`);
  return found?.version ?? 'unknown';
}
