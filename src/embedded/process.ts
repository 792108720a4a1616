/** Processes, ports and private files: the small functions that all launchers of the embedded services share. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';

/** Shows one line of progress at the terminal (without a newline at its end). */
export type ProgressLog = (line: string) => void;

/** Result of a finished program; `code` is null when a signal ended it or it could not be started. */
export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Why there is no exit code, e.g. ENOENT or a signal. */
  failure?: string;
}

export interface CommandOptions {
  uid?: number;
  gid?: number;
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  timeoutMs?: number;
  input?: string;
}

/** Runs a program to its end. Never rejects: a failure is part of the result. */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = execFile(
      file,
      [...args],
      {
        cwd: options.cwd ?? '/',
        timeout: options.timeoutMs ?? 60_000,
        maxBuffer: 16 * 1024 * 1024,
        encoding: 'utf8',
        windowsHide: true,
        ...(options.uid === undefined ? {} : { uid: options.uid }),
        ...(options.gid === undefined ? {} : { gid: options.gid }),
        ...(options.env === undefined ? {} : { env: options.env }),
      },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ code: 0, stdout, stderr });
        const code = typeof error.code === 'number' ? error.code : null;
        const failure = code === null ? String(error.code ?? error.signal ?? error.message) : undefined;
        resolve({ code, stdout, stderr, ...(failure === undefined ? {} : { failure }) });
      },
    );
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input ?? '');
  });
}

/** True while a process with this id exists, whichever user owns it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
  return !isZombie(pid);
}

function isZombie(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) === 'Z';
  } catch {
    return false;
  }
}

/**
 * The command line of a process (arguments joined by spaces); undefined when it is gone or cannot be read. Process ids
 * are reused, in containers within seconds, so a noted id is trusted only when the command line fits too.
 */
export async function commandLine(pid: number): Promise<string | undefined> {
  try {
    const raw = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    return raw === '' ? undefined : raw.replaceAll('\0', ' ').trim();
  } catch {
    if (process.platform === 'linux' || process.platform === 'win32') return undefined;
  }
  const { code, stdout } = await runCommand('ps', ['-ww', '-p', String(pid), '-o', 'args=']);
  return code === 0 && stdout.trim() !== '' ? stdout.trim() : undefined;
}

/** A free TCP port of 127.0.0.1. Another process may take it before it is used, so the caller tries again then. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** True when `port` can be listened on at `host`. */
export function isPortFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `check` is true; false when `timeoutMs` passes first. */
export async function waitUntil(
  check: () => boolean | Promise<boolean>,
  timeoutMs: number,
  everyMs = 50,
): Promise<boolean> {
  const end = Date.now() + timeoutMs;
  for (;;) {
    if (await check()) return true;
    if (Date.now() >= end) return false;
    await sleep(everyMs);
  }
}

/** Ends a process with SIGTERM, after `graceMs` with SIGKILL. Resolves when it is gone. */
export async function endProcess(pid: number, graceMs: number): Promise<void> {
  const signal = (name: 'SIGTERM' | 'SIGKILL') => {
    try {
      process.kill(pid, name);
    } catch {
      // The process is already gone.
    }
  };
  signal('SIGTERM');
  if (await waitUntil(() => !isAlive(pid), graceMs)) return;
  signal('SIGKILL');
  await waitUntil(() => !isAlive(pid), 5_000);
}

/** Writes a file that only its owner can read, completely or not at all. */
export async function writePrivateFile(path: string, content: string): Promise<void> {
  const part = `${path}.${process.pid}.${randomBytes(4).toString('hex')}`;
  await writeFile(part, content, { mode: 0o600, flag: 'wx' });
  await rename(part, path);
}

/** An error whose message is shown at the terminal: what was tried and what to do. */
export class EmbeddedError extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'EmbeddedError';
  }
}
