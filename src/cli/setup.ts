/** `setup status|open`: the time in which the first-run set-up needs no sign-in. */
import type { Command } from 'commander';
import { type Environment, loadDatabaseConfig } from '../config.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import {
  openSetup,
  type SetupStatus,
  type ShownSetting,
  setupStatus,
  storedWithoutSignIn,
} from '../services/settings/setup-window.ts';
import type { Db } from '../store/db/db.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { withCommandDb } from './support/database.ts';
import { withDatabaseOptions } from './support/options.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  database?: string;
  json?: boolean;
}

/** Adds the `setup` commands. A command that fails prints why and sets the exit code. */
export function registerSetupCommands(program: Command, io: CommandIo = process): void {
  const setup = program.command('setup').description('when the first-run set-up needs no sign-in');
  const show = (flags: Flags, act: (db: Db) => Promise<SetupStatus>): Promise<void> =>
    runCommand(io, flags, ({ print }) =>
      withCommandDb(flags.database, io, async (db) => {
        const status = await act(db);
        const stored = await storedWithoutSignIn(db);
        print({ ...status, storedWithoutSignIn: stored }, [...statusLines(status, io.env), ...storedLines(stored)]);
      }),
    );
  withDatabaseOptions(setup.command('status'))
    .description('whether the set-up is open, until when, and what was stored without sign-in')
    .action((flags: Flags) => show(flags, setupStatus));
  withDatabaseOptions(setup.command('open'))
    .description('open the set-up for 60 minutes; fails when a system administrator exists')
    .action((flags: Flags) => show(flags, (db) => openSetup(db, OPERATOR)));
}

/** How the set-up stands, as sentences. */
export function statusLines({ open, openUntil, administered }: SetupStatus, env: Environment): string[] {
  if (administered) return ['closed: a system administrator exists'];
  if (open) return [`open to everybody who reaches the api until ${openUntil?.toISOString()}`];
  const closed =
    openUntil === null
      ? 'not open yet: the first start of the api opens it for 60 minutes'
      : `closed since ${openUntil.toISOString()}: \`setup open\` opens it for 60 minutes`;
  return loadDatabaseConfig(env).production
    ? [closed]
    : [closed, 'outside production it stays open to this machine until there is a system administrator'];
}

/** A table of what was stored without sign-in; nothing when there is nothing. */
export const storedLines = (stored: readonly ShownSetting[]): string[] =>
  stored.length === 0
    ? []
    : [
        'stored without sign-in:',
        ...table(
          ['setting', 'value', 'stored'],
          stored.map(({ key, value, storedAt }) => [key, value, storedAt.toISOString()].map(printable)),
        ),
      ];
