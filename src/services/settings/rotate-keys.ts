/**
 * The rotation of the encryption key: every encrypted value is stored again with the new key, and what is still in clear
 * is encrypted. One transaction, so that it happens completely or not at all. It runs beside api and workers: they read
 * with either key, and a writer of a row waits until the rotation has ended.
 */
import type { Logger } from 'pino';
import type { AuditOrigin } from '../../domain/audit.ts';
import type { Secret } from '../../domain/secret.ts';
import { type KeyHistory, keyHistory } from '../../store/audit/key-rotations.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import {
  ENCRYPTED_TABLE_NAMES,
  type EncryptedColumn,
  type EncryptedTableName,
} from '../../store/db/encrypted-columns.ts';
import {
  columnsOf,
  countEmpty,
  type EncryptedRow,
  lockRotation,
  readEncrypted,
  writeEncrypted,
} from '../../store/db/encrypted-rows.ts';
import { createEncryption, type Encryption, keyId, type StoredState } from '../../store/db/encryption.ts';
import { type RunningProcess, runningProcesses } from '../../store/db/running-processes.ts';
import { isConcurrencyFailure } from '../../store/db/sql-errors.ts';
import { lockSettings, notifySettings } from '../../store/settings/config-store.ts';
import { recordChange } from '../audit/record-change.ts';

/** The keys of a rotation. */
export interface RotationKeys {
  key: Secret;
  /** The key before; undefined: values in clear are encrypted, and nothing else changes. */
  previousKey: Secret | undefined;
}

/** How the values of one column were stored when they were read. */
export type ColumnCounts = { column: EncryptedColumn } & Record<StoredState, number>;

/** What stands in the way of a rotation, or remains after it. */
export type KeyProblem = 'other-key-runs' | 'key-was-replaced' | 'no-value-readable' | 'unreadable' | 'previous-unused';

export interface KeyReport {
  columns: ColumnCounts[];
  totals: Record<StoredState, number>;
  /** Values that neither key opens, by column and key of their row; the first 100. */
  unreadable: { column: EncryptedColumn; key: string }[];
  keyId: string;
  previousKeyId: string | undefined;
  /** Running processes that encrypt with another key than this one. */
  otherKeyRuns: RunningProcess[];
  history: KeyHistory;
  problem: KeyProblem | undefined;
}

interface KeyDeps {
  db: Db;
  keys: RotationKeys;
  log?: Logger | undefined;
}

/** Rows per statement. An email has some kilobytes, and at most a quarter of a megabyte. */
const BATCH = 250;
const MAX_LISTED = 100;
/** Times that the transaction is repeated after a conflict with another writer. */
const RETRIES = 3;

/** Problems because of which nothing is changed, unless the operator insists. */
const REFUSALS: readonly (KeyProblem | undefined)[] = ['other-key-runs', 'key-was-replaced', 'no-value-readable'];

/** Looks at every encrypted value and changes nothing. */
export async function inspectKeys({ db, keys }: Pick<KeyDeps, 'db' | 'keys'>): Promise<KeyReport> {
  const walked = newWalk();
  for (const name of ENCRYPTED_TABLE_NAMES) await walkTable(db, name, createEncryption(keys), walked, undefined);
  return report(db, keys, walked);
}

/**
 * Rotates. A second run finds nothing to do and writes nothing. Values that neither key opens stay as they are.
 * @param options `force`: also when it looks as if the keys were wrong.
 * @returns what was found, and whether something was changed.
 */
export async function rotateKeys(
  deps: KeyDeps,
  by: AuditOrigin,
  options: { force?: boolean } = {},
): Promise<KeyReport & { changed: boolean }> {
  const found = await inspectKeys(deps);
  const refused = REFUSALS.includes(found.problem) && options.force !== true;
  if (refused || found.totals.previous + found.totals.clear === 0) return { ...found, changed: false };
  for (let retries = 0; ; retries += 1) {
    try {
      const walked = await inTransaction(deps.db, (trx) => rotateAll(trx, deps, by));
      const changed = walked.changed.size > 0;
      return { ...(await report(deps.db, deps.keys, walked)), changed };
    } catch (error) {
      if (!isConcurrencyFailure(error) || retries === RETRIES) throw error;
    }
  }
}

async function rotateAll(trx: Transaction, deps: KeyDeps, by: AuditOrigin): Promise<Walk> {
  await lockRotation(trx);
  const encryption = createEncryption(deps.keys);
  const walked = newWalk();
  for (const name of ENCRYPTED_TABLE_NAMES) {
    if (name === 'config') await lockSettings(trx);
    await walkTable(trx, name, encryption, walked, trx);
  }
  if (walked.changed.size === 0) return walked;
  if (walked.changed.has('config')) await notifySettings(trx);
  await recordChange({ trx, log: deps.log }, by, { action: 'keys-rotated', details: detailsOf(walked, deps.keys) });
  return walked;
}

