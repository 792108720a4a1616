import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import { styleText } from 'node:util';
import { isCancel, multiselect } from '@clack/prompts';
import type { Command } from 'commander';
import { AppError, isAppError } from '../domain/errors.ts';
import type { Db } from '../store/db/db.ts';
import {
  findUnit,
  MIGRATIONS_DIRECTORY,
  type MigrateStep,
  type MigrationStatus,
  migrateLatest,
  migrationStatus,
  recreateDatabase,
  rollbackLast,
  UNITS,
  withRequired,
} from '../store/db/migrations.ts';
import { sqlState } from '../store/db/sql-errors.ts';
import { databaseName, withDatabase } from '../store/db/with-database.ts';

type Output = Writable & { isTTY?: boolean; hasColors?: () => boolean };

/** Where the commands read and write; the process by default. */
export interface DbCommandIo {
  stdin: Readable & { isTTY?: boolean };
  stdout: Output;
  stderr: Output;
  env: Record<string, string | undefined>;
}

export interface DbCommandOptions {
  /** Asked when neither `--database` nor DATABASE_URL is set, e.g. for the embedded database; `release` is called at the end. */
  resolveDatabaseUrl?: () => Promise<{ url: string; release: () => Promise<void> } | undefined>;
  io?: DbCommandIo;
}

/** What commander may hand over, over all commands. */
interface Flags {
  database?: string;
  json?: boolean;
  all?: boolean;
  units?: string;
  schema?: string;
  yes?: boolean;
  force?: boolean;
}

interface Context {
  io: DbCommandIo;
  resolve: NonNullable<DbCommandOptions['resolveDatabaseUrl']>;
  json: boolean;
  database: string | undefined;
}

const NO_URL = 'no database URL provided';

/** Adds `db init|migrate|reset|list|rollback|make`. A command that fails prints why and sets exit code 1. */
export function registerDbCommands(program: Command, options: DbCommandOptions = {}): void {
  const io: DbCommandIo = options.io ?? process;
  const resolve = options.resolveDatabaseUrl ?? (async () => undefined);
  const db = program.command('db').description('create, migrate and look at the database');
  const common = (command: Command): Command =>
    command
      .option('-d, --database <url>', 'postgres://… (default: DATABASE_URL)')
      .option('--json', 'print one JSON document and ask nothing');

  /** Runs a command; errors become a message and exit code 1. */
  const run = async (flags: Flags, work: (context: Context) => Promise<void>): Promise<void> => {
    const context: Context = { io, resolve, json: flags.json === true, database: flags.database };
    try {
      await work(context);
    } catch (error) {
      fail(context, error);
    }
  };

  common(db.command('init'))
    .description('create all tables; on a terminal, choose the schema units')
    .option('--all', 'all units, without asking')
    .option('--units <list>', 'these units and those they need, e.g. 1,2')
    .action((flags: Flags) => run(flags, (context) => init(context, flags)));
  common(db.command('migrate'))
    .description('apply what is pending; on a terminal, choose from a menu')
    .argument('[unit]', 'one schema unit: number, name or file name')
    .option('--schema <unit>', 'the same')
    .action((unit: string | undefined, flags: Flags) => run(flags, (context) => migrate(context, unit, flags)));
  common(db.command('reset'))
    .description('drop the database, create it again and apply everything')
    .option('--yes', 'do not ask for the name of the database')
    .option('--force', 'also when ENV=production')
    .action((flags: Flags) => run(flags, (context) => reset(context, flags)));
  common(db.command('list'))
    .description('schema units and our own migrations: applied or pending, and the rows in their tables')
    .action((flags: Flags) => run(flags, list));
  common(db.command('rollback'))
    .description('undo the last migration; its tables go with their rows')
    .option('--force', 'also when ENV=production')
    .action((flags: Flags) => run(flags, (context) => rollback(context, flags)));
  db.command('make')
    .description('write an empty migration')
    .argument('<name>', 'what it does, in snake_case')
    .option('--json', 'print one JSON document')
    .action((name: string, flags: Flags) =>
      run(flags, async (context) => {
        const file = await makeMigration(name, new Date());
        print(context, { file }, [`created ${file}`]);
      }),
    );
}

function print(context: Context, json: unknown, lines: readonly string[]): void {
  context.io.stdout.write(context.json ? `${JSON.stringify(json)}\n` : lines.map((line) => `${line}\n`).join(''));
}

function fail(context: Context, error: unknown): void {
  const message = describe(error);
  if (context.json) context.io.stdout.write(`${JSON.stringify({ error: message })}\n`);
  context.io.stderr.write(`${paint(context.io.stderr, 'red', 'error:')} ${message}\n`);
  process.exitCode = 1;
}

/** Connection errors to several addresses come as an AggregateError without a message of its own. */
function describe(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(describe).join('; ');
  // knex puts the whole statement in front of what the server said.
  if (error instanceof Error && sqlState(error) !== undefined)
    return error.message.split(' - ').at(-1) ?? error.message;
  return error instanceof Error ? error.message : String(error);
}

