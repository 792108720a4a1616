/** What the first-run wizard has to know of the accounts. */
import { type Db, rows } from '../db/db.ts';

/** Whether somebody may already administer the whole system. A disabled account counts: it can be enabled again. */
export async function systemAdministratorExists(db: Db): Promise<boolean> {
  const [found] = await rows<{ exists: boolean }>(
    db,
    `select exists (select 1 from users u where u."isSystemAdmin" or 'SUPER_ADMIN' = any(u.roles)) as exists`,
  );
  return found?.exists ?? false;
}