/** What a walk over the encrypted columns found, and which tables it changed. */
interface Walk {
  columns: ColumnCounts[];
  unreadable: KeyReport['unreadable'];
  changed: Set<EncryptedTableName>;
}
const newWalk = (): Walk => ({ columns: [], unreadable: [], changed: new Set() });
const noCounts = (): Record<StoredState, number> => ({ current: 0, previous: 0, clear: 0, unreadable: 0, empty: 0 });

/** Walks one table, batch after batch. @param trx where changes are written; undefined: nothing is changed. */
async function walkTable(
  db: Db,
  name: EncryptedTableName,
  encryption: Encryption,
  walked: Walk,
  trx: Transaction | undefined,
): Promise<void> {
  const counts = columnsOf(name).map((column): ColumnCounts => ({ column, ...noCounts() }));
  for (let after: string | undefined; ; ) {
    const rows = await readEncrypted(db, name, { after, limit: BATCH, lock: trx !== undefined });
    const last = rows.at(-1);
    if (last === undefined) break;
    after = last.key;
    const rewritten = rows.map((row) => inspectRow(row, counts, encryption, walked));
    const changed = rewritten.filter(({ values }) => values.some((value) => value !== null));
    if (trx === undefined || changed.length === 0) continue;
    await writeEncrypted(trx, name, changed);
    walked.changed.add(name);
  }
  for (const [i, empty] of (await countEmpty(db, name)).entries()) {
    const count = counts[i];
    if (count !== undefined) count.empty = empty;
  }
  walked.columns.push(...counts);
}

/** Counts the values of a row. @returns the row as it is stored with the new key; null for a value that stays. */
function inspectRow(row: EncryptedRow, counts: ColumnCounts[], encryption: Encryption, walked: Walk): EncryptedRow {
  const values = row.values.map((stored, i): string | null => {
    const count = counts[i];
    if (stored === null || stored === '' || count === undefined) return null;
    const { state, value } = encryption.inspect(stored);
    count[state] += 1;
    if (state === 'unreadable' && walked.unreadable.length < MAX_LISTED) {
      walked.unreadable.push({ column: count.column, key: row.key });
    }
    return state === 'previous' || state === 'clear' ? encryption.encrypt(count.column, value) : null;
  });
  return { key: row.key, values };
}

async function report(db: Db, keys: RotationKeys, { columns, unreadable }: Walk): Promise<KeyReport> {
  const totals = noCounts();
  for (const counts of columns) for (const state of STATES) totals[state] += counts[state];
  const id = keyId(keys.key);
  const processes = await runningProcesses(db);
  const found = {
    columns,
    totals,
    unreadable,
    keyId: id,
    previousKeyId: keys.previousKey === undefined ? undefined : keyId(keys.previousKey),
    otherKeyRuns: processes.filter((process) => process.keyId !== id),
    history: await keyHistory(db, id),
  };
  return { ...found, problem: problemOf(found) };
}

const STATES = Object.keys(noCounts()) as StoredState[];

/**
 * Keys that are swapped open everything, too. What tells them apart is which key the running processes have, and which
 * keys earlier rotations replaced.
 */
function problemOf(found: Omit<KeyReport, 'problem'>): KeyProblem | undefined {
  const { totals, history } = found;
  if (found.otherKeyRuns.length > 0) return 'other-key-runs';
  if (history.rotatedFrom !== null && (history.rotatedTo ?? 0) < history.rotatedFrom) return 'key-was-replaced';
  if (totals.unreadable > 0) return totals.current + totals.previous === 0 ? 'no-value-readable' : 'unreadable';
  const unused = found.previousKeyId !== undefined && totals.previous + totals.clear === 0 && totals.current > 0;
  return unused && history.rotatedTo === null ? 'previous-unused' : undefined;
}

/** What the audit event says: which key replaced which, and numbers by column. */
function detailsOf({ columns }: Walk, keys: RotationKeys) {
  const counted = (state: StoredState) =>
    Object.fromEntries(columns.filter((counts) => counts[state] > 0).map((counts) => [counts.column, counts[state]]));
  const rotated = counted('previous');
  const replaced = keys.previousKey !== undefined && Object.keys(rotated).length > 0;
  return {
    keyId: keyId(keys.key),
    ...(replaced ? { previousKeyId: keyId(keys.previousKey as Secret) } : {}),
    rotated,
    encrypted: counted('clear'),
    unreadable: counted('unreadable'),
  };
}
