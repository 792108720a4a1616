/** api and worker as children of one process, which owns the signals and the order of stopping. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { withDeadline } from '../deadline.ts';
import { EXIT } from '../process.ts';
import { type ProgressLog, sleep } from './process.ts';

export interface GroupMember {
  name: string;
  /** Path of the TypeScript entry. */
  entry: string;
  args?: readonly string[];
  /** Flags of Node itself. */
  nodeFlags?: readonly string[];
  /** The whole environment of the child. */
  env: Record<string, string | undefined>;
  /** Milliseconds between SIGTERM and SIGKILL: longer than what it allows itself to drain. */
  drainMs: number;
}

/** What a child sends over its IPC channel when it serves; further fields are its own. */
export interface ReadyMessage {
  ready: true;
  url?: string;
}

export interface ProcessGroup {
  /** By name, when every member has said that it is ready; rejects with {@link GroupFailure} when one gives up before. */
  ready: Promise<ReadonlyMap<string, ReadyMessage>>;
  /** Resolves with an exit code when the group cannot go on; never when it is stopped by `stop`. */
  failed: Promise<number>;
  /** Ends the members one after the other, in the order given. Idempotent. */
  stop(): Promise<void>;
  /** Process id of a member now, for tests. */
  pid(name: string): number | undefined;
}

/** The group gave up before it was ready. */
export class GroupFailure extends Error {
  readonly exitCode: number;
  constructor(message: string, exitCode: number) {
    super(message);
    this.name = 'GroupFailure';
    this.exitCode = exitCode;
  }
}

/**
 * Heap limits of the worker, as `npm run start:worker` gives them too: V8 otherwise lets a heap grow with the machine's
 * memory before it collects. A listing of 100,000 allocations fits (measured by `npm run bench`).
 */
export const WORKER_NODE_FLAGS = ['--max-old-space-size=160', '--max-semi-space-size=16'] as const;

/** glibc's allocator otherwise keeps an arena a thread, each with the largest answer it ever held. */
export const WORKER_ENV = { MALLOC_ARENA_MAX: '2' } as const;

/**
 * The two processes of an installation, in the order in which they stop.
 * @param env is added to the environment of this process
 */
export const apiAndWorker = (env: Record<string, string | undefined>): GroupMember[] => [
  // The api gives open requests 10 s, the worker gives running activities 20 s and 10 s more to react to their cancel.
  {
    name: 'api',
    entry: fileURLToPath(new URL('../api/server.ts', import.meta.url)),
    env: { ...process.env, ...env },
    drainMs: 15_000,
  },
  {
    name: 'worker',
    entry: fileURLToPath(new URL('../worker.ts', import.meta.url)),
    nodeFlags: WORKER_NODE_FLAGS,
    env: { ...WORKER_ENV, ...process.env, ...env },
    drainMs: 40_000,
  },
];

/** The group gives up when one member ends this often within the window. */
const MAX_FAILURES = 5;
const WINDOW_MS = 60_000;

function isReady(message: unknown): message is ReadyMessage {
  return typeof message === 'object' && message !== null && 'ready' in message && message.ready === true;
}

/** Starts all members at once; one that ends is started again, later each time (0.5 s, 1 s, 2 s, 4 s). */
export function startProcessGroup(
  members: readonly GroupMember[],
  options: { log: ProgressLog; stdout?: 'inherit' | number; restart?: boolean },
): ProcessGroup {
  const { log } = options;
  const children = new Map<string, ChildProcess>();
  const readyMessages = new Map<string, ReadyMessage>();
  const endings = new Map<string, number[]>();
  let stopping: Promise<void> | undefined;
  let over = false;
  const ready = Promise.withResolvers<ReadonlyMap<string, ReadyMessage>>();
  const failed = Promise.withResolvers<number>();
  // Whoever waits for `failed` only must not die of an unhandled rejection of `ready`.
  ready.promise.catch(() => undefined);

  const giveUp = (message: string, code: number): void => {
    if (over || stopping !== undefined) return;
    over = true;
    log(message);
    ready.reject(new GroupFailure(message, code));
    failed.resolve(code);
  };

  const launch = (member: GroupMember): void => {
    const output = options.stdout ?? 'inherit';
    // Detached: Ctrl-C reaches the parent alone. When the parent is killed the closed channel tells the child.
    const child = spawn(process.execPath, [...(member.nodeFlags ?? []), member.entry, ...(member.args ?? [])], {
      env: member.env,
      stdio: ['ignore', output, output, 'ipc'],
      detached: process.platform !== 'win32',
      windowsHide: true,
    });
    children.set(member.name, child);
    child.on('message', (message) => {
      if (!isReady(message)) return;
      readyMessages.set(member.name, message);
      if (readyMessages.size === members.length) ready.resolve(readyMessages);
    });
    let ended = false;
    const onEnd = (how: string, code: number | null): void => {
      if (ended) return;
      ended = true;
      children.delete(member.name);
      if (stopping !== undefined || over) return;
      if (code === EXIT.config) {
        giveUp(`${member.name}: configuration is not usable, see above`, EXIT.config);
        return;
      }
      const now = Date.now();
      const recent = [...(endings.get(member.name) ?? []).filter((at) => now - at < WINDOW_MS), now];
      endings.set(member.name, recent);
      if (recent.length >= MAX_FAILURES || options.restart === false) {
        giveUp(`${member.name} ${how}, ${recent.length} times within a minute: giving up`, EXIT.failed);
        return;
      }
      const waitMs = 500 * 2 ** (recent.length - 1);
      log(`${member.name} ${how}: starting it again in ${waitMs / 1000} s`);
      void sleep(waitMs).then(() => {
        if (stopping === undefined && !over) launch(member);
      });
    };
    child.once('error', (error) => onEnd(`cannot be started (${error.message})`, null));
    child.once('exit', (code, signal) =>
      onEnd(signal === null ? `ended with code ${code}` : `was ended by ${signal}`, code),
    );
  };

  const end = async (member: GroupMember): Promise<void> => {
    const child = children.get(member.name);
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise<true>((resolve) => {
      child.once('exit', () => resolve(true));
    });
    child.kill('SIGTERM');
    const inTime = await withDeadline(gone, member.drainMs).catch(() => false);
    if (inTime) return;
    log(`${member.name} did not end within ${member.drainMs / 1000} s: killing it`);
    child.kill('SIGKILL');
    await gone;
  };

  for (const member of members) launch(member);
  return {
    ready: ready.promise,
    failed: failed.promise,
    stop() {
      stopping ??= (async () => {
        for (const member of members) await end(member);
        ready.reject(new GroupFailure('stopped', EXIT.interrupted));
      })();
      return stopping;
    },
    pid: (name) => children.get(name)?.pid,
  };
}
