/** Temporal Schedules, declared in one table and reconciled at worker start and on a settings change. */

import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
} from '@temporalio/client';
import type { AutoSync } from '../domain/settings.ts';
import { AUTO_SYNC_SCHEDULE_ID, type MaintenanceKind, maintenanceId, QUEUE } from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';

interface Declared {
  scheduleId: string;
  spec: ScheduleSpec;
  workflow: { type: string; id: string; args: unknown[] };
  catchupWindow: string;
  enabled: boolean;
}

/** How we mark a pause that follows from a setting; any other pause is an administrator's and stays. */
const PAUSE_NOTE = 'disabled in the settings';
const CALL_DEADLINE_MS = 5_000;

const maintenance = (kind: MaintenanceKind, spec: ScheduleSpec): Declared => ({
  scheduleId: maintenanceId(kind),
  spec,
  workflow: { type: 'maintenance', id: maintenanceId(kind), args: [kind] },
  catchupWindow: '10m',
  enabled: true,
});

const MAINTENANCE: Declared[] = [
  // A row whose run is gone is seen within a minute.
  maintenance('sync-watch', { intervals: [{ every: '1m' }] }),
  // 03:00 UTC, as the existing service does it.
  maintenance('log-retention', { calendars: [{ hour: 3, minute: 0 }] }),
  // Sessions, one-time tokens, full buckets, what dead mails were made of.
  maintenance('expired-sessions', { intervals: [{ every: '1h' }] }),
];

const autoSync = (setting: AutoSync): Declared => ({
  scheduleId: AUTO_SYNC_SCHEDULE_ID,
  spec: { intervals: [{ every: setting.intervalSeconds * 1_000 }] },
  workflow: { type: 'scheduledSync', id: AUTO_SYNC_SCHEDULE_ID, args: [] },
  catchupWindow: '1m',
  enabled: setting.enabled,
});

async function ensure(temporal: TemporalGateway, declared: Declared): Promise<void> {
  const { client } = temporal;
  const desired = {
    spec: declared.spec,
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: declared.catchupWindow },
    action: {
      type: 'startWorkflow' as const,
      workflowType: declared.workflow.type,
      workflowId: declared.workflow.id,
      taskQueue: QUEUE.core,
      args: declared.workflow.args,
    },
  };
  const state = declared.enabled ? { paused: false } : { paused: true, note: PAUSE_NOTE };
  await temporal.within(CALL_DEADLINE_MS, async () => {
    const handle = client.schedule.getHandle(declared.scheduleId);
    try {
      await handle.update((before) => {
        const keepPause = before.state.paused && before.state.note !== PAUSE_NOTE;
        return { ...desired, state: keepPause ? before.state : { ...before.state, note: '', ...state } };
      });
    } catch (error) {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
      try {
        await client.schedule.create({ scheduleId: declared.scheduleId, ...desired, state });
      } catch (race) {
        // Another worker was faster; it declared the same.
        if (!(race instanceof ScheduleAlreadyRunning)) throw race;
      }
    }
  });
}

/** Makes the auto-sync schedule follow the setting. Safe from several processes at once. */
export const reconcileAutoSync = (temporal: TemporalGateway, setting: AutoSync): Promise<void> =>
  ensure(temporal, autoSync(setting));

/** Makes every declared schedule exist as declared. */
export async function reconcileSchedules(temporal: TemporalGateway, setting: AutoSync): Promise<void> {
  await Promise.all([...MAINTENANCE, autoSync(setting)].map((declared) => ensure(temporal, declared)));
}
