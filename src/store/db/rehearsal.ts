/**
 * A rehearsal of the pending migrations (ADR 19): they are applied to a copy of the tables, in one transaction that is rolled
 * back. The tables themselves are only read.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { AppError } from '../../domain/errors.ts';
import { ensureMemory, MEMORY_SHAPE, rememberCreated, takeSnapshot } from './created-objects.ts';
import { type Db, inSavepoint, type Transaction } from './db.ts';
import { BOOK, ensureBook, freeBookLock } from './migration-book.ts';
import { MIGRATIONS_DIRECTORY, migrationNames, runMigration } from './migration-steps.ts';
import { OWN_TABLES, pendingOf, requireApplicable, UNITS } from './migrations.ts';
import { execute, knexOf, query } from './query.ts';
import {
  type CopiedTable,
  copySchema,
  type PostponedKey,
  postponeKeys,
  returnKeys,
  type SchemaCopy,
} from './schema-copy.ts';
import { type SchemaGap, schemaGaps } from './schema-gaps.ts';
import { isConnectionFailure, isPrivilegeMissing } from './sql-errors.ts';
import { type LockStrength, locksOfStatements } from './statement-locks.ts';

export interface RehearsedStep {
  name: string;
  /** How long it took in the copy. */
  seconds: number;
  /** Table → rows that it changed or deleted. */
  rows: Record<string, number>;
  /** Table → who waits for it while the migration runs. */
  locks: Record<string, LockStrength>;
}

export interface Rehearsal {
  /** Migrations that would be applied, in order. */
  steps: RehearsedStep[];
  /** The migration at which it would stop, and why: the error of the server, without values. */
  failed?: { name: string; error: unknown };
  /** What could not be brought about. Empty while migrations would stay pending. */
  gaps: SchemaGap[];
  /** Reasons for which the database itself would refuse what the copy allows. */
  refusals: string[];
  copied: CopiedTable[];
  /** What the copy lacks, in words. */
  lacks: string[];
}

const SHARED = UNITS.flatMap((unit) => unit.tables);
const ALL = [...SHARED, ...Object.values(OWN_TABLES).flat(), BOOK, `${BOOK}_lock`, MEMORY_SHAPE.name];
const BOOKS = new Set([BOOK, `${BOOK}_lock`, MEMORY_SHAPE.name]);

/** Ends the transaction of a rehearsal that went well. */
class Undo extends Error {}

/**
 * Applies the pending migrations to a copy, and rolls everything back.
 * @param units as for `migrateLatest`.
 * @throws {AppError} what `migrateLatest` refuses before anything is applied; FORBIDDEN when the role may not create a schema.
 */
export async function rehearse(db: Db, units?: readonly string[]): Promise<Rehearsal> {
  const pending = await pendingOf(db, units);
  await requireApplicable(db, pending);
  const result: Rehearsal = { steps: [], gaps: [], refusals: await missingOwnership(db), copied: [], lacks: [] };
  if (pending.length === 0) return { ...result, gaps: units === undefined ? await schemaGaps(db) : [] };
  const withRows = new Set([...(await tablesNamedIn(pending)), ...BOOKS]);
  try {
    // One moment for all tables: a row is not copied without the row that it references.
    await knexOf(db).transaction(
      async (knex) => {
        const trx = knex as unknown as Transaction;
        await execute(trx, `set local statement_timeout = 0; set local lock_timeout = '2500ms'`);
        await execute(trx, `set local application_name = 'nodebyte-rehearsal'`);
        const schema = `nodebyte_rehearsal_${randomBytes(4).toString('hex')}`;
        const copy = await copySchema(trx, { schema, names: ALL, withRows });
        result.copied = copy.tables.filter(({ name }) => !BOOKS.has(name));
        result.lacks = copy.lacks;
        await applyToCopy(db, trx, { pending, copy, result });
        if (result.failed === undefined && (await pendingOf(trx)).length === 0)
          result.gaps = await gapsOf(db, trx, copy);
        throw new Undo();
      },
      { isolationLevel: 'repeatable read' },
    );
  } catch (error) {
    if (error instanceof Undo) return result;
    if (isPrivilegeMissing(error)) {
      throw new AppError('FORBIDDEN', {
        publicMessage:
          'a rehearsal copies tables into a schema that it drops again, and this role may not do that. Give it ' +
          '"create on database" and "select" on the tables, or rehearse on a restored dump (--database)',
        cause: error,
      });
    }
    throw error;
  }
  return result;
}

