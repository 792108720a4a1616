/** The request of a full sync by the service itself: by the schedule, or by the live mirror. */
import { isAppError } from '../../domain/errors.ts';
import type { ScheduledSyncResult } from '../../workflows/contract.ts';
import type { SyncLauncher } from './launcher.ts';

/**
 * Requests a full sync. A sync that runs already is a reason to skip this one, not a failure.
 * @param logId the same id is the same request: a repeated one starts nothing.
 */
export async function requestScheduledSync(
  launcher: Pick<SyncLauncher, 'requestSync'>,
  logId: string,
): Promise<ScheduledSyncResult> {
  try {
    const ticket = await launcher.requestSync({
      target: 'full',
      requestedBy: 'scheduler',
      requester: 'scheduler',
      id: logId,
    });
    return ticket.joined && ticket.syncLogId !== logId
      ? { outcome: 'skipped', logId: ticket.syncLogId }
      : { outcome: 'started', logId: ticket.syncLogId };
  } catch (error) {
    if (isAppError(error, 'SYNC_RUNNING')) return { outcome: 'skipped', logId: null };
    throw error;
  }
}
