/**
 * What the merge remembers of panel users and accounts that have the same address: by which panel user an account was
 * matched through its address alone, and which panel user waits for the proof of an address. The panel's addresses are
 * not proven, so a match by one stays provisional, and a proof has to know that a panel user is waiting.
 */
import type { SyncWarning } from '../../../domain/sync/targets.ts';
import { addressOf } from '../../accounts/address.ts';
import type { Db } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';

/** Warns of accounts that get another panel user, because that one has their verified address now. */
export async function warnOfMoves(trx: Db): Promise<SyncWarning[]> {
  const [moved] = await query<{ n: number }>(
    trx,
    'select count(*)::int as n from change_users change where change.moved',
  );
  const n = moved?.n ?? 0;
  if (n === 0) return [];
  const message = `${n} account${n === 1 ? '' : 's'} matched by address moved to the panel user that has the verified address now`;
  return [{ code: 'ACCOUNT_MOVED', entity: 'users', message }];
}

/** SQL over aliases s (a staged panel user) and u (an account): the panel user waits for the proof of the address. */
const WAITS = `u."emailVerified" is null and u.password is not null and u."pterodactylId" is distinct from s."panelId"
  and ${addressOf('s')} = ${addressOf('u')}`;

/**
 * Stores the matches by address that were written.
 * @param bounds SQL over alias change: only these.
 */
export async function storeWrittenMatches(trx: Db, bounds = ''): Promise<void> {
  await execute(
    trx,
    `insert into panel_address_matches (user_id, panel_user_id)
       select change.id, change."pterodactylId" from change_users change where change.by_address${bounds} on conflict do nothing`,
  );
}

/**
 * Stores the matches by address that this merge has written, and the panel users that wait. The accounts that one begins
 * to wait for are locked: a proof at the same time then comes before this merge or sees its rows.
 * @param complete all panel users were read: those that no longer wait are forgotten.
 */
export async function storeAddressMatches(trx: Db, complete: boolean): Promise<void> {
  await storeWrittenMatches(trx);
  await execute(
    trx,
    `insert into panel_address_matches (user_id, panel_user_id)
       select u.id, s."panelId" from users u join staged_users s on ${addressOf('s')} = ${addressOf('u')}
       where ${WAITS} and not exists (select 1 from panel_address_matches a where a.user_id = u.id and a.panel_user_id = s."panelId")
       order by u.id for no key update of u
     on conflict do nothing`,
  );
  if (!complete) return;
  await execute(
    trx,
    `delete from panel_address_matches a using users u where u.id = a.user_id and u."pterodactylId" is distinct from a.panel_user_id
       and not exists (select 1 from staged_users s where s."panelId" = a.panel_user_id and ${WAITS})`,
  );
}
