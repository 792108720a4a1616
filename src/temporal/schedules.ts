/**
 * Temporal Schedules, and the live mirror, which takes the place of one. They are declared in one table and reconciled when a worker starts and when a setting changes:
 * declared schedules are created or updated, `maintenance:*` schedules that are not declared any more are deleted.
 */
import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
} from '@temporalio/client';
import { type AutoSync, isLive } from '../domain/settings.ts';
import {
  AUTO_SYNC_SCHEDULE_ID,
  MAINTENANCE_PREFIX,
  type MaintenanceKind,
  maintenanceId,
  QUEUE,
} from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';
import { wakeLiveMirror } from './live-mirror.ts';

interface Declared {
  scheduleId: string;
  spec: ScheduleSpec;
  workflow: { type: string; id: string; args: unknown[] };
  catchupWindow: string;
  enabled: boolean;
}

/** Note of a pause that follows from a setting. A pause with another note is an administrator's and stays. */
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
  // A row whose run is gone is closed within a minute.
  maintenance('sync-watch', { intervals: [{ every: '1m' }] }),
  // Hytale rows without a workflow get one.
  maintenance('hytale-watch', { intervals: [{ every: '5m' }] }),
  // Consoles of Hytale servers are read from the panel.
  maintenance('hytale-logs', { intervals: [{ every: '5m' }] }),
  // Hytale sessions of no server that died hours ago. 02:00 UTC, as the existing service does it.
  maintenance('hytale-sessions', { calendars: [{ hour: 2, minute: 0 }] }),
  // Sync logs, outbox rows, emails. 03:00 UTC, as the existing service does it.
  maintenance('retention', { calendars: [{ hour: 3, minute: 0 }] }),
  // Sessions, one-time tokens, full rate-limit buckets, lost emails, contents of ended emails.
  maintenance('expired-data', { intervals: [{ every: '1h' }] }),
];

const autoSync = (setting: AutoSync): Declared => ({
  scheduleId: AUTO_SYNC_SCHEDULE_ID,
  spec: { intervals: [{ every: setting.intervalSeconds * 1_000 }] },
  workflow: { type: 'scheduledSync', id: AUTO_SYNC_SCHEDULE_ID, args: [] },
  catchupWindow: '1m',
  // In mode `auto` the live mirror starts the syncs.
  enabled: setting.enabled && !isLive(setting),
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
        // Another worker created it at the same time, with the same declaration.
        if (!(race instanceof ScheduleAlreadyRunning)) throw race;
      }
    }
  });
}

/** Makes the auto-sync schedule and the live mirror follow the setting. Several processes may do this at once. */
export async function reconcileAutoSync(temporal: TemporalGateway, setting: AutoSync): Promise<void> {
  await Promise.all([ensure(temporal, autoSync(setting)), wakeLiveMirror(temporal, isLive(setting))]);
}

/** Creates or updates every declared schedule, and deletes maintenance schedules that are not declared any more. */
export async function reconcileSchedules(temporal: TemporalGateway, setting: AutoSync): Promise<void> {
  await Promise.all([
    ...MAINTENANCE.map((declared) => ensure(temporal, declared)),
    reconcileAutoSync(temporal, setting),
    deleteUndeclared(temporal),
  ]);
}

/** Deletes the schedules of earlier releases, by their prefix; schedules with other ids are not ours. */
async function deleteUndeclared(temporal: TemporalGateway): Promise<void> {
  const declared = new Set(MAINTENANCE.map(({ scheduleId }) => scheduleId));
  await temporal.within(CALL_DEADLINE_MS, async () => {
    for await (const { scheduleId } of temporal.client.schedule.list()) {
      if (!scheduleId.startsWith(MAINTENANCE_PREFIX) || declared.has(scheduleId)) continue;
      try {
        await temporal.client.schedule.getHandle(scheduleId).delete();
      } catch (error) {
        // Another worker deleted it at the same time, or the list was not up to date.
        if (!(error instanceof ScheduleNotFoundError)) throw error;
      }
    }
  });
}

/** Starts a run of a maintenance schedule now, unless one is under way. @throws {ScheduleNotFoundError} before a worker has declared it. */
export const triggerMaintenance = (temporal: TemporalGateway, kind: MaintenanceKind): Promise<void> =>
  temporal.within(CALL_DEADLINE_MS, () => temporal.client.schedule.getHandle(maintenanceId(kind)).trigger());
