import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';
import { AppError } from '../../domain/errors.ts';
import { createDb, type Db, inTransaction, type Transaction } from './db.ts';
import { execute, knexOf, query } from './query.ts';

/** Where the migrations are, whatever the working directory. */
export const MIGRATIONS_DIRECTORY = fileURLToPath(new URL('../../../migrations/', import.meta.url));

/** One of the 15 parts of the schema that the web site shares. */
export interface Unit {
  number: number;
  /** e.g. `schema_01_users_auth` */
  name: string;
  /** Name of its migration, the same everywhere. */
  file: string;
  /** Numbers of the units whose tables it points at. */
  requires: readonly number[];
  /** Tables it makes, parents first. */
  tables: readonly string[];
}

const unit = (number: number, suffix: string, requires: readonly number[], tables: readonly string[]): Unit => {
  const nn = String(number).padStart(2, '0');
  return {
    number,
    name: `schema_${nn}_${suffix}`,
    file: `2026010100${nn}00_schema_${nn}_${suffix}.ts`,
    requires,
    tables,
  };
};

/** The units in the order they are applied. */
export const UNITS: readonly Unit[] = [
  unit(1, 'users_auth', [], ['users', 'sessions', 'password_reset_tokens', 'verification_tokens']),
  unit(
    2,
    'pterodactyl_sync',
    [],
    ['locations', 'nodes', 'allocations', 'nests', 'eggs', 'egg_variables', 'egg_properties'],
  ),
  unit(
    3,
    'servers',
    [1, 2],
    ['servers', 'server_variables', 'server_properties', 'server_databases', 'server_backups'],
  ),
  unit(4, 'billing', [1, 2, 3], ['products', 'invoices', 'invoice_items', 'payments']),
  unit(5, 'support_tickets', [1, 3], ['support_tickets', 'support_ticket_replies']),
  unit(6, 'discord_webhooks', [], ['discord_webhooks']),
  unit(7, 'sync_logs', [], ['sync_logs']),
  unit(8, 'config', [], ['config']),
  unit(9, 'hytale', [], ['hytale_oauth_tokens', 'hytale_game_sessions']),
  unit(10, 'hytale_audit', [], ['hytale_audit_logs']),
  unit(11, 'hytale_server_logs', [3], ['hytale_server_logs', 'hytale_log_sync_state']),
  unit(12, 'server_subusers', [1, 3], ['server_subusers']),
  unit(13, 'hytale_server_link', [3, 9], []),
  unit(14, 'partners', [1], ['partners', 'partner_services', 'partner_revenue_sharing']),
  unit(15, 'careers', [1], ['job_positions', 'job_applications', 'job_application_activity']),
];

/** Tables of the migrations that belong to no unit. */
export const OWN_TABLES: Readonly<Record<string, readonly string[]>> = {
  '20260101001600_sync_runs.ts': ['sync_pages', 'sync_runs', 'sync_failures'],
  '20260101001700_outbox.ts': ['outbox'],
  '20260101001800_emails.ts': ['emails'],
  '20260101001900_rate_limits.ts': ['rate_limits'],
  '20260101002400_audit_events.ts': ['audit_events'],
  '20260101002500_account_networks.ts': ['account_networks'],
};

/** Name of the transaction lock that every migrating process takes first, so two never migrate at once. */
const LOCK_KEY = 'nodebyte-migrations';

async function migrationNames(): Promise<string[]> {
  const files = await readdir(MIGRATIONS_DIRECTORY);
  return files.filter((file) => /^\d{14}_\w+\.ts$/.test(file)).sort();
}

type Direction = 'up' | 'down';

async function loadMigration(name: string): Promise<Record<Direction, (knex: Knex) => Promise<void>>> {
  const module: unknown = await import(new URL(`../../../migrations/${name}`, import.meta.url).href);
  if (!isMigration(module)) throw new Error(`${name} does not export up and down`);
  return module;
}

function isMigration(module: unknown): module is Record<Direction, (knex: Knex) => Promise<void>> {
  if (typeof module !== 'object' || module === null || !('up' in module) || !('down' in module)) return false;
  return typeof module.up === 'function' && typeof module.down === 'function';
}

/**
 * Runs one migration by knex, which records it in `knex_migrations`. knex prints a failed statement to stdout, where a
 * command may be writing JSON. So the failure is hidden from knex behind a savepoint and thrown here; the transaction
 * around it rolls the record back as well.
 */
