/** Accounts whose address was never proven: which of them are unused, and their removal. */
import { PENDING_ACCOUNT_DAYS } from '../../domain/accounts/account.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { referencedUsers } from './user-references.ts';

/** Remembers that an account was registered on the site. Only accounts with this mark are ever removed. */
export async function insertPending(trx: Db, userId: string): Promise<void> {
  await execute(trx, 'insert into pending_accounts (user_id) values (?) on conflict do nothing', [userId]);
}

/** Removes the mark: the address was proven. */
export async function deletePending(trx: Db, userId: string): Promise<void> {
  await execute(trx, 'delete from pending_accounts where user_id = ?', [userId]);
}

/** SQL over alias u: there was no sign-in, which requires a proof of the address. */
const NEVER_USED = `u."lastLoginAt" is null and not exists (select 1 from sessions s where s."userId" = u.id)`;

/**
 * Whether an unproven account is a panel customer's: it was matched to a panel user before any proof, or a panel user has
 * its address and waits for the proof.
 */
export async function isPanelCustomer(trx: Db, userId: string): Promise<boolean> {
  const [found] = await query<{ customer: boolean }>(
    trx,
    `select (u."pterodactylId" is not null and ${NEVER_USED}) or exists (
       select 1 from panel_address_matches a where a.user_id = u.id and a.panel_user_id is distinct from u."pterodactylId") as customer
     from users u where u.id = ?`,
    [userId],
  );
  return found?.customer === true;
}

/** What an email says about an unproven account. */
export interface Registration {
  openedAt: Date;
  /** The account has a password, and there was no sign-in yet. */
  deniable: boolean;
  /** It is removed unless the address is proven. */
  lapses: boolean;
}

/** How an account with an unproven address came about; undefined when the address is proven. */
export async function findRegistration(trx: Db, userId: string): Promise<Registration | undefined> {
  const [found] = await query<Registration>(
    trx,
    `select u."createdAt" as "openedAt", (u.password is not null and ${NEVER_USED}) as deniable,
            p.user_id is not null and u."pterodactylId" is null as lapses
       from users u left join pending_accounts p on p.user_id = u.id where u.id = ? and u."emailVerified" is null`,
    [userId],
  );
  return found;
}

/** SQL over alias u: nothing shows that a person uses the account, or that an operator has changed it. */
const REMOVABLE = `u."emailVerified" is null and ${NEVER_USED} and u."pterodactylId" is null and u."virtfusionId" is null
  and not coalesce(u."isSystemAdmin", false) and coalesce(u.roles, '{}') <@ '{MEMBER}'::text[] and coalesce(u."accountBalance", 0) = 0
  and exists (select 1 from pending_accounts p where p.user_id = u.id)`;

/**
 * Deletes those of the accounts that were registered on the site, that were never used, and that no row of another table
 * refers to. The lock keeps others from adding such a row between the look and the deletion.
 * @returns their ids.
 */
export async function removeUnusedAccounts(trx: Db, ids: readonly string[]): Promise<string[]> {
  const unused = await query<{ id: string }>(
    trx,
    `select u.id from users u where u.id = any(?::text[]) and ${REMOVABLE} order by u.id for update of u`,
    [[...ids]],
  );
  const candidates = unused.map(({ id }) => id);
  const referenced = await referencedUsers(trx, candidates);
  const removed = candidates.filter((id) => !referenced.has(id));
  // One-time tokens have no foreign key.
  await execute(trx, 'delete from verification_tokens where identifier = any(?::text[])', [removed]);
  await execute(trx, 'delete from users where id = any(?::text[])', [removed]);
  return removed;
}

/**
 * Removes accounts that were registered some days ago and never used. An account that is due and in use loses its
 * mark only. @returns how many were due.
 */
export async function purgePendingAccounts(db: Db, batch: number): Promise<number> {
  return inTransaction(db, async (trx) => {
    // Users are locked before their other rows, as everywhere. An account that is being proven is left to the next purge.
    const due = await query<{ id: string }>(
      trx,
      `select u.id from users u join pending_accounts p on p.user_id = u.id
        where p.registered_at < now() - make_interval(days => ${PENDING_ACCOUNT_DAYS})
        order by p.registered_at limit ? for update of u skip locked`,
      [batch],
    );
    const ids = due.map(({ id }) => id);
    if (ids.length === 0) return 0;
    await removeUnusedAccounts(trx, ids);
    await execute(trx, 'delete from pending_accounts where user_id = any(?::text[])', [ids]);
    return ids.length;
  });
}
