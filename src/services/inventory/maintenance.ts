/** The maintenance mode that an administrator gives a node. The next sync of the nodes replaces it by the panel's. */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { lockMaintenance, storeMaintenance } from '../../store/inventory/node-store.ts';
import { recordChange } from '../audit/record-change.ts';

/**
 * Sets the maintenance mode to `enabled`, or to the other mode when it is absent. Only a change is recorded.
 * @returns the mode from now on.
 * @throws {AppError} NOT_FOUND.
 */
export async function setMaintenance(
  deps: { db: Db; log: Logger },
  change: { nodeId: number; enabled: boolean | undefined },
  by: AuditOrigin,
): Promise<boolean> {
  const { nodeId } = change;
  return inTransaction(deps.db, async (trx) => {
    const before = await lockMaintenance(trx, nodeId);
    if (before === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Node not found' });
    const after = change.enabled ?? !before;
    if (after === before) return after;
    await storeMaintenance(trx, nodeId, after);
    await recordChange({ trx, log: deps.log }, by, {
      action: 'maintenance-changed',
      target: { type: 'node', id: String(nodeId) },
      details: { before: { isMaintenanceMode: before }, after: { isMaintenanceMode: after } },
    });
    return after;
  });
}
