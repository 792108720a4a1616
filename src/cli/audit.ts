/** `audit list`: what was recorded of accounts, for operators. */
import type { Command } from 'commander';
import { isAppError } from '../domain/errors.ts';
import { findUserId } from '../store/accounts/user-list.ts';
import { listAuditEvents, type StoredAuditEvent } from '../store/audit/audit-list.ts';
import type { Db } from '../store/db/db.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { withCommandDb } from './support/database.ts';
import { wholeNumber, withDatabaseOptions } from './support/options.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  database?: string;
  json?: boolean;
  user?: string;
  limit: number;
}

/** Adds the `audit` commands. A command that fails prints why and sets the exit code. */
export function registerAuditCommands(program: Command, io: CommandIo = process): void {
  const audit = program.command('audit').description('security events');
  withDatabaseOptions(audit.command('list'))
    .description('security events, newest first')
    .option('--user <user>', 'only events of this user: email address or id, also of a deleted user')
    .option('-n, --limit <n>', 'number of events', wholeNumber(1, 1000), 50)
    .action((flags: Flags) =>
      runCommand(io, flags, ({ print }) =>
        withCommandDb(flags.database, io, async (db) => {
          const userId = flags.user === undefined ? undefined : await userIdOf(db, flags.user);
          const events = await listAuditEvents(db, { userId, limit: flags.limit });
          const header = ['at', 'action', 'outcome', 'by', 'account', 'network', 'details'];
          print({ events }, events.length === 0 ? ['no events'] : table(header, events.map(cells)));
        }),
      ),
    );
}

/** The id of the user; of a deleted user the id itself. */
async function userIdOf(db: Db, who: string): Promise<string> {
  try {
    return await findUserId(db, who);
  } catch (error) {
    if (!isAppError(error, 'NOT_FOUND')) throw error;
    return who.trim();
  }
}

function cells(event: StoredAuditEvent): string[] {
  return [
    event.at.toISOString(),
    event.action,
    event.outcome,
    event.actorType,
    event.targetId ?? '',
    event.network ?? '',
    Object.entries(event.details ?? {})
      .map(([key, value]) => `${key}=${String(value)}`)
      .join(' '),
  ].map(printable);
}
