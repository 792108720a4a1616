/** Activity of the live mirror: one look, which may start a sync. */
import type { SyncLauncher } from '../services/sync/launcher.ts';
import { type MirrorDeps, tickMirror } from '../services/sync/live-mirror.ts';
import type { MirrorTick } from '../workflows/contract.ts';

export function createLiveMirrorActivities(deps: MirrorDeps & { launcher: SyncLauncher }) {
  return {
    /** Starts a full sync if one is due. @returns in how many milliseconds to look again. */
    tickMirror: (input: { logId: string }): Promise<MirrorTick> => tickMirror(deps, input.logId),
  };
}

export type LiveMirrorActivities = ReturnType<typeof createLiveMirrorActivities>;
