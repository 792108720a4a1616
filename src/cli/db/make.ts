/** `db make`: writes an empty migration. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../../domain/errors.ts';
import { MIGRATIONS_DIRECTORY } from '../../store/db/migration-steps.ts';

const TEMPLATE = `import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/** What this brings, and why. Must work on an empty database and on one in use. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw('select 1');
}

/** Drops what up created. A change of values is undone here as well. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
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
    throw new AppError('BAD_REQUEST', { publicMessage: 'a migration is named with letters, digits and underscores' });
  }
  const file = `${now.toISOString().slice(0, 19).replace(/\D/g, '')}_${slug}.ts`;
  try {
    await writeFile(join(directory, file), TEMPLATE, { flag: 'wx' });
  } catch (error) {
    throw new AppError('CONFLICT', { publicMessage: `${file} cannot be written`, cause: error });
  }
  return file;
}
