/** What the first-run wizard has to know of the accounts. */
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** Whether somebody may already administer the whole system. A disabled account counts: it can be enabled again. */
export async function systemAdministratorExists(db: Db): Promise<boolean> {
  const [found] = await query<{ exists: boolean }>(
    db,
    `select exists (select 1 from users u where u."isSystemAdmin" or 'SUPER_ADMIN' = any(u.roles)) as exists`,
  );
  return found?.exists ?? false;
}
