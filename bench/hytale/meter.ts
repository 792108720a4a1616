/** Memory and processor time of the processes of an installation, from Linux's /proc, sampled once a second. */
import { readFileSync } from 'node:fs';
import { childrenMs, processorMs, sumSince } from '../api/processor-time.ts';

const MIB = 1_024;

function residentMiB(pid: number): number {
  try {
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / MIB);
  } catch {
    return 0;
  }
}

const percent = (ms: number | undefined, since: number): number =>
  Math.round(((ms ?? 0) / (performance.now() - since)) * 1_000) / 10;

export function createMeter(pids: { workers: readonly number[]; temporal: number; postgres: number }) {
  const since = performance.now();
  const workers = new Map(pids.workers.map((pid) => [pid, processorMs(pid) ?? 0]));
  const before = { temporal: processorMs(pids.temporal) ?? 0, postgres: childrenMs(pids.postgres) };
  const peak = { worker: 0, temporal: 0 };
  let ended = 0;
  const workerMs = () => [...workers].reduce((sum, [pid, ms]) => sum + (processorMs(pid) ?? ms) - ms, ended);
  let lastMs = 0;
  return {
    sample(): void {
      lastMs = Math.max(lastMs, workerMs());
      for (const pid of workers.keys()) peak.worker = Math.max(peak.worker, residentMiB(pid));
      peak.temporal = Math.max(peak.temporal, residentMiB(pids.temporal));
    },
    /** A worker was killed; another one takes its place. */
    replaceWorker(old: number, next: number): void {
      workers.delete(old);
      ended = Math.max(0, lastMs - workerMs() + ended);
      workers.set(next, 0);
    },
    figures: () => ({
      workerPeakMiB: peak.worker,
      workerMiB: [...workers.keys()].map(residentMiB),
      workerCpuPercent: percent(workerMs(), since),
      temporalPeakMiB: peak.temporal,
      temporalCpuPercent: percent((processorMs(pids.temporal) ?? 0) - before.temporal, since),
      postgresCpuPercent: percent(sumSince(before.postgres, childrenMs(pids.postgres)), since),
    }),
  };
}
