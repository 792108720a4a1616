/** api and worker as child processes of one parent, which handles the signals and the order of stopping. */
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
  /** The complete environment of the child. */
  env: Record<string, string | undefined>;
  /** Milliseconds between SIGTERM and SIGKILL: longer than the child's own limit for draining. */
  drainMs: number;
}

/** The message that a child sends over its IPC channel when it serves; it may have further fields. */
export interface ReadyMessage {
  ready: true;
  url?: string;
}

export interface ProcessGroup {
  /** By name, when all members are ready; rejects with {@link GroupFailure} when the group gives up before. */
  ready: Promise<ReadonlyMap<string, ReadyMessage>>;
  /** Resolves with an exit code when the group gives up; never after `stop`. */
  failed: Promise<number>;
  /** Ends the members one after the other, in the given order. Idempotent. */
  stop(): Promise<void>;
  /** Current process id of a member, for tests. */
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
 * Heap limits of the worker, the same as in `npm run start:worker`: without them V8 lets the heap grow with the machine's
 * memory before it collects garbage. A listing of 100,000 allocations fits (measured by `npm run bench`).
 */
export const WORKER_NODE_FLAGS = ['--max-old-space-size=144', '--max-semi-space-size=8'] as const;

/** Without it glibc keeps one arena per thread, each as large as the largest response it ever held. */
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

interface Group {
  readonly members: readonly GroupMember[];
  readonly options: { log: ProgressLog; stdout?: 'inherit' | number; restart?: boolean };
  readonly children: Map<string, ChildProcess>;
  readonly readyMessages: Map<string, ReadyMessage>;
  /** Times at which a member ended within the window, by name. */
  readonly endings: Map<string, number[]>;
  readonly ready: PromiseWithResolvers<ReadonlyMap<string, ReadyMessage>>;
  readonly failed: PromiseWithResolvers<number>;
  /** Stopped or given up: nothing is started any more. */
  over: boolean;
}

/** Starts all members at once; one that ends is started again, with growing delays (0.5 s, 1 s, 2 s, 4 s). */
export function startProcessGroup(members: readonly GroupMember[], options: Group['options']): ProcessGroup {
  const group: Group = {
    members,
    options,
    children: new Map(),
    readyMessages: new Map(),
    endings: new Map(),
    ready: Promise.withResolvers(),
    failed: Promise.withResolvers(),
    over: false,
  };
  // A caller may wait for `failed` only: the rejection of `ready` must not end its process.
  group.ready.promise.catch(() => undefined);
  for (const member of members) launch(group, member);
  let stopping: Promise<void> | undefined;
  return {
    ready: group.ready.promise,
    failed: group.failed.promise,
    stop() {
      stopping ??= stopAll(group);
      return stopping;
    },
    pid: (name) => group.children.get(name)?.pid,
  };
}

function launch(group: Group, member: GroupMember): void {
  const output = group.options.stdout ?? 'inherit';
  // Detached: Ctrl-C reaches only the parent. When the parent is killed, the closed IPC channel tells the child.
  const child = spawn(process.execPath, [...(member.nodeFlags ?? []), member.entry, ...(member.args ?? [])], {
    env: member.env,
    stdio: ['ignore', output, output, 'ipc'],
    detached: process.platform !== 'win32',
    windowsHide: true,
  });
  group.children.set(member.name, child);
  child.on('message', (message) => {
    if (!isReady(message)) return;
    group.readyMessages.set(member.name, message);
    if (group.readyMessages.size === group.members.length) group.ready.resolve(group.readyMessages);
  });
  let ended = false;
  const onEnd = (how: string, code: number | null): void => {
    if (ended) return;
    ended = true;
    group.children.delete(member.name);
    restart(group, member, how, code);
  };
  child.once('error', (error) => onEnd(`cannot be started (${error.message})`, null));
  child.once('exit', (code, signal) =>
    onEnd(signal === null ? `ended with code ${code}` : `was ended by ${signal}`, code),
  );
}

function isReady(message: unknown): message is ReadyMessage {
  return typeof message === 'object' && message !== null && 'ready' in message && message.ready === true;
}

/** Starts a member that ended again, or gives up. */
function restart(group: Group, member: GroupMember, how: string, code: number | null): void {
  if (group.over) return;
  if (code === EXIT.config) {
    giveUp(group, `${member.name}: the configuration is not usable, see above`, EXIT.config);
    return;
  }
  const now = Date.now();
  const recent = [...(group.endings.get(member.name) ?? []).filter((at) => now - at < WINDOW_MS), now];
  group.endings.set(member.name, recent);
  if (recent.length >= MAX_FAILURES || group.options.restart === false) {
    giveUp(group, `${member.name} ${how}, ${recent.length} times within a minute: giving up`, EXIT.failed);
    return;
  }
  const waitMs = 500 * 2 ** (recent.length - 1);
  group.options.log(`${member.name} ${how}: starting it again in ${waitMs / 1000} s`);
  void sleep(waitMs).then(() => {
    if (!group.over) launch(group, member);
  });
}

function giveUp(group: Group, message: string, code: number): void {
  group.over = true;
  group.options.log(message);
  group.ready.reject(new GroupFailure(message, code));
  group.failed.resolve(code);
}

async function stopAll(group: Group): Promise<void> {
  group.over = true;
  for (const member of group.members) await stopMember(group, member);
  group.ready.reject(new GroupFailure('stopped', EXIT.interrupted));
}

async function stopMember({ children, options }: Group, member: GroupMember): Promise<void> {
  const child = children.get(member.name);
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<true>((resolve) => {
    child.once('exit', () => resolve(true));
  });
  child.kill('SIGTERM');
  const inTime = await withDeadline(gone, member.drainMs).catch(() => false);
  if (inTime) return;
  options.log(`${member.name} did not end within ${member.drainMs / 1000} s: killing it`);
  child.kill('SIGKILL');
  await gone;
}
