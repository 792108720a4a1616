/** `audit list|export`: what was recorded, for operators. */
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { type Command, Option } from 'commander';
import { AUDIT_ACTIONS, AUDIT_ACTOR_TYPES, AUDIT_OUTCOMES, AUDIT_TARGETS } from '../domain/audit.ts';
import { EXPORT_FORMATS, type ExportFormat, exportAudit, shownEvent } from '../services/audit/export-audit.ts';
import { type AuditFilterTexts, readAuditFilter, readAuditPage } from '../services/audit/read-audit.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import type { StoredAuditEvent } from '../store/audit/audit-list.ts';
import { type CommandIo, type CommandRun, runCommand } from './support/command.ts';
import { withCommandDb } from './support/database.ts';
import { wholeNumber, withDatabaseOptions } from './support/options.ts';
import { printable, table } from './support/terminal.ts';

interface Flags extends AuditFilterTexts {
  database?: string;
  json?: boolean;
}

interface ListFlags extends Flags {
  limit: number;
  cursor?: string;
}

interface ExportFlags extends Flags {
  format: ExportFormat;
  out: string;
}

/** Adds the `audit` commands. A command that fails prints why and sets the exit code. */
export function registerAuditCommands(program: Command, io: CommandIo = process): void {
  const audit = program.command('audit').description('what was done, by whom, to what');
  withFilterOptions(withDatabaseOptions(audit.command('list')))
    .description('events, newest first')
    .option('-n, --limit <n>', 'number of events', wholeNumber(1, 1000), 50)
    .option('--cursor <cursor>', 'where the page before ended')
    .action((flags: ListFlags) => runCommand(io, flags, (run) => list(run, flags)));
  withFilterOptions(withDatabaseOptions(audit.command('export')))
    .description('write events to a file, newest first; the export is an event too')
    .addOption(new Option('--format <format>', 'csv is for spreadsheets').choices(EXPORT_FORMATS).default('csv'))
    .requiredOption('--out <file>', 'file to write; - is standard output')
    .action((flags: ExportFlags) => runCommand(io, flags, (run) => write(run, flags)));
}

const withFilterOptions = (command: Command): Command =>
  command
    .option('--action <actions>', `only these, separated by commas: ${AUDIT_ACTIONS.join(', ')}`)
    .option('--outcome <outcome>', `one of ${AUDIT_OUTCOMES.join(', ')}`)
    .option('--actor <actor>', `id of a user, or one of ${AUDIT_ACTOR_TYPES.join(', ')}`)
    .option('--target-type <type>', `one of ${AUDIT_TARGETS.join(', ')}`)
    .option('--target-id <id>', 'id of what it was about')
    .option('--user <user>', 'only events about or by this user: email address or id, also of a deleted user')
    .option('--from <time>', 'a day, or a time with its zone')
    .option('--to <time>', 'a day, which counts whole, or a time with its zone')
    .option('--request-id <id>', 'id of a request')
    .option('--network <digest>', 'digest of a network, as an event shows it');

async function list({ io, print }: CommandRun<CommandIo>, flags: ListFlags): Promise<void> {
  await withCommandDb(flags.database, io, async (db) => {
    const filter = await readAuditFilter(db, flags);
    const { events, nextCursor } = await readAuditPage(db, filter, flags);
    const header = ['at', 'action', 'outcome', 'by', 'target', 'network', 'details'];
    print({ events: events.map(shownEvent), nextCursor }, [
      ...(events.length === 0 ? ['no events'] : table(header, events.map(cells))),
      ...(nextCursor === null ? [] : [`more: --cursor ${nextCursor}`]),
    ]);
  });
}

function cells(event: StoredAuditEvent): string[] {
  return [
    event.at.toISOString(),
    event.action,
    event.outcome,
    event.actor?.email ?? event.actorId ?? event.actorType,
    event.target?.email ?? event.targetId ?? '',
    event.network ?? '',
    Object.entries(event.details ?? {})
      .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
      .join(' '),
  ].map(printable);
}

async function write({ io, print }: CommandRun<CommandIo>, flags: ExportFlags): Promise<void> {
  const { out } = flags;
  await withCommandDb(flags.database, io, async (db) => {
    const events = await exportAudit({ db }, OPERATOR, flags);
    if (out === '-') return pipeline(events, io.stdout, { end: false });
    // A failure leaves no file that looks whole.
    const part = `${out}.part`;
    try {
      await pipeline(events, createWriteStream(part, { mode: 0o600 }));
      await rename(part, out);
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
    return print({ file: out }, [`wrote ${out}`]);
  });
}