/** What stays: from the copy where rows were copied, else from the tables themselves, which no pending migration names. */
async function gapsOf(db: Db, trx: Transaction, copy: SchemaCopy): Promise<SchemaGap[]> {
  const left = new Set(copy.tables.filter(({ rows }) => rows === null).map(({ name }) => name));
  const found = [
    ...(await schemaGaps(trx)).filter(({ table }) => !left.has(table)),
    ...(await schemaGaps(db)).filter(({ table }) => left.has(table)),
  ];
  return found.sort((a, b) => Number(a.works) - Number(b.works));
}

/** The migrations one after the other, as far as the first that fails. */
async function applyToCopy(
  db: Db,
  trx: Transaction,
  { pending, copy, result }: { pending: readonly string[]; copy: SchemaCopy; result: Rehearsal },
): Promise<void> {
  await ensureBook(trx, await migrationNames());
  await ensureMemory(trx);
  await freeBookLock(trx);
  const tables = new Set(copy.tables.map(({ name }) => name).filter((name) => !BOOKS.has(name)));
  const postponed: PostponedKey[] = await postponeKeys(trx, copy.schema);
  for (const name of pending) {
    const found = await takeSnapshot(trx);
    const startedAt = performance.now();
    const watch = watchStatements(db);
    try {
      await inSavepoint(trx, async () => {
        await runMigration(trx, name, 'up');
        await rememberCreated(trx, name, found);
      });
    } catch (error) {
      if (isConnectionFailure(error)) throw error;
      result.failed = { name, error };
      return;
    } finally {
      watch.stop();
    }
    const seconds = Math.round(performance.now() - startedAt) / 1000;
    // An index may have been created by a migration before this one.
    const indexes = [...found.values()]
      .filter(({ kind }) => kind === 'index')
      .map(({ name: n, table }) => [n, table] as const);
    const locks = locksOfStatements(watch.texts, tables, new Map([...copy.belongsTo, ...indexes]));
    result.steps.push({ name, seconds, rows: watch.rows(tables), locks: Object.fromEntries(locks) });
    postponed.push(...(await postponeKeys(trx, copy.schema)));
  }
  await returnKeys(trx, postponed);
}

interface Watch {
  texts: string[];
  /** Rows of these tables that statements changed. */
  rows(tables: ReadonlySet<string>): Record<string, number>;
  stop(): void;
}

/** Writes down the statements that the pool runs from now on, and how many rows each changed. */
function watchStatements(db: Db): Watch {
  const texts: string[] = [];
  const changed: { table: string; rows: number }[] = [];
  const onQuery = ({ sql }: { sql: string }): void => void texts.push(sql);
  const onResponse = (response: unknown, { sql }: { sql: string }): void => {
    const parts = [...sql.matchAll(/\b(?:update|delete from)\s+"?(\w+)"?/g)].map(([, table = '']) => table);
    const results = (Array.isArray(response) ? response : [response]) as {
      command?: string;
      rowCount?: number | null;
    }[];
    const changes = results.filter(({ command }) => command === 'UPDATE' || command === 'DELETE');
    for (const [n, { rowCount }] of changes.entries()) changed.push({ table: parts[n] ?? '', rows: rowCount ?? 0 });
  };
  const pool = knexOf(db);
  pool.on('query', onQuery).on('query-response', onResponse);
  return {
    texts,
    rows: (tables) => {
      const sums: Record<string, number> = {};
      for (const { table, rows } of changed) {
        if (tables.has(table) && rows > 0) sums[table] = (sums[table] ?? 0) + rows;
      }
      return sums;
    },
    stop: () => void pool.removeListener('query', onQuery).removeListener('query-response', onResponse),
  };
}

/** Tables of ours that the text of one of these migrations names: only their rows can be changed by them. */
async function tablesNamedIn(migrations: readonly string[]): Promise<string[]> {
  const texts = await Promise.all(migrations.map((name) => readFile(`${MIGRATIONS_DIRECTORY}${name}`, 'utf8')));
  const words = new Set(texts.flatMap((text) => text.match(/\w+/g) ?? []));
  return ALL.filter((table) => words.has(table));
}

/** Shared tables that belong to another role: only their owner can alter them. */
async function missingOwnership(db: Db): Promise<string[]> {
  const rows = await query<{ name: string; owner: string; role: string }>(
    db,
    `select n.name, pg_get_userbyid(c.relowner) as owner, current_user as role
       from unnest(?::text[]) as n(name) join pg_class c on c.oid = to_regclass(quote_ident(n.name))
      where not pg_has_role(c.relowner, 'usage') order by 1`,
    [SHARED],
  );
  return rows.map(({ name, owner, role }) => `${name} belongs to the role ${owner}: ${role} cannot alter it`);
}
