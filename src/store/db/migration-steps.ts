/** One migration at a time: where they are, how one runs, and the lock around it. */
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';
import { ensureMemory, nameRunning } from './created-objects.ts';
import { type Db, inTransaction, type Transaction } from './db.ts';
import { LOCK_PATIENCE, type LockPatience, withPatience } from './lock-patience.ts';
import { BOOK, ensureBook, freeBookLock } from './migration-book.ts';
import type { OwnFunction, OwnObjects } from './own-objects.ts';
import { execute, knexOf, query } from './query.ts';

/** Where the migrations are, whatever the working directory. */
export const MIGRATIONS_DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url));

/** Name of the transaction lock that every migrating process takes first, so two never migrate at once. */
const LOCK_KEY = 'nodebyte-migrations';

/** File names of the migrations of this release, in order. */
export async function migrationNames(): Promise<string[]> {
  const files = await readdir(MIGRATIONS_DIRECTORY);
  return files.filter((file) => /^\d{14}_\w+\.ts$/.test(file)).sort();
}

type Direction = 'up' | 'down';

interface Migration extends Record<Direction, (knex: Knex) => Promise<void>> {
  /** Exported beside by a migration that creates tables or functions of our own. */
  TABLES?: readonly Table[];
  FUNCTIONS?: readonly OwnFunction[];
}

async function loadMigration(name: string): Promise<Migration> {
  const module: unknown = await import(new URL(`../../../migrations/${name}`, import.meta.url).href);
  if (!isMigration(module)) throw new Error(`${name} does not export up and down`);
  return module;
}

function isMigration(module: unknown): module is Migration {
  if (typeof module !== 'object' || module === null || !('up' in module) || !('down' in module)) return false;
  return typeof module.up === 'function' && typeof module.down === 'function';
}

/**
 * Runs one migration by knex, which records it in our book. knex prints a failed statement to stdout, where a
 * command may be writing JSON. So the failure is hidden from knex behind a savepoint and thrown here; the transaction
 * around it rolls the record back as well.
 */
export async function runMigration(trx: Transaction, name: string, direction: Direction): Promise<void> {
  const failures: unknown[] = [];
  const migration = await loadMigration(name);
  const hidden = async (knex: Knex): Promise<void> => {
    try {
      await nameRunning(trx, name);
      await knex.transaction((savepoint) => migration[direction](savepoint));
    } catch (error) {
      failures.push(error);
    }
  };
  const names = await migrationNames();
  await knexOf(trx).migrate[direction]({
    tableName: BOOK,
    migrationSource: {
      getMigrations: async () => names,
      getMigrationName: (one: string) => one,
      getMigration: async () => ({ up: hidden, down: hidden }),
    },
    // Migrations of a newer release may be recorded; they are unknown here and no reason to refuse.
    disableMigrationsListValidation: true,
    name,
  });
  for (const failure of failures) throw failure;
}

/** A table definition of a migration, as far as it is read here. */
interface Table {
  name: string;
  columns: readonly { name: string; type: string }[];
  uniques: readonly { name: string }[];
  indexes: readonly string[];
}

/** What the migration will create: the tables of `names`, and its functions. */
export async function ownObjects(migration: string, names: readonly string[]): Promise<OwnObjects> {
  const { TABLES = [], FUNCTIONS = [] } = await loadMigration(migration);
  const tables = names.map((name) => {
    const table = TABLES.find((one) => one.name === name);
    if (table === undefined) return { name, indexes: [] };
    const indexes = table.indexes.map((sql) => /^create (?:unique )?index if not exists (\w+)/.exec(sql)?.[1] ?? '');
    return {
      name,
      columns: table.columns.map((column) => ({ name: column.name, type: plainType(column.type) })),
      indexes: [...indexes, ...table.uniques.map((unique) => unique.name)].filter((index) => index !== ''),
    };
  });
  return { tables, functions: FUNCTIONS };
}

/** The type as pg_attribute has it: without precision, and without what only the default of a column says. */
const plainType = (type: string): string =>
  type
    .replace(/\([\d, ]+\)/, '')
    .replace(/ generated .*$/, '')
    .replace('bigserial', 'bigint')
    .replace('serial', 'integer');

export interface StepOptions {
  patience?: LockPatience;
  /** Receives why the step waits, before each further try. */
  onWait?: (reason: string) => void;
}

/**
 * One migration step in a transaction of its own: the lock, no limit of time (an index on a large table takes what it
 * takes), our records created, and knex's own lock row freed: only its holder could have set
 * that row, and we hold the lock, so it is a left-over of a killed process. `work` may run more than once.
 */
export async function step<T>(db: Db, work: (trx: Transaction) => Promise<T>, options: StepOptions = {}): Promise<T> {
  const { patience = LOCK_PATIENCE, onWait } = options;
  return withPatience(
    db,
    patience,
    (named) =>
      inTransaction(db, async (trx) => {
        await execute(trx, 'set local statement_timeout = 0; set local lock_timeout = 0');
        await execute(trx, 'select pg_advisory_xact_lock(hashtext(?))', [LOCK_KEY]);
        const [own] = await query<{ pid: number }>(
          trx,
          `select pg_backend_pid() as pid, set_config('lock_timeout', ?, true)`,
          [`${patience.lockTimeoutMs}ms`],
        );
        if (own !== undefined) named(own.pid);
        await ensureBook(trx, await migrationNames());
        await ensureMemory(trx);
        await freeBookLock(trx);
        return work(trx);
      }),
    onWait,
  );
}
