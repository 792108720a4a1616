/** Whether anybody administers the system already; the set-up wizard depends on it. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** Whether there is a system administrator. A disabled account counts: it can be enabled again. */
export async function systemAdministratorExists(db: Db): Promise<boolean> {
  const [found] = await query<{ exists: boolean }>(
    db,
    `select exists (select 1 from users u where u."isSystemAdmin" or 'SUPER_ADMIN' = any(u.roles)) as exists`,
  );
  return found?.exists ?? false;
}
