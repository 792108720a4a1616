/** `db list`: the migrations, their state, and the rows in their tables. */
import { type MigrationStatus, migrationStatus, UNITS } from '../../store/db/migrations.ts';
import { NoDatabaseUrl, withDb } from '../support/database.ts';
import type { Terminal } from '../support/terminal.ts';
import { type Context, migrationLabel, withUrl } from './context.ts';

/** Without a database the command still prints the names of the units. */
export async function list(context: Context): Promise<void> {
  let status: MigrationStatus[];
  try {
    status = await withUrl(context, (url) => withDb(url.href, migrationStatus));
  } catch (error) {
    if (error instanceof NoDatabaseUrl) {
      printNames(context);
      context.io.stderr.write(`${error.message}: the state of the migrations is unknown\n`);
      return;
    }
    if (!context.json) printNames(context);
    throw error;
  }
  context.print({ migrations: status }, statusLines(status, context.terminal));
}

function printNames({ print }: Context): void {
  print(
    { migrations: UNITS.map(({ file, number }) => ({ name: file, unit: number, state: null })) },
    UNITS.map((unit) => `${String(unit.number).padStart(3)}  ${unit.name}`),
  );
}

function statusLines(status: readonly MigrationStatus[], terminal: Terminal): string[] {
  const width = Math.max(...status.map(({ name }) => migrationLabel(name).length));
  return status.map(({ unit, name, state, appliedAt, tables }) => {
    const paint = state === 'applied' ? terminal.good : terminal.warn;
    const when = appliedAt === undefined ? ' '.repeat(16) : appliedAt.toISOString().slice(0, 16).replace('T', ' ');
    const counts = tables
      .filter((table) => table.rows !== null)
      .map((table) => `${table.name} ${table.estimated ? '~' : ''}${table.rows}`);
    const number = unit === undefined ? '' : String(unit);
    return [
      number.padStart(3),
      migrationLabel(name).padEnd(width),
      paint(state.padEnd(7)),
      when,
      terminal.dim(counts.join(', ')),
    ]
      .join('  ')
      .trimEnd();
  });
}
