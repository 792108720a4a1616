/** Subusers to delete. They are planned last, when the owners of the servers are known. */
import type { SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, query } from '../../db/query.ts';
import { guardRefuses, pruneRefused } from './deletions.ts';
import type { MergeScope } from './scope.ts';
import { MIRROR } from './tables.ts';

/** SQL over alias t: the subuser is in the plan. */
const LISTED_SUBUSER = `select 1 from target_subusers target where target."serverId" = t."serverId" and target."userId" = t."userId"`;

/**
 * Fills `deleted_subusers`: of servers whose subusers were read, those that a sync wrote and that are neither listed nor the
 * owner; and of every server, the rows of former owners, also those that the site wrote: the owner row follows the server.
 */
export async function planSubuserDeletions(trx: Db, scope: MergeScope, allowMass: boolean): Promise<SyncWarning[]> {
  const warnings = await protectedLists(trx);
  // A rejected record does not tell its user, so each row of its server may be the one that it belongs to.
  await execute(
    trx,
    `insert into deleted_subusers select t.id from server_subusers t
     join read_subusers r on r.id = t."serverId"
     where ${MIRROR.subusers.isPanelRow} and not t."isOwner" and not exists (${LISTED_SUBUSER})
       and not exists (select 1 from rejected_by_mapping x where x.entity = 'subusers' and x.server = r."panelId")`,
  );
  if (await guardRefuses(trx, 'subusers', allowMass, scope)) {
    const kept = await query<{ id: string }>(trx, `delete from deleted_subusers returning id`);
    warnings.push(pruneRefused('subusers', kept.length, 'more than half of the rows'));
  }
  await execute(
    trx,
    `insert into deleted_subusers select t.id from server_subusers t
     join moved_owners o on o.id = t."serverId"
     where t."isOwner" and t."userId" is distinct from o."ownerId" and not exists (${LISTED_SUBUSER} and not target.rejected)`,
  );
  return warnings;
}

/** Servers that one warning names. */
const NAMED_SERVERS = 20;

/** Names the servers of which a subuser could not be read: in this run no person loses access to them. */
async function protectedLists(trx: Db): Promise<SyncWarning[]> {
  const servers = await query<{ id: number }>(
    trx,
    `select distinct r.server as id from rejected_by_mapping r where r.entity = 'subusers' and r.server is not null order by 1`,
  );
  if (servers.length === 0) return [];
  const named = servers.slice(0, NAMED_SERVERS).map(({ id }) => id);
  const more = servers.length > named.length ? ` and ${servers.length - named.length} more` : '';
  return [
    {
      code: 'RECORD_UNREADABLE',
      entity: 'subusers',
      message: `a subuser of the servers ${named.join(', ')}${more} (ids on the panel) could not be read; no subuser of these servers was deleted`,
    },
  ];
}
