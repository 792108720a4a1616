/** `db init|migrate|reset|list|rollback|make`: the schema of the database. */
import type { Command } from 'commander';
import { type CommandIo, runCommand } from '../support/command.ts';
import { attach, type FindEmbedded } from '../support/database.ts';
import { withDatabaseOptions, withJson } from '../support/options.ts';
import { createTerminal } from '../support/terminal.ts';
import type { Context, Flags } from './context.ts';
import { reset, rollback } from './drop.ts';
import { list } from './list.ts';
import { makeMigration } from './make.ts';
import { init, migrate } from './migrate.ts';

export interface DbCommandOptions {
  io?: CommandIo | undefined;
  /** Asked when neither `--database` nor DATABASE_URL is set; default: the embedded database. */
  embedded?: FindEmbedded;
}

/** Adds the `db` commands. A command that fails prints why and sets the exit code. */
export function registerDbCommands(program: Command, options: DbCommandOptions = {}): void {
  const { io = process, embedded = attach } = options;
  const db = program.command('db').description('create, migrate and look at the database');
  const run = (flags: Flags, work: (context: Context) => Promise<void>): Promise<void> =>
    runCommand<CommandIo>(io, flags, (command) =>
      work({ ...command, flags, embedded, terminal: createTerminal(io.stdout) }),
    );

  withDatabaseOptions(db.command('init'))
    .description('create all tables; on a terminal, choose the schema units')
    .option('--all', 'all units, without asking')
    .option('--units <list>', 'these units and those they need, e.g. 1,2')
    .action((flags: Flags) => run(flags, init));
  withDatabaseOptions(db.command('migrate'))
    .description('apply pending migrations; on a terminal, choose from a menu')
    .argument('[unit]', 'one schema unit: number, name or file name')
    .option('--schema <unit>', 'the same')
    .option('--dry-run', 'apply them to a copy of the tables that is dropped again, and say what would happen')
    .action((unit: string | undefined, flags: Flags) => run(flags, (context) => migrate(context, unit)));
  withDatabaseOptions(db.command('reset'))
    .description('drop the database, create it again and apply everything')
    .option('--yes', 'do not ask for the name of the database')
    .option('--force', 'also when ENV is production or staging')
    .action((flags: Flags) => run(flags, reset));
  withDatabaseOptions(db.command('list'))
    .description('schema units and our own migrations: applied or pending, and the rows in their tables')
    .action((flags: Flags) => run(flags, list));
  withDatabaseOptions(db.command('rollback'))
    .description('undo the last migration: what it created is dropped, with its rows')
    .option('--yes', 'do not ask for the name of the database')
    .option('--drop-rows', 'also tables with rows of which no record says that this service created them')
    .option('--force', 'also when ENV is production or staging')
    .action((flags: Flags) => run(flags, rollback));
  withJson(db.command('make'))
    .description('write an empty migration')
    .argument('<name>', 'what it does, in snake_case')
    .action((name: string, flags: Flags) =>
      run(flags, async ({ print }) => {
        const file = await makeMigration(name, new Date());
        print({ file }, [`created ${file}`]);
      }),
    );
}
