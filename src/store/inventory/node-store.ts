/** What administrators change about a node. */
import type { Transaction } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** The maintenance mode of a node, whose row stays locked until the transaction ends; undefined if there is no node. */
export async function lockMaintenance(trx: Transaction, nodeId: number): Promise<boolean | undefined> {
  const [node] = await query<{ enabled: boolean }>(
    trx,
    `select coalesce(n."isMaintenanceMode", false) as enabled from nodes n where n.id = ? for no key update`,
    [nodeId],
  );
  return node?.enabled;
}

/** Stores the maintenance mode of a node. */
export async function storeMaintenance(trx: Transaction, nodeId: number, enabled: boolean): Promise<void> {
  await execute(
    trx,
    `update nodes set "isMaintenanceMode" = ?, "updatedAt" = (now() at time zone 'utc') where id = ?`,
    [enabled, nodeId],
  );
}
