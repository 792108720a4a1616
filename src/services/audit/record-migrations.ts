/** Records migrations and rollbacks of the command line, each in its own transaction. */
import { auditTableExists } from '../../store/audit/audit-store.ts';
import type { Transaction } from '../../store/db/db.ts';
import { OPERATOR, recordChange } from './record-change.ts';

/**
 * Makes the recorder of one call of `migrateLatest`. What is applied before the audit table exists is in the first event
 * that can be recorded.
 */
export function migrationRecorder(details: { reset: boolean }): (trx: Transaction, name: string) => Promise<void> {
  let earlier: string[] = [];
  return async (trx, name) => {
    // A migration is recorded again when its transaction had to be tried again.
    const migrations = [...new Set([...earlier, name])];
    if (!(await auditTableExists(trx))) {
      earlier = migrations;
      return;
    }
    await recordChange({ trx }, OPERATOR, { action: 'database-migrated', details: { ...details, migrations } });
    earlier = [];
  };
}

/** Records a rollback; that of the audit table itself cannot be recorded. */
export async function recordRollback(trx: Transaction, name: string): Promise<void> {
  if (!(await auditTableExists(trx))) return;
  await recordChange({ trx }, OPERATOR, { action: 'database-rolled-back', details: { migrations: [name] } });
}