function paint(stream: Output, colour: 'red' | 'green' | 'yellow' | 'dim', text: string): string {
  return stream.isTTY === true && (stream.hasColors?.() ?? false)
    ? styleText(colour, text, { validateStream: false })
    : text;
}

const interactive = ({ io, json }: Context): boolean => !json && io.stdin.isTTY === true && io.stdout.isTTY === true;

/** Gives `work` the URL to use, and releases what lent it. */
async function withUrl<T>(context: Context, work: (url: URL) => Promise<T>): Promise<T> {
  const given = context.database ?? context.io.env['DATABASE_URL'];
  const lent = given === undefined || given === '' ? await context.resolve() : undefined;
  try {
    const text = given === undefined || given === '' ? lent?.url : given;
    if (text === undefined) throw new AppError('BAD_REQUEST', { detail: NO_URL });
    const url = URL.parse(text);
    // The text itself is never printed: it holds a password.
    if (url === null || !/^postgres(ql)?:$/.test(url.protocol)) {
      throw new AppError('BAD_REQUEST', { detail: 'the database URL must look like postgres://user@host:5432/name' });
    }
    return await work(url);
  } finally {
    await lent?.release();
  }
}

const withDb = <T>(url: URL, work: (db: Db) => Promise<T>): Promise<T> =>
  withDatabase({ connectionString: url.href, applicationName: 'nodebyte-cli', max: 2 }, work);

