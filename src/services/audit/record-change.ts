/** Records what an administrator, an operator or a program changes, in the transaction of the change. */
import type { Logger } from 'pino';
import type { AuditAction, AuditDetails, AuditOrigin, AuditTarget } from '../../domain/audit.ts';
import { insertAuditEvent } from '../../store/audit/audit-store.ts';
import type { Transaction } from '../../store/db/db.ts';
import { reportAuditEvent } from './report-event.ts';
import { logSecurityEvent } from './security-events.ts';

/** The origin of a command: an operator at the command line. */
export const OPERATOR: AuditOrigin = { actor: { type: 'cli' } };

export interface Change {
  action: AuditAction;
  target?: AuditTarget | undefined;
  /** Without secrets, addresses and names: see `AuditDetails`. */
  details?: AuditDetails | undefined;
}

/** Adds the event of a change that succeeded. `trx` is the transaction of the change, so that both are kept or neither. */
export async function recordChange(
  deps: { trx: Transaction; log?: Logger | undefined },
  by: AuditOrigin,
  { action, target, details }: Change,
): Promise<void> {
  const event = {
    ...by,
    action,
    outcome: 'success' as const,
    ...(target === undefined ? {} : { target }),
    ...(details === undefined ? {} : { details }),
  };
  await insertAuditEvent(deps.trx, event);
  await reportAuditEvent(deps.trx, event);
  logSecurityEvent(deps.log, event);
}