async function runMigration(trx: Transaction, name: string, direction: Direction): Promise<void> {
  const failures: unknown[] = [];
  const migration = await loadMigration(name);
  const hidden = async (knex: Knex): Promise<void> => {
    try {
      await knex.transaction((savepoint) => migration[direction](savepoint));
    } catch (error) {
      failures.push(error);
    }
  };
  const names = await migrationNames();
  await knexOf(trx).migrate[direction]({
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

/**
 * Finds a unit by number (`3`, `03`), name (`schema_03_servers`, `03_servers`, `servers`) or file name.
 * @throws {AppError} BAD_REQUEST when there is none.
 */
export function findUnit(selector: string): Unit {
  const wanted = selector
    .trim()
    .toLowerCase()
    .replace(/^.*[\\/]/, '')
    .replace(/\.(ts|sql)$/, '');
  const found = UNITS.find(
    ({ number, name, file }) =>
      [file.replace(/\.ts$/, ''), name, name.slice('schema_'.length), name.slice('schema_00_'.length)].includes(
        wanted,
      ) ||
      (/^\d{1,2}$/.test(wanted) && Number(wanted) === number),
  );
  if (found === undefined)
    throw new AppError('BAD_REQUEST', { publicMessage: `no such schema unit: ${selector.trim()}` });
  return found;
}

/** The chosen units and every unit they need, in the order they are applied. */
export function withRequired(selectors: readonly string[]): Unit[] {
  const chosen = new Set<number>();
  const choose = (one: Unit): void => {
    if (chosen.has(one.number)) return;
    chosen.add(one.number);
    for (const required of UNITS.filter((other) => one.requires.includes(other.number))) choose(required);
  };
  for (const selector of selectors) choose(findUnit(selector));
  return UNITS.filter((one) => chosen.has(one.number));
}

/** Applied migrations and their times. Empty for a new database. */
async function appliedMigrations(db: Db): Promise<Map<string, Date>> {
  const [table] = await query<{ found: boolean }>(db, "select to_regclass('knex_migrations') is not null as found");
  if (table?.found !== true) return new Map();
  const found = await query<{ name: string; appliedAt: Date }>(
    db,
    'select m.name, m.migration_time as "appliedAt" from knex_migrations m order by m.id',
  );
  return new Map(found.map((row) => [row.name, row.appliedAt]));
}

/**
 * One migration step in a transaction of its own: the lock, no time limits (an index on a large table takes what it
 * takes), and knex's own lock row freed. Only its holder could have set that row, and we hold the lock, so it is a
 * left-over of a killed process.
 */
async function step<T>(db: Db, work: (trx: Transaction) => Promise<T>): Promise<T> {
  return inTransaction(db, async (trx) => {
    await execute(trx, 'set local statement_timeout = 0; set local lock_timeout = 0');
    await execute(trx, 'select pg_advisory_xact_lock(hashtext(?))', [LOCK_KEY]);
    // A statement that waits for a table lock blocks all later ones: it fails, and the migration is run again.
    await execute(trx, "set local lock_timeout = '60s'");
    await knexOf(trx).migrate.forceFreeMigrationsLock();
    return work(trx);
  });
}

export interface MigrateStep {
  /** File name of the migration. */
  name: string;
  state: 'started' | 'applied';
}

export interface MigrateOptions {
  /** Units by number, name or file; those they need come too. Not given = everything, our own tables included. */
  units?: readonly string[];
  onStep?: (step: MigrateStep) => void;
}

/**
 * Applies what is pending, each migration in its own transaction, and stops at the first that fails. Safe to call from
 * several processes at once: they take turns.
 * @returns names of the migrations that this call applied.
 * @throws {AppError} BAD_REQUEST for an unknown unit; driver errors as they are.
 */
export async function migrateLatest(db: Db, options: MigrateOptions = {}): Promise<string[]> {
  const wanted = options.units === undefined ? await migrationNames() : withRequired(options.units).map((u) => u.file);
  const before = await appliedMigrations(db);
  const run: string[] = [];
  for (const name of wanted) {
    if (before.has(name)) continue;
    options.onStep?.({ name, state: 'started' });
    const applied = await step(db, async (trx) => {
      // Another process may have done it while we waited for the lock.
      if ((await appliedMigrations(trx)).has(name)) return false;
      await runMigration(trx, name, 'up');
      return true;
    });
    if (!applied) continue;
    run.push(name);
    options.onStep?.({ name, state: 'applied' });
  }
  return run;
}

/** Names of the migrations that this release has and the database has not. */
export async function pendingMigrations(db: Db): Promise<string[]> {
  const applied = await appliedMigrations(db);
  return (await migrationNames()).filter((name) => !applied.has(name));
}

/**
 * Undoes the migration that was applied last. Its tables go with their rows.
 * @returns its name, or `undefined` when there was none.
 * @throws {AppError} CONFLICT when it belongs to a newer release.
 */
export async function rollbackLast(db: Db): Promise<string | undefined> {
  return step(db, async (trx) => {
    const name = [...(await appliedMigrations(trx)).keys()].at(-1);
    if (name === undefined) return undefined;
    if (!(await migrationNames()).includes(name)) {
      throw new AppError('CONFLICT', {
        publicMessage: `${name} is not part of this release and cannot be rolled back by it`,
      });
    }
    await runMigration(trx, name, 'down');
    return name;
  });
}

export interface TableStatus {
  name: string;
  /** `null` = the table is not there. */
  rows: number | null;
  /** The count is the planner's estimate, because the table is large. */
  estimated: boolean;
}

export interface MigrationStatus {
  name: string;
  /** Number of the schema unit; `undefined` for our own migrations and those of a newer release. */
  unit: number | undefined;
  state: 'applied' | 'pending' | 'unknown';
  appliedAt: Date | undefined;
  tables: readonly TableStatus[];
}

/** Above this many rows a count costs more than the answer is worth. */
const EXACT_COUNT_LIMIT = 200_000;

async function tableStatus(db: Db, names: readonly string[]): Promise<Map<string, TableStatus>> {
  const found = await query<{ name: string; estimate: number; bytes: string }>(
    db,
    `select n.name, c.reltuples::float8 as estimate, pg_relation_size(c.oid)::text as bytes
       from unnest(?::text[]) as n(name) join pg_class c on c.oid = to_regclass(quote_ident(n.name))`,
    [names],
  );
  const status = new Map<string, TableStatus>(names.map((name) => [name, { name, rows: null, estimated: false }]));
  // A table that was never analysed has no estimate: then its size decides.
  const large = found.filter((t) => t.estimate > EXACT_COUNT_LIMIT);
  const small = found.filter((t) => t.estimate <= EXACT_COUNT_LIMIT);
  for (const t of large) status.set(t.name, { name: t.name, rows: Math.round(t.estimate), estimated: true });
  if (small.length === 0) return status;
  const counts = await query<{ name: string; count: string }>(
    db,
    small.map(() => 'select ?::text as name, count(*)::text as count from ??').join(' union all '),
    small.flatMap((t) => [t.name, t.name]),
  );
  for (const { name, count } of counts) status.set(name, { name, rows: Number(count), estimated: false });
  return status;
}

/** Every migration of this release, and those of a newer one found in the database, with its tables and their rows. */
export async function migrationStatus(db: Db): Promise<MigrationStatus[]> {
  const applied = await appliedMigrations(db);
  const known = await migrationNames();
  const unitOf = new Map(UNITS.map((one) => [one.file, one]));
  const tablesOf = (name: string): readonly string[] => unitOf.get(name)?.tables ?? OWN_TABLES[name] ?? [];
  const tables = await tableStatus(db, known.flatMap(tablesOf));
  const ours = known.map(
    (name): MigrationStatus => ({
      name,
      unit: unitOf.get(name)?.number,
      state: applied.has(name) ? 'applied' : 'pending',
      appliedAt: applied.get(name),
      tables: tablesOf(name).flatMap((table) => tables.get(table) ?? []),
    }),
  );
  const newer = [...applied]
    .filter(([name]) => !known.includes(name))
    .map(([name, appliedAt]): MigrationStatus => ({ name, unit: undefined, state: 'unknown', appliedAt, tables: [] }));
  return [...ours, ...newer];
}

/**
 * Drops the database `name` with everything in it, and creates it empty. Works from the maintenance database `postgres`
 * of the server of `url`; other connections to the database are ended.
 */
export async function recreateDatabase(url: URL, name: string): Promise<void> {
  const maintenance = new URL(url.href);
  maintenance.pathname = '/postgres';
  const quoted = `"${name.replaceAll('"', '""')}"`;
  // Neither statement may run in a transaction, and both take long for a large database.
  const db = createDb({
    connectionString: maintenance.href,
    applicationName: 'nodebyte-cli',
    max: 1,
    statementTimeoutMs: 0,
  });
  try {
    const [server] = await query<{ version: number }>(
      db,
      "select current_setting('server_version_num')::int as version",
    );
    if ((server?.version ?? 0) >= 130_000) {
      await execute(db, `drop database if exists ${quoted} with (force)`);
    } else {
      await execute(
        db,
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = ? and pid <> pg_backend_pid()',
        [name],
      );
      await execute(db, `drop database if exists ${quoted}`);
    }
    await execute(db, `create database ${quoted} encoding 'UTF8' template template0`);
  } finally {
    await db.destroy();
  }
}