/** Applies units (or everything) and says so line by line. */
async function apply(
  context: Context,
  url: URL,
  units: readonly string[] | undefined,
  extra: object = {},
): Promise<void> {
  const started = performance.now();
  const { stdout } = context.io;
  let current = '';
  const onStep = ({ name, state }: MigrateStep): void => {
    current = name;
    if (context.json || state !== 'applied') return;
    stdout.write(`${paint(stdout, 'green', 'applied')}  ${label(name)}\n`);
  };
  let applied: string[];
  try {
    applied = await withDb(url, (db) => migrateLatest(db, { ...(units === undefined ? {} : { units }), onStep }));
  } catch (error) {
    throw current === '' ? error : new Error(`${label(current)}: ${describe(error)}`, { cause: error });
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const summary = applied.length === 0 ? 'nothing to do: up to date' : `${applied.length} applied in ${seconds} s`;
  print(context, { ...extra, applied }, [summary]);
}

const selectors = (list: string): string[] =>
  list
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

async function init(context: Context, flags: Flags): Promise<void> {
  if (flags.units !== undefined && flags.all !== true) {
    const units = selectors(flags.units);
    if (units.length === 0) throw new AppError('BAD_REQUEST', { detail: '--units names no schema unit' });
    withRequired(units);
    return withUrl(context, (url) => apply(context, url, units));
  }
  return withUrl(context, async (url) => {
    if (flags.all === true || !interactive(context)) return apply(context, url, undefined);
    const chosen = await multiselect({
      message: 'Which schema units? (those they need come too)',
      options: UNITS.map((unit) => ({ value: unit.name, label: unit.name, hint: unit.tables.join(', ') })),
      initialValues: UNITS.map((unit) => unit.name),
      required: true,
      input: context.io.stdin,
      output: context.io.stdout,
    });
    if (isCancel(chosen)) return print(context, {}, ['nothing done']);
    return apply(context, url, chosen.length === UNITS.length ? undefined : chosen);
  });
}

async function migrate(context: Context, unit: string | undefined, flags: Flags): Promise<void> {
  const selector = unit ?? flags.schema;
  if (selector !== undefined) {
    const { name } = findUnit(selector);
    return withUrl(context, (url) => apply(context, url, [name]));
  }
  return withUrl(context, async (url) => {
    if (!interactive(context)) return apply(context, url, undefined);
    const { stdout } = context.io;
    stdout.write(UNITS.map((one) => `${String(one.number).padStart(3)}  ${one.name}\n`).join(''));
    const answer = await ask(context, 'Numbers separated by commas, Enter = all, 0 = exit: ');
    const { units, invalid } = readMenu(answer ?? '0');
    for (const part of invalid) stdout.write(`${paint(stdout, 'yellow', 'skipped')}  ${part}: no such number\n`);
    if (units === 'none') return print(context, {}, ['nothing done']);
    return apply(context, url, units === 'all' ? undefined : units);
  });
}

/**
 * Reads the answer to the menu: numbers separated by commas; empty = all; a 0 = exit. What is no unit's number is
 * returned in `invalid` and skipped.
 */
export function readMenu(answer: string): { units: string[] | 'all' | 'none'; invalid: string[] } {
  const parts = selectors(answer);
  if (parts.length === 0) return { units: 'all', invalid: [] };
  if (parts.includes('0')) return { units: 'none', invalid: [] };
  const known = (part: string): boolean => /^\d+$/.test(part) && UNITS.some((unit) => unit.number === Number(part));
  const units = parts.filter(known);
  return { units: units.length === 0 ? 'none' : units, invalid: parts.filter((part) => !known(part)) };
}

/** One line of input, also from a pipe; `undefined` at its end. The question goes to stderr when stdout carries JSON. */
async function ask({ io, json }: Context, question: string): Promise<string | undefined> {
  const lines = createInterface({ input: io.stdin, terminal: false });
  (json ? io.stderr : io.stdout).write(question);
  try {
    for await (const line of lines) return line.trim();
    return undefined;
  } finally {
    lines.close();
  }
}

/** @throws {AppError} FORBIDDEN when rows of production would go without `--force`. */
function guardProduction({ io }: Context, flags: Flags): void {
  if (io.env['ENV'] !== 'production' || flags.force === true) return;
  throw new AppError('FORBIDDEN', { detail: 'ENV=production: nothing is dropped without --force' });
}

async function reset(context: Context, flags: Flags): Promise<void> {
  guardProduction(context, flags);
  await withUrl(context, async (url) => {
    // The driver's own reading of the URL: what is confirmed and dropped is what it would connect to.
    const name = databaseName(url.href);
    if (name === '' || ['postgres', 'template0', 'template1'].includes(name)) {
      throw new AppError('BAD_REQUEST', { detail: `the database URL must name a database of its own, not "${name}"` });
    }
    if (flags.yes !== true) {
      const answer = await ask(context, `This deletes every row. Type the name of the database (${name}) to go on: `);
      if (answer !== name) {
        return print(context, { reset: false, database: name, applied: [] }, [
          '',
          'the name does not match: nothing done',
        ]);
      }
    }
    await recreateDatabase(url, name);
    await apply(context, url, undefined, { reset: true, database: name });
  });
}

async function list(context: Context): Promise<void> {
  const names = (): void => {
    const migrations = UNITS.map(({ file, number }) => ({ name: file, unit: number, state: null }));
    print(
      context,
      { migrations },
      UNITS.map((unit) => `${String(unit.number).padStart(3)}  ${unit.name}`),
    );
  };
  try {
    const status = await withUrl(context, (url) => withDb(url, migrationStatus));
    print(context, { migrations: status }, listLines(context, status));
  } catch (error) {
    // The names can be told without a database; their state cannot.
    if (isAppError(error) && error.detail === NO_URL) {
      names();
      context.io.stderr.write(`${NO_URL}: what is applied cannot be told\n`);
      return;
    }
    if (!context.json) names();
    throw error;
  }
}

function listLines({ io: { stdout } }: Context, status: readonly MigrationStatus[]): string[] {
  const width = Math.max(...status.map(({ name }) => label(name).length));
  return status.map(({ unit, name, state, appliedAt, tables }) => {
    const word = paint(stdout, state === 'applied' ? 'green' : 'yellow', state.padEnd(7));
    const when = appliedAt === undefined ? ' '.repeat(16) : appliedAt.toISOString().slice(0, 16).replace('T', ' ');
    const counts = tables
      .filter((table) => table.rows !== null)
      .map((table) => `${table.name} ${table.estimated ? '~' : ''}${table.rows}`);
    const number = unit === undefined ? '' : String(unit);
    return `${number.padStart(3)}  ${label(name).padEnd(width)}  ${word}  ${when}  ${paint(stdout, 'dim', counts.join(', '))}`.trimEnd();
  });
}

const label = (file: string): string => file.replace(/\.ts$/, '').replace(/^\d{14}_(?=schema_)/, '');

async function rollback(context: Context, flags: Flags): Promise<void> {
  guardProduction(context, flags);
  const name = await withUrl(context, (url) => withDb(url, rollbackLast));
  print(context, { rolledBack: name ?? null }, [name === undefined ? 'nothing to roll back' : `rolled back  ${name}`]);
}

const TEMPLATE = `import type { Knex } from 'knex';

/** What this brings, and why. Must work on an empty database and on one in use. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('select 1');
}

/** Undoes it. */
export async function down(knex: Knex): Promise<void> {
  await knex.raw('select 1');
}
`;

/**
 * Writes an empty migration, named after the time (UTC) so that it sorts last.
 * @returns its file name.
 * @throws {AppError} BAD_REQUEST for a name that is not snake_case; CONFLICT when the file exists.
 */
export async function makeMigration(
  name: string,
  now: Date,
  directory: string = MIGRATIONS_DIRECTORY,
): Promise<string> {
  const slug = name
    .trim()
    .toLowerCase()
    .replace(/[\s-]+/g, '_');
  if (!/^[a-z][a-z0-9_]{0,80}$/.test(slug)) {
    throw new AppError('BAD_REQUEST', { detail: 'a migration is named with letters, digits and underscores' });
  }
  const file = `${now.toISOString().slice(0, 19).replace(/\D/g, '')}_${slug}.ts`;
  try {
    await writeFile(join(directory, file), TEMPLATE, { flag: 'wx' });
  } catch (error) {
    throw new AppError('CONFLICT', { detail: `${file} cannot be written`, cause: error });
  }
  return file;
}
