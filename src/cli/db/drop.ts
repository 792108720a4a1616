/** `db reset` and `db rollback`: the commands that delete rows. */
import { loadDatabaseConfig } from '../../config.ts';
import { AppError } from '../../domain/errors.ts';
import { recreateDatabase, rollbackLast } from '../../store/db/migrations.ts';
import { databaseName } from '../../store/db/with-database.ts';
import { withDb } from '../support/database.ts';
import { UsageError } from '../support/errors.ts';
import { ask, type Context, withUrl } from './context.ts';
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
    if (context.flags.yes !== true) {
      const answer = await ask(context, `This deletes every row. Type the name of the database (${name}) to go on: `);
      if (answer !== name) {
        const lines = ['', 'the name does not match: nothing done'];
        return context.print({ reset: false, database: name, applied: [] }, lines);
      }
    }
    await recreateDatabase(url, name);
    await applyMigrations(context, url, undefined, { reset: true, database: name });
  });
}

export async function rollback(context: Context): Promise<void> {
  guardProduction(context);
  const name = await withUrl(context, (url) => withDb(url.href, rollbackLast));
  context.print({ rolledBack: name ?? null }, [name === undefined ? 'nothing to roll back' : `rolled back  ${name}`]);
}
