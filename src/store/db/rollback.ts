/** Undoing the migration that was applied last. */
import { AppError } from '../../domain/errors.ts';
import {
  type CreatedObject,
  createdBy,
  forgetCreated,
  isRemembered,
  lostObjects,
  rememberFormer,
  takeSnapshot,
} from './created-objects.ts';
import type { Db, Transaction } from './db.ts';
import { appliedMigrations, forgetInFormerBook } from './migration-book.ts';
import { migrationNames, runMigration, step } from './migration-steps.ts';
import { type TableStatus, tableStatus, tablesOf } from './migrations.ts';

/** What earlier releases, which kept no record, created beside tables. */
const FORMER_OBJECTS: Readonly<Record<string, readonly CreatedObject[]>> = {
  '20260101001300_schema_13_hytale_server_link.ts': [
    { kind: 'foreign key', table: 'hytale_game_sessions', name: 'hytale_game_sessions_server_id_fkey' },
    { kind: 'index', table: 'hytale_game_sessions', name: 'idx_hytale_game_sessions_server_id' },
  ],
  '20260101001600_sync_runs.ts': [{ kind: 'index', table: 'sync_logs', name: 'sync_logs_one_active' }],
  '20260101001900_rate_limits.ts': [{ kind: 'function', table: '', name: 'take_rate_limit_tokens(json)' }],
  '20260101002000_outbox_order.ts': [
    { kind: 'index', table: 'outbox', name: 'idx_outbox_pending' },
    { kind: 'column', table: 'outbox', name: 'seq' },
  ],
  '20260101002100_sync_page_ids.ts': [{ kind: 'column', table: 'sync_pages', name: 'ids' }],
};

/** What the next rollback does. */
export interface RollbackPlan {
  name: string;
  /** Whether a record says what the migration created. Earlier releases kept none. */
  remembered: boolean;
  /** Tables that are dropped, with their rows. Without a record: those of the migration, perhaps the site's. */
  tables: readonly TableStatus[];
  /** `table.column` of the columns that are dropped from tables which stay. */
  columns: readonly string[];
}

/**
 * Looks up what `rollbackLast` would do.
 * @returns `undefined` when no migration is applied.
 * @throws {AppError} CONFLICT when the last migration belongs to a newer release.
 */
export async function planRollback(db: Db): Promise<RollbackPlan | undefined> {
  const known = await migrationNames();
  const name = [...(await appliedMigrations(db, known)).keys()].at(-1);
  if (name === undefined) return undefined;
  if (!known.includes(name)) {
    throw new AppError('CONFLICT', {
      publicMessage: `${name} is not part of this release and cannot be rolled back by it`,
    });
  }
  const remembered = await isRemembered(db, name);
  const created = remembered ? await createdBy(db, name) : [];
  const tables = remembered
    ? created.filter(({ kind }) => kind === 'table').map((table) => table.name)
    : [...tablesOf(name)];
  const status = await tableStatus(db, tables);
  return {
    name,
    remembered,
    tables: [...status.values()].filter(({ rows }) => rows !== null),
    columns: created.filter(({ kind }) => kind === 'column').map((one) => `${one.table}.${one.name}`),
  };
}

export interface RollbackOptions {
  /** Drops tables that hold rows although no record says that this service created them. */
  dropRows?: boolean;
  /** The migration that was agreed to. */
  expected?: string;
  /** Records the rollback, in its transaction. */
  record?: (trx: Transaction, name: string) => Promise<void>;
}

/**
 * Undoes the migration that was applied last: what it created is dropped, and nothing else.
 * @returns its name, or `undefined` when there was none.
 * @throws {AppError} CONFLICT when it belongs to a newer release, when it is not `expected`, when it would drop what it did
 *   not create, or when rows of the site could be lost and `dropRows` is not set. Nothing is changed then.
 */
export async function rollbackLast(db: Db, options: RollbackOptions = {}): Promise<string | undefined> {
  return step(db, async (trx) => {
    const plan = await planRollback(trx);
    if (plan === undefined) return undefined;
    if (options.expected !== undefined && options.expected !== plan.name) {
      throw new AppError('CONFLICT', { publicMessage: `the last migration is ${plan.name}, not ${options.expected}` });
    }
    if (!plan.remembered) await rememberEarlierRelease(trx, plan, options.dropRows === true);
    const created = await createdBy(trx, plan.name);
    const before = await takeSnapshot(trx);
    await runMigration(trx, plan.name, 'down');
    const lost = await lostObjects(trx, before, created);
    if (lost.length > 0) {
      const names = lost.map(({ kind, table, name }) => (kind === 'table' ? name : `${table}.${name}`));
      throw new AppError('CONFLICT', {
        publicMessage: `${plan.name} would drop ${names.join(', ')}, which it did not create: nothing was rolled back`,
      });
    }
    await forgetCreated(trx, plan.name);
    await forgetInFormerBook(trx, plan.name);
    await options.record?.(trx, plan.name);
    return plan.name;
  });
}

/** @throws {AppError} CONFLICT when tables hold rows that may be the site's and `dropRows` is not set. */
async function rememberEarlierRelease(trx: Transaction, plan: RollbackPlan, dropRows: boolean): Promise<void> {
  const filled = plan.tables.filter(({ rows }) => rows !== 0);
  if (filled.length > 0 && !dropRows) {
    throw new AppError('CONFLICT', {
      publicMessage:
        `${plan.name} was applied by an earlier release, which did not record whether it created or adopted its tables. ` +
        `They hold rows (${filled.map((t) => `${t.name} ${t.rows}`).join(', ')}), so nothing was rolled back. ` +
        '--drop-rows drops them with every row',
    });
  }
  await rememberFormer(
    trx,
    plan.name,
    plan.tables.map(({ name }) => name),
    FORMER_OBJECTS[plan.name] ?? [],
  );
}
