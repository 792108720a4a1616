/** Faults of the simulated daemon on demand; a connection gets those that match when it is opened. */

export type DaemonFault =
  /** The connection is reset before the handshake: the node is not there. */
  | { kind: 'reset' }
  /** The handshake is never answered. */
  | { kind: 'hang' }
  /** Something in front of the node answers with this status. */
  | { kind: 'status'; status: number }
  /** No message is ever answered. */
  | { kind: 'mute' }
  /** Every answer is late, milliseconds. */
  | { kind: 'slow'; ms: number }
  /** The connection is closed with this code right after the handshake. */
  | { kind: 'close'; code: number }
  /** The connection ends after so many lines of a reading; with fewer lines, at its end. */
  | { kind: 'cut'; after: number }
  /** Messages that no daemon sends come before each answer: no JSON, JSON of other forms, binary. */
  | { kind: 'garbage' }
  /** A line of so many bytes comes before the lines of a reading. */
  | { kind: 'huge'; bytes: number }
  /** The server prints a line after each `every` lines of a reading, so live lines stand within it. */
  | { kind: 'interleave'; every: number }
  /** The log of the container cannot be read. */
  | { kind: 'unreadable' };

interface Active {
  server: string | undefined;
  times: number;
  fault: DaemonFault;
}

export interface DaemonFaults {
  /**
   * @param options `server`: uuid, default all servers; `times`: the number of connections that get the fault, default all.
   * @returns a function that removes the fault.
   */
  add(fault: DaemonFault, options?: { server?: string | undefined; times?: number | undefined }): () => void;
  clear(): void;
  /** The faults of a new connection. */
  take(server: string): DaemonFault[];
}

export function createDaemonFaults(): DaemonFaults {
  let active: Active[] = [];
  return {
    add(fault, { server, times = Number.POSITIVE_INFINITY } = {}) {
      const entry = { server, times, fault };
      active.push(entry);
      return () => {
        active = active.filter((other) => other !== entry);
      };
    },
    clear() {
      active = [];
    },
    take(server) {
      const taken = active.filter((entry) => entry.times > 0 && (entry.server ?? server) === server);
      for (const entry of taken) entry.times -= 1;
      return taken.map(({ fault }) => fault);
    },
  };
}

/** The fault of a kind among those of a connection. */
export const faultOf = <K extends DaemonFault['kind']>(faults: readonly DaemonFault[], kind: K) =>
  faults.find((fault): fault is Extract<DaemonFault, { kind: K }> => fault.kind === kind);
