/** `db reset` and `db rollback`: the commands that delete rows. */
import { loadDatabaseConfig } from '../../config.ts';
import { AppError } from '../../domain/errors.ts';
import { recordRollback } from '../../services/audit/record-migrations.ts';
import { recreateDatabase } from '../../store/db/migrations.ts';
import { planRollback, type RollbackPlan, rollbackLast } from '../../store/db/rollback.ts';
import { databaseName } from '../../store/db/with-database.ts';
import { withDb } from '../support/database.ts';
import { UsageError } from '../support/errors.ts';
import { ask, type Context, migrationLabel, withUrl } from './context.ts';
import { applyMigrations } from './migrate.ts';

/** Databases of the server itself. */
const MAINTENANCE_DATABASES = ['postgres', 'template0', 'template1'];

/** @throws {AppError} FORBIDDEN when rows of production would be deleted without `--force`. */
function guardProduction({ io, flags }: Context): void {
  const { env, production } = loadDatabaseConfig(io.env);
  if (!production || flags.force === true) return;
  throw new AppError('FORBIDDEN', { publicMessage: `ENV=${env}: nothing is dropped without --force` });
}

export async function reset(context: Context): Promise<void> {
  guardProduction(context);
  await withUrl(context, async (url) => {
    // The name as the driver reads it: what is confirmed and dropped is what it would connect to.
    const name = databaseName(url.href);
    if (name === '' || MAINTENANCE_DATABASES.includes(name)) {
      throw new UsageError(`the database URL must name a database of its own, not "${name}"`);
    }
    if (!(await confirmed(context, 'This deletes every row.', name))) {
      return context.print({ reset: false, database: name, applied: [] }, NOT_CONFIRMED);
    }
    await recreateDatabase(url, name);
    await applyMigrations(context, url, undefined, { reset: true, database: name });
  });
}

const NOT_CONFIRMED = ['', 'the name does not match: nothing done'];

/** With `--yes`, or when the name of the database was typed. */
async function confirmed(context: Context, warning: string, name: string): Promise<boolean> {
  if (context.flags.yes === true) return true;
  return (await ask(context, `${warning} Type the name of the database (${name}) to go on: `)) === name;
}

export async function rollback(context: Context): Promise<void> {
  guardProduction(context);
  await withUrl(context, async (url) => {
    const plan = await withDb(url.href, planRollback);
    if (plan === undefined) return context.print({ rolledBack: null }, ['nothing to roll back']);
    const warning = describeRollback(plan);
    if (!(await confirmed(context, warning, databaseName(url.href)))) {
      return context.print({ rolledBack: null }, NOT_CONFIRMED);
    }
    const options = { expected: plan.name, dropRows: context.flags.dropRows === true, record: recordRollback };
    const name = await withDb(url.href, (db) => rollbackLast(db, options));
    context.print({ rolledBack: name ?? null }, [`rolled back  ${name}`]);
  });
}

/** What will go, in one sentence. */
function describeRollback({ name, tables, columns }: RollbackPlan): string {
  const parts = [
    ...tables.map((table) => `the table ${table.name} (${table.estimated ? 'about ' : ''}${table.rows} rows)`),
    ...columns.map((column) => `the column ${column}`),
  ];
  const what = parts.length === 0 ? 'drops no table and no column' : `drops ${parts.join(', ')}`;
  return `Rolling back ${migrationLabel(name)} ${what}.`;
}
