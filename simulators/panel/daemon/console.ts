/**
 * The console of one simulated server: what its process prints, and what the daemon can still read of it. Rules of Wings
 * (pterodactyl/wings): environment/docker/power.go, Start and OnBeforeStart: each start makes a new container with an
 * empty log; environment/docker/container.go, Readlog: the last lines of the container's log; server/listeners.go: lines above the limit
 * of server/console.go (config.go, `throttles`: 2,000 lines in 100 ms) are not sent, but they are in the log.
 */
import type { ServerRow } from '../world/rows.ts';
import { createLines } from './lines.ts';

export type ProcessState = ServerRow['current_state'];

/** Of what `Readlog` scans, longer lines end the reading without an error (bufio.MaxScanTokenSize). */
const MAX_SCANNED_BYTES = 64 * 1024;
/** Lines that are sent live in a period, and its length in milliseconds. */
const LIVE_LINES = 2_000;
const LIVE_PERIOD_MS = 100;
/** The log of a container keeps about 5 MB (config_docker.go, `max-size`). */
const MAX_LOG_BYTES = 5 * 1024 * 1024;

export interface SimulatedConsole {
  readonly state: ProcessState;
  /** What the process printed since its last start: the log of the container. */
  readonly log: readonly string[];
  /** All that was ever printed, in order, over all starts: the true console. */
  readonly all: readonly string[];
  /** The process prints lines. A server that is offline prints nothing. */
  print(lines: string | readonly string[]): void;
  /** It prints lines of the generator. @returns them. */
  generate(count: number): string[];
  /** It prints so many generated lines in each second until `live(0)`, the stop or the end of the simulator. */
  live(linesPerSecond: number): void;
  /** Starts the process, unless it runs: the log begins empty. */
  start(): void;
  /** Stops the process; its log stays until the next start. */
  stop(): void;
  /** Stops and starts it; `live` goes on. */
  restart(): void;
}

/** A console as the daemon has it. */
export interface DaemonConsole extends SimulatedConsole {
  /** The last lines of the log. */
  tail(count: number): string[];
  /** Hears each line that is sent live, and each new state. @returns a function that ends it. */
  listen(listener: { line(line: string): void; state(state: ProcessState): void }): () => void;
  /** The row of the server has another state. */
  changed(state: ProcessState): void;
  /** The process was started again without another state between. */
  started(): void;
  end(): void;
}

type Listener = Parameters<DaemonConsole['listen']>[0];

/** A process and what is left of its output. */
interface Process {
  state: ProcessState;
  all: string[];
  log: string[];
  logBytes: number;
  listeners: Set<Listener>;
  /** The period of the limit of live lines: its start (monotonic milliseconds), and the lines since. */
  period: { start: number; sent: number };
  next: () => string;
  timer: NodeJS.Timeout | undefined;
}

function mayGoLive(process: Process): boolean {
  const now = performance.now();
  if (now - process.period.start >= LIVE_PERIOD_MS) process.period = { start: now, sent: 0 };
  process.period.sent += 1;
  return process.period.sent <= LIVE_LINES;
}

function print(process: Process, line: string): void {
  if (process.state === 'offline') return;
  process.all.push(line);
  process.log.push(line);
  process.logBytes += line.length;
  while (process.logBytes > MAX_LOG_BYTES) process.logBytes -= process.log.shift()?.length ?? 0;
  // Live lines are cut where a blank and a carriage return meet (system/utils.go, ScanReader).
  for (const part of line.replaceAll(' \r', '\r\n').split('\r\n')) {
    if (mayGoLive(process)) for (const listener of [...process.listeners]) listener.line(part);
  }
}

/** Prints generated lines at a rate; 0 ends it. */
function live(process: Process, linesPerSecond: number): void {
  clearInterval(process.timer);
  if (linesPerSecond <= 0) return;
  let owed = 0;
  let at = performance.now();
  const step = () => {
    const now = performance.now();
    owed += ((now - at) * linesPerSecond) / 1_000;
    at = now;
    for (; owed >= 1; owed -= 1) print(process, process.next());
  };
  process.timer = setInterval(step, Math.max(1, 1_000 / linesPerSecond)).unref();
}

/** The last lines that the daemon can read. */
function tailOf({ log }: Process, count: number): string[] {
  const last = log.slice(-count);
  const long = last.findIndex((line) => Buffer.byteLength(line) >= MAX_SCANNED_BYTES);
  return long === -1 ? last : last.slice(0, long);
}

/** @param setState writes the state to the row of the server, which calls `changed`. */
export function createConsole(
  seed: number,
  state: ProcessState,
  setState: (state: ProcessState) => void,
): DaemonConsole {
  const process: Process = {
    state,
    all: [],
    log: [],
    logBytes: 0,
    listeners: new Set(),
    period: { start: 0, sent: 0 },
    next: createLines(seed),
    timer: undefined,
  };
  const started = () => Object.assign(process, { log: [], logBytes: 0 });
  const stop = () => {
    live(process, 0);
    if (process.state !== 'offline') setState('offline');
  };
  return {
    get state() {
      return process.state;
    },
    get log() {
      return process.log;
    },
    all: process.all,
    print(lines) {
      for (const line of typeof lines === 'string' ? [lines] : lines) print(process, line);
    },
    generate(count) {
      const lines = Array.from({ length: count }, process.next);
      for (const line of lines) print(process, line);
      return lines;
    },
    live: (linesPerSecond) => live(process, linesPerSecond),
    start: () => (process.state === 'offline' ? setState('running') : undefined),
    stop,
    restart() {
      if (process.state !== 'offline') setState('offline');
      setState('running');
    },
    tail: (count) => tailOf(process, count),
    listen(listener) {
      process.listeners.add(listener);
      return () => process.listeners.delete(listener);
    },
    changed(now) {
      if (now === process.state) return;
      if (process.state === 'offline') started();
      process.state = now;
      for (const listener of [...process.listeners]) listener.state(now);
    },
    started,
    end: () => clearInterval(process.timer),
  };
}
