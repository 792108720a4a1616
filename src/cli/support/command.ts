/** What every command does alike: it reads and writes through one object, prints its result, and reports its failure. */
import type { Readable } from 'node:stream';
import type { Environment } from '../../config.ts';
import { describeError, exitCodeOf } from './errors.ts';
import { createTerminal, type OutputStream } from './terminal.ts';

/** Where a command reads and writes: the process, or streams of a test. */
export interface CommandIo {
  stdin: Readable & { isTTY?: boolean };
  stdout: OutputStream;
  stderr: OutputStream;
  env: Environment;
}

/** One run of a command. */
export interface CommandRun<Io> {
  io: Io;
  /** The result is one JSON document on stdout; the command asks no questions. */
  json: boolean;
  /** Writes the result: the value with `--json`, the lines without. */
  print(value: unknown, lines: readonly string[]): void;
}

/**
 * Runs a command. An error becomes a message on stderr and an exit code; with `--json` the document is `{ "error": … }`.
 */
export async function runCommand<Io extends Pick<CommandIo, 'stdout' | 'stderr'>>(
  io: Io,
  flags: { json?: boolean },
  work: (run: CommandRun<Io>) => Promise<void>,
): Promise<void> {
  const json = flags.json === true;
  const writeJson = (value: unknown): void => void io.stdout.write(`${JSON.stringify(value)}\n`);
  try {
    await work({
      io,
      json,
      print: (value, lines) => {
        if (json) writeJson(value);
        else io.stdout.write(lines.map((line) => `${line}\n`).join(''));
      },
    });
  } catch (error) {
    const message = describeError(error);
    if (json) writeJson({ error: message });
    const terminal = createTerminal(io.stderr);
    terminal.line(`${terminal.bad('error:')} ${message}`);
    process.exitCode = exitCodeOf(error);
  }
}
