/** Changes the schedule of automatic syncs. */
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { type AutoSync, MIN_SYNC_INTERVAL_SECONDS } from '../../domain/settings.ts';
import { type ChangeDeps, changeSettings } from './change-settings.ts';

export interface AutoSyncDeps extends ChangeDeps {
  /** Brings the Temporal Schedule and the live mirror in line with the stored setting; bounded in time by the caller. */
  reconcileAutoSync(setting: AutoSync): Promise<void>;
}

/**
 * Stores when automatic syncs run and applies it; absent fields stay.
 * @throws {AppError} VALIDATION_ERROR for an interval below the minimum, or a share that cannot be.
 */
export async function saveAutoSync(
  deps: AutoSyncDeps,
  change: { [K in keyof AutoSync]?: AutoSync[K] | undefined },
  by: AuditOrigin,
): Promise<void> {
  const { enabled, intervalSeconds, mode, budgetShare } = change;
  if (intervalSeconds !== undefined && intervalSeconds < MIN_SYNC_INTERVAL_SECONDS) {
    throw new AppError('VALIDATION_ERROR', {
      publicMessage: `The sync interval must be ${MIN_SYNC_INTERVAL_SECONDS} seconds or more`,
    });
  }
  const values = {
    ...(enabled === undefined ? {} : { auto_sync_enabled: String(enabled) }),
    ...(intervalSeconds === undefined ? {} : { auto_sync_interval: String(intervalSeconds) }),
    ...(mode === undefined ? {} : { auto_sync_mode: mode }),
    ...(budgetShare === undefined ? {} : { auto_sync_budget_share: String(budgetShare) }),
  };
  // Every administrator may change the schedule.
  await changeSettings(deps, values, { editor: { kind: 'user', isSystemAdministrator: false }, by });
  await applySchedule(deps);
}

/** Applies the stored schedule. One that cannot be applied now is applied by the worker, which is notified of the change. */
export async function applySchedule(deps: AutoSyncDeps): Promise<void> {
  try {
    await deps.reconcileAutoSync(await deps.settings.autoSync());
  } catch (error) {
    deps.log.warn({ err: error }, 'the schedule could not be changed at once');
  }
}
