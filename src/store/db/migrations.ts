import { AppError } from '../../domain/errors.ts';
import { rememberCreated, takeSnapshot } from './created-objects.ts';
import { createDb, type Db, type Transaction } from './db.ts';
import { appliedMigrations } from './migration-book.ts';
import { migrationNames, ownObjects, runMigration, type StepOptions, step } from './migration-steps.ts';
import { requireOwnNames } from './own-objects.ts';
import { execute, query } from './query.ts';
import { requireStatusWords } from './schema-words.ts';
import { createSchemas, requireSchema } from './schemas.ts';
import { ensureSearchIndexes, searchIndexes } from './search-indexes.ts';

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
  '20260101002600_address_proofs.ts': ['pending_accounts', 'used_tokens', 'panel_address_matches'],
  '20260101002700_setting_entries.ts': ['setting_entries', 'setup_window'],
  '20260101003500_server_usage.ts': ['server_usage', 'node_usage_pauses', 'usage_budget'],
  '20260101003900_webhook_deliveries.ts': [
    'webhook_deliveries',
    'webhook_attempts',
    'webhook_states',
    'webhook_pauses',
  ],
  '20260101004100_hytale_lifecycle.ts': ['hytale_logins'],
  '20260101004200_hytale_consoles.ts': ['hytale_consoles', 'hytale_log_gaps', 'hytale_pace'],
  '20260101004300_panel_identity.ts': ['sync_missing', 'sync_fallbacks'],
};

/** Migrations that close the runs which an earlier service left open. */
const STATUS_WRITERS: readonly string[] = ['20260101000700_schema_07_sync_logs.ts', '20260101001600_sync_runs.ts'];

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

export interface MigrateStep {
  /** File name of the migration. */
  name: string;
  state: 'started' | 'applied';
}

export interface MigrateOptions extends StepOptions {
  /** Units by number, name or file; those they need come too. Not given = everything, our own tables included. */
  units?: readonly string[];
  onStep?: (step: MigrateStep) => void;
  /** Records a migration, in its own transaction. */
  record?: (trx: Transaction, name: string) => Promise<void>;
}

/**
 * Applies what is pending, each migration in its own transaction, and stops at the first that fails. Safe to call from
 * several processes at once: they take turns.
 * @returns names of the migrations that this call applied.
 * @throws {AppError} BAD_REQUEST for an unknown unit, or a schema that does not exist; CONFLICT, before anything is applied, when the database has a table
 *   of its own under a name of ours, or takes no status of a run of ours; CONFLICT when a table stays locked; driver errors as they are.
 */
export async function migrateLatest(db: Db, options: MigrateOptions = {}): Promise<string[]> {
  // The records of ours are the first tables that are created.
  await requireSchema(db);
  const known = await migrationNames();
  const pending = await pendingOf(db, options.units);
  if (pending.length > 0) await step(db, (trx) => requireApplicable(trx, pending), options);
  const run: string[] = [];
  for (const name of pending) {
    options.onStep?.({ name, state: 'started' });
    const apply = async (trx: Transaction): Promise<boolean> => {
      // Another process may have done it while we waited for the lock.
      if ((await appliedMigrations(trx, known)).has(name)) return false;
      const found = await takeSnapshot(trx);
      await runMigration(trx, name, 'up');
      await rememberCreated(trx, name, found);
      await options.record?.(trx, name);
      return true;
    };
    const applied = await step(db, apply, options);
    if (!applied) continue;
    run.push(name);
    options.onStep?.({ name, state: 'applied' });
  }
  if (options.units === undefined) await completeSearchIndexes(db, options);
  return run;
}

/** Adds the indexes for searches when an operator has created their extension since the migration. */
async function completeSearchIndexes(db: Db, options: StepOptions): Promise<void> {
  if ((await searchIndexes(db)) !== 'missing') return;
  const complete = async (trx: Transaction): Promise<void> => {
    const found = await takeSnapshot(trx);
    await ensureSearchIndexes(trx);
    await rememberCreated(trx, '20260101003800_list_indexes.ts', found);
  };
  await step(db, complete, options);
}

/**
 * Looks for what would stop the migrations, before anything is applied.
 * @throws {AppError} as `migrateLatest` does.
 */
export async function requireApplicable(db: Db, pending: readonly string[]): Promise<void> {
  await requireSchema(db);
  const applied = await appliedMigrations(db, await migrationNames());
  const left = pending.filter((name) => !applied.has(name));
  if (left.some((name) => STATUS_WRITERS.includes(name))) await requireStatusWords(db);
  const own = await Promise.all(left.map((name) => ownObjects(name, OWN_TABLES[name] ?? [])));
  await requireOwnNames(db, {
    tables: own.flatMap(({ tables }) => tables),
    functions: own.flatMap(({ functions }) => functions),
  });
}

/**
 * Names of the migrations that this release has and the database has not.
 * @param units only these and those that they need.
 * @throws {AppError} BAD_REQUEST for an unknown unit.
 */
export async function pendingOf(db: Db, units?: readonly string[]): Promise<string[]> {
  const known = await migrationNames();
  const wanted = units === undefined ? known : withRequired(units).map((unit) => unit.file);
  const applied = await appliedMigrations(db, known);
  return wanted.filter((name) => !applied.has(name));
}

/** Names of all migrations that this release has and the database has not. */
export const pendingMigrations = (db: Db): Promise<string[]> => pendingOf(db);

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

/** Rows of the tables that exist. */
export async function tableStatus(db: Db, names: readonly string[]): Promise<Map<string, TableStatus>> {
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

/** Tables that the migration makes. */
export const tablesOf = (name: string): readonly string[] =>
  UNITS.find(({ file }) => file === name)?.tables ?? OWN_TABLES[name] ?? [];

/** Every migration of this release, and those of a newer one found in the database, with its tables and their rows. */
export async function migrationStatus(db: Db): Promise<MigrationStatus[]> {
  const known = await migrationNames();
  const applied = await appliedMigrations(db, known);
  const unitOf = new Map(UNITS.map((one) => [one.file, one]));
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
  // The schema that the URL names was dropped with the database.
  const made = createDb({ connectionString: url.href, applicationName: 'nodebyte-cli', max: 1 });
  await createSchemas(made).finally(() => made.destroy());
}
