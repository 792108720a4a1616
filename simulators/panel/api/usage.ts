/** What the nodes' daemons measure of a server. It moves with the simulator's clock, and is the same at the same time. */
import type { ServerRow } from '../world/rows.ts';

/** Milliseconds for which the panel gives the same answer of a daemon again. */
export const MEASURE_MS = 20_000;
const MB = 1024 * 1024;
/** Of a server without a limit, in MB and per cent. */
const UNLIMITED = { memory: 4096, disk: 20_480, cpu: 200 };

/** Between 0 and 1: a wave of about ten minutes that begins at another place for each server. */
const wave = (server: number, step: number, speed: number) => (1 + Math.sin(server * 1.7 + step * 0.2 * speed)) / 2;

/** Attributes of the object `stats`. */
export function usageOf({ id, limits, current_state: state, status }: ServerRow, clockMs: number) {
  const step = Math.floor(clockMs / MEASURE_MS);
  const runs = state !== 'offline';
  const memory = (limits.memory || UNLIMITED.memory) * MB;
  const disk = (limits.disk || UNLIMITED.disk) * MB;
  const cpu = (limits.cpu || UNLIMITED.cpu) * (0.05 + 0.6 * wave(id, step, 2));
  const traffic = (id * 7_919 + step) * 1_000;
  return {
    current_state: state,
    is_suspended: status === 'suspended',
    resources: {
      memory_bytes: runs ? Math.floor(memory * (0.3 + 0.4 * wave(id, step, 1))) : 0,
      cpu_absolute: runs ? Math.round(cpu * 1_000) / 1_000 : 0,
      disk_bytes: Math.floor(disk * (0.2 + 0.1 * wave(id, 0, 1)) + (runs ? step * 1_000 : 0)),
      network_rx_bytes: runs ? traffic : 0,
      network_tx_bytes: runs ? Math.floor(traffic / 2) : 0,
      uptime: runs ? id * 7_919 + step * MEASURE_MS : 0,
    },
  };
}
