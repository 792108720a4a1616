/**
 * The record of applied migrations: `nodebyte_migrations`. Earlier releases used knex's default name, `knex_migrations`,
 * which a site that uses knex has as well.
 */
import type { Db, Transaction } from './db.ts';
import { execute, knexOf, query } from './query.ts';

/** Table of applied migrations; knex adds `_lock` for its lock row. */
export const BOOK = 'nodebyte_migrations';
/** The record of earlier releases, perhaps shared with the site. */
const FORMER_BOOK = 'knex_migrations';

async function isBook(db: Db, table: string): Promise<boolean> {
  const [row] = await query<{ found: boolean }>(
    db,
    `select count(*) = 4 as found from pg_attribute
      where attrelid = to_regclass(?) and attname in ('id', 'name', 'batch', 'migration_time') and not attisdropped`,
    [table],
  );
  return row?.found === true;
}

/**
 * Applied migrations and their times, in the order of their application; empty for a new database. Of the former record
 * only the rows of `ours` count.
 */
export async function appliedMigrations(db: Db, ours: readonly string[]): Promise<Map<string, Date>> {
  const columns = 'm.name, m.migration_time as "appliedAt"';
  const found = (await isBook(db, BOOK))
    ? await query<{ name: string; appliedAt: Date }>(db, `select ${columns} from ${BOOK} m order by m.id`)
    : (await isBook(db, FORMER_BOOK))
      ? await query<{ name: string; appliedAt: Date }>(
          db,
          `select ${columns} from ${FORMER_BOOK} m where m.name = any (?) order by m.id`,
          [ours],
        )
      : [];
  return new Map(found.map((row) => [row.name, row.appliedAt]));
}

/**
 * Creates the record when it is missing, and copies into it what the former record says about `ours`. Those rows stay in
 * the former record too, so that the former release still finds its migrations applied.
 */
export async function ensureBook(trx: Transaction, ours: readonly string[]): Promise<void> {
  const [book] = await query<{ found: boolean }>(trx, 'select to_regclass(?) is not null as found', [BOOK]);
  if (book?.found === true) return;
  // The shapes are knex's own, because knex writes the rows.
  await execute(
    trx,
    `create table ${BOOK} (id serial primary key, name varchar(255), batch integer, migration_time timestamptz);
     create table if not exists ${BOOK}_lock (index serial primary key, is_locked integer)`,
  );
  if (!(await isBook(trx, FORMER_BOOK))) return;
  await execute(
    trx,
    `insert into ${BOOK} (name, batch, migration_time)
     select name, batch, migration_time from ${FORMER_BOOK} where name = any (?) order by id`,
    [ours],
  );
}

/** Removes a rolled back migration from the former record, so that the former release applies it again. */
export async function forgetInFormerBook(trx: Transaction, name: string): Promise<void> {
  if (await isBook(trx, FORMER_BOOK)) await execute(trx, `delete from ${FORMER_BOOK} where name = ?`, [name]);
}

/** Frees knex's lock row. Only the holder of our transaction lock could have set it, and the caller has that lock. */
export async function freeBookLock(trx: Transaction): Promise<void> {
  await knexOf(trx).migrate.forceFreeMigrationsLock({ tableName: BOOK });
}
