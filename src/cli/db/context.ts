/** What the `db` commands have in common. */
import { createInterface } from 'node:readline/promises';
import type { SchemaGap } from '../../store/db/schema-gaps.ts';
import type { CommandIo, CommandRun } from '../support/command.ts';
import { type FindEmbedded, withDatabaseUrl } from '../support/database.ts';
import type { Terminal } from '../support/terminal.ts';

/** Flags of all `db` commands. */
export interface Flags {
  database?: string;
  json?: boolean;
  all?: boolean;
  units?: string;
  schema?: string;
  yes?: boolean;
  force?: boolean;
  dropRows?: boolean;
  dryRun?: boolean;
}

/** One run of a `db` command. */
export interface Context extends CommandRun<CommandIo> {
  /** Writes to stdout. */
  terminal: Terminal;
  flags: Flags;
  embedded: FindEmbedded;
}

/** A person can answer questions. */
export const isInteractive = ({ io, json }: Context): boolean =>
  !json && io.stdin.isTTY === true && io.stdout.isTTY === true;

/** Gives `work` the URL of the command's database. */
export const withUrl = <T>({ flags, io, embedded }: Context, work: (url: URL) => Promise<T>): Promise<T> =>
  withDatabaseUrl(flags.database, io, work, embedded);

/** One line of input, also from a pipe; `undefined` at its end. The question goes to stderr when stdout carries JSON. */
export async function ask({ io, json }: Context, question: string): Promise<string | undefined> {
  const lines = createInterface({ input: io.stdin, terminal: false });
  (json ? io.stderr : io.stdout).write(question);
  try {
    for await (const line of lines) return line.trim();
    return undefined;
  } finally {
    lines.close();
  }
}

/** Name of a migration as it is shown: without its ending, that of a unit also without its time. */
export const migrationLabel = (file: string): string => file.replace(/\.ts$/, '').replace(/^\d{14}_(?=schema_)/, '');

/** What could not be brought about, with advice. */
export function gapLines(gaps: readonly SchemaGap[], terminal: Terminal): string[] {
  if (gaps.length === 0) return [];
  return [
    `${gaps.length} ${gaps.length === 1 ? 'difference' : 'differences'} to the schema of this service could not be removed:`,
    ...gaps.flatMap(({ works, text, advice }) => [
      `  ${works ? terminal.warn('warning') : terminal.bad('failed ')}  ${text}`,
      ...(advice === undefined ? [] : [`           → ${advice}`]),
    ]),
  ];
}
