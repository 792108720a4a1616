/** Who may see what belongs to a server. */
import type { AuthUser } from '../../domain/accounts/account.ts';
import { isAdministrator } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import type { Db } from '../../store/db/db.ts';
import { reachesServer } from '../../store/inventory/servers.ts';

/**
 * Refuses a user who is neither an administrator nor the owner or a subuser of the server. A server of others and one that does not
 * exist are refused alike, so that callers cannot find out which uuids exist.
 * @param user undefined: a program with the API key, which may see every server
 * @throws {AppError} NOT_FOUND
 */
export async function requireServerAccess(db: Db, user: AuthUser | undefined, serverUuid: string): Promise<void> {
  if (user === undefined || isAdministrator(user) || (await reachesServer(db, user.id, serverUuid))) return;
  throw new AppError('NOT_FOUND', { publicMessage: 'Server not found' });
}
