/** The live mirror: a full sync as often as the share of the panel's limit allows; and how old the mirror is, in either mode. */
import { type AutoSync, isLive } from '../../domain/settings.ts';
import { nextStep, secondsToNextRun, shareUsed } from '../../domain/sync/live-mirror.ts';
import type { Db } from '../../store/db/db.ts';
import { readMirrorState } from '../../store/sync/mirror-state.ts';
import type { MirrorTick } from '../../workflows/contract.ts';
import type { SyncLauncher } from './launcher.ts';
import { requestScheduledSync } from './scheduled-sync.ts';

export interface MirrorDeps {
  db: Db;
  /** The setting as it is stored now. */
  autoSync: () => Promise<AutoSync>;
  /** Our own limit of panel requests; undefined: none. */
  requestsPerMinute: number | undefined;
}

/**
 * One look of the live mirror: starts a run if one is due and none is under way.
 * @param logId of the run that may be started; the same id never starts a second one.
 */
export async function tickMirror(
  deps: MirrorDeps & { launcher: Pick<SyncLauncher, 'requestSync'> },
  logId: string,
): Promise<MirrorTick> {
  const setting = await deps.autoSync();
  if (!isLive(setting)) return { did: 'ended', waitMs: 0, why: 'the settings do not want it any more' };
  const state = await readMirrorState(deps.db);
  const { due, waitSeconds } = nextStep(state, { ...setting, ownLimit: deps.requestsPerMinute });
  const waitMs = Math.ceil(waitSeconds * 1_000);
  if (state.activeAge !== null) return { did: 'skipped', waitMs, why: 'a sync runs' };
  if (!due) return { did: 'waited', waitMs, why: reasonToWait(setting, state.runs[0]?.status) };
  const { outcome } = await requestScheduledSync(deps.launcher, logId);
  return { did: outcome, waitMs, why: outcome === 'started' ? 'a full sync was started' : 'a sync runs' };
}

function reasonToWait({ budgetShare }: AutoSync, status: string | undefined): string {
  if (status === 'FAILED') return 'the last sync failed';
  if (status === 'CANCELLED') return 'the last sync was cancelled';
  return `it spends at most ${budgetShare} % of what the panel allows`;
}

export interface MirrorStatus {
  enabled: boolean;
  mode: AutoSync['mode'];
  /** Since the newest completed full sync began: what changed on the panel before it is in the mirror; null: none did. */
  ageSeconds: number | null;
  /** When the next automatic sync starts, if none runs then; null: they are off. */
  nextRunAt: Date | null;
  /** Percent. */
  budgetShare: number;
  /** Percent of the panel's limit that automatic syncs take at their present pace; null: off, or not known. */
  shareUsed: number | null;
  /** Panel requests of the newest full sync of which the number is known. */
  requests: number | null;
}

/** The age of the mirror, and when it is renewed. */
export async function mirrorStatus(deps: MirrorDeps, now = Date.now()): Promise<MirrorStatus> {
  const [setting, state] = await Promise.all([deps.autoSync(), readMirrorState(deps.db)]);
  const { enabled, mode, budgetShare, intervalSeconds } = setting;
  const budget = { ...setting, ownLimit: deps.requestsPerMinute };
  const pause = mode === 'auto' ? secondsToNextRun(state.runs, budget) : intervalSeconds;
  const used = enabled ? shareUsed(state.runs, pause, budget) : null;
  return {
    enabled,
    mode,
    ageSeconds: state.mirrorAge === null ? null : Math.max(0, Math.round(state.mirrorAge)),
    nextRunAt: enabled ? new Date(nextRun(now, mode, { pause, newestAge: state.newestAge })) : null,
    budgetShare,
    shareUsed: used === null ? null : Math.round(used * 1_000) / 10,
    requests: state.runs.find(({ requests }) => requests !== null)?.requests ?? null,
  };
}

/** Unix milliseconds of the next automatic run. Temporal counts the intervals of a schedule from the year 1970. */
function nextRun(now: number, mode: AutoSync['mode'], { pause, newestAge }: { pause: number; newestAge: number }) {
  if (mode === 'auto') return now + Math.max(0, pause - newestAge) * 1_000;
  const interval = pause * 1_000;
  return Math.ceil(now / interval) * interval;
}
