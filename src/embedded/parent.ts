/**
 * npm runs a script as npm → shell → node, and passes a signal to the shell only. The shell ends, and node would run on.
 * So a process that npm started looks whether those above it still run.
 */
import { readFileSync } from 'node:fs';
import { commandLine, isAlive, runCommand } from './process.ts';

const LOOK_EVERY_MS = 1_000;

/** `sh -c …`, also by its path; without `exec` of the command it stands between npm and node. */
const SHELL = /^(?:\S*\/)?(?:sh|bash|dash|ash|zsh|ksh|busybox)(?: \S+)*? -\w*c /;

/** Process id of the parent of `pid`; undefined when it cannot be found out. */
async function parentOf(pid: number): Promise<number | undefined> {
  let found: number;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // After the name, which may hold blanks and brackets: state, parent.
    found = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    if (process.platform === 'linux' || process.platform === 'win32') return undefined;
    found = Number((await runCommand('ps', ['-o', 'ppid=', '-p', String(pid)])).stdout);
  }
  // Process 1 adopts orphans, so it says nothing.
  return Number.isInteger(found) && found > 1 ? found : undefined;
}

/**
 * Calls `onGone` once, when npm is gone. Does nothing in a process that npm did not start: a service manager or a person may
 * end a parent on purpose. Windows has no such signals; there only a direct parent is looked at.
 */
export async function watchNpm(onGone: () => void, everyMs: number = LOOK_EVERY_MS): Promise<void> {
  // Set by npm, pnpm and yarn for the scripts that they run, and handed down to api and worker.
  if (process.env['npm_lifecycle_event'] === undefined) return;
  const parent = process.ppid;
  const line = (await commandLine(parent)) ?? '';
  const npm = SHELL.test(line) ? ((await parentOf(parent)) ?? parent) : parent;
  const timer = setInterval(() => {
    if (process.ppid === parent && isAlive(parent) && isAlive(npm)) return;
    clearInterval(timer);
    onGone();
  }, everyMs);
  timer.unref();
}
