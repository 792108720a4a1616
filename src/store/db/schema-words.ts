/** Columns in which this service writes fixed words. A site may allow other words there: by an enum, or by a CHECK. */

import { ROLES } from '../../domain/accounts/roles.ts';
import { AppError } from '../../domain/errors.ts';
import { SESSION_STATUSES } from '../../domain/hytale/lifecycle.ts';
import { SYNC_STATUSES, SYNC_TARGETS } from '../../domain/sync/targets.ts';
import { WEBHOOK_SCOPES, WEBHOOK_TYPES } from '../../domain/webhooks.ts';
import { type Db, inSavepoint, inTransaction } from './db.ts';
import { query } from './query.ts';

interface WordColumn {
  table: string;
  column: string;
  words: readonly string[];
}

/** Statuses of servers that the panel sends, and the two that stand for none and for a suspended server. */
const SERVER_WORDS = ['online', 'suspended', 'installing', 'install_failed', 'reinstall_failed', 'restoring_backup'];

const SYNC_STATUS: WordColumn = { table: 'sync_logs', column: 'status', words: SYNC_STATUSES };
const COLUMNS: readonly WordColumn[] = [
  SYNC_STATUS,
  { table: 'sync_logs', column: 'type', words: SYNC_TARGETS },
  { table: 'users', column: 'roles', words: ROLES },
  { table: 'servers', column: 'status', words: SERVER_WORDS },
  { table: 'discord_webhooks', column: 'type', words: WEBHOOK_TYPES },
  { table: 'discord_webhooks', column: 'scope', words: WEBHOOK_SCOPES },
  { table: 'hytale_game_sessions', column: 'status', words: SESSION_STATUSES },
  { table: 'server_subusers', column: 'accessLevel', words: ['owner', 'user'] },
];

/** Words of a column that the database refuses. */
export interface RefusedWords {
  table: string;
  column: string;
  words: string[];
  /** What refuses them: `the constraint x`, `its type y`. */
  by: string;
  /** Statement that lets them in. */
  remedy: string;
}

const WANTED = 'unnest(?::text[], ?::text[], ?::text[]) as want("table", "column", word)';
const wanted = (columns: readonly WordColumn[]): string[][] => {
  const rows = columns.flatMap(({ table, column, words }) => words.map((word) => [table, column, word] as const));
  return [rows.map(([table]) => table), rows.map(([, column]) => column), rows.map(([, , word]) => word)];
};

const wordsOf = (columns: readonly WordColumn[], table: string, column: string): readonly string[] =>
  columns.find((one) => one.table === table && one.column === column)?.words ?? [];

/** Words that an enum, or an array of an enum, lacks. */
async function refusedByTypes(db: Db, columns: readonly WordColumn[]): Promise<RefusedWords[]> {
  const rows = await query<{ table: string; column: string; type: string; text: string; words: string[] }>(
    db,
    `select want."table", want."column", format_type(a.atttypid, a.atttypmod) as type,
            case when t.typelem <> 0 then 'text[]' else 'text' end as text, array_agg(want.word) as words
       from ${WANTED}
       join pg_attribute a on a.attrelid = to_regclass(quote_ident(want."table")) and a.attname = want."column" and not a.attisdropped
       join pg_type t on t.oid = a.atttypid join pg_type e on e.oid in (t.oid, t.typelem) and e.typtype = 'e'
      where not exists (select 1 from pg_enum w where w.enumtypid = e.oid and w.enumlabel = want.word)
      group by 1, 2, 3, 4`,
    wanted(columns),
  );
  return rows.map(({ table, column, type, text, words }) => ({
    table,
    column,
    words: wordsOf(columns, table, column).filter((word) => words.includes(word)),
    by: `its type ${type}`,
    remedy: `alter table ${table} alter column "${column}" drop default, alter column "${column}" type ${text} using "${column}"::${text}`,
  }));
}

interface Check {
  table: string;
  column: string;
  name: string;
  expression: string;
  type: string;
  array: boolean;
}

/** Words for which a CHECK over this column alone is false. */
async function refusedByChecks(db: Db, columns: readonly WordColumn[]): Promise<RefusedWords[]> {
  const checks = await query<Check>(
    db,
    `select distinct want."table", want."column", k.conname as name, pg_get_expr(k.conbin, k.conrelid) as expression,
            format_type(a.atttypid, a.atttypmod) as type, t.typelem <> 0 and t.typlen = -1 as array
       from ${WANTED}
       join pg_attribute a on a.attrelid = to_regclass(quote_ident(want."table")) and a.attname = want."column" and not a.attisdropped
       join pg_type t on t.oid = a.atttypid
       join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum]
      where not exists (select 1 from pg_type e where e.oid in (t.oid, t.typelem) and e.typtype = 'e')
      order by 1, 2, 3`,
    wanted(columns),
  );
  if (checks.length === 0) return [];
  // The expression is the site's own, as the catalog prints it; it names the column alone.
  const one = (check: Check, n: number): string => {
    const value = check.array ? 'array[w.word]' : 'w.word';
    const column = `"${check.column.replaceAll('"', '""')}"`;
    return `select ${n}::int as n, v.word from (select w.word, ${value}::${check.type} as ${column} from unnest(?::text[]) as w(word)) v
             where (${check.expression.replaceAll('?', '\\?')}) is false`;
  };
  const found = await query<{ n: number; word: string }>(
    db,
    checks.map(one).join(' union all '),
    checks.map((check) => [...wordsOf(columns, check.table, check.column)]),
  );
  return checks.flatMap(({ table, column, name }, n) => {
    const refused = found.filter((row) => row.n === n).map(({ word }) => word);
    const remedy = `alter table ${table} drop constraint "${name}"`;
    return refused.length === 0 ? [] : [{ table, column, words: refused, by: `the constraint ${name}`, remedy }];
  });
}

/** Words of ours that the database refuses. A CHECK that cannot be tried alone is passed over. */
export async function refusedWords(db: Db, columns: readonly WordColumn[] = COLUMNS): Promise<RefusedWords[]> {
  const byChecks = await inTransaction(db, (trx) => inSavepoint(trx, () => refusedByChecks(trx, columns))).catch(
    () => [],
  );
  return [...(await refusedByTypes(db, columns)), ...byChecks];
}

/** What is refused, and by what, in one sentence without its end. */
export const describeRefused = ({ table, column, words, by }: RefusedWords): string =>
  `${table}.${column} does not take ${words.join(', ')}: ${by} refuses ${words.length === 1 ? 'it' : 'them'}`;

/**
 * The migrations close open runs with a status of ours, so its column must take it.
 * @throws {AppError} CONFLICT that names the column, the words and what to do.
 */
export async function requireStatusWords(db: Db): Promise<void> {
  const refused = await refusedWords(db, [SYNC_STATUS]);
  if (refused.length === 0) return;
  throw new AppError('CONFLICT', {
    publicMessage:
      `${refused.map(describeRefused).join('; ')}. Nothing was applied. Allow the words ` +
      `(for example: ${refused.map(({ remedy }) => remedy).join('; ')}) and migrate again`,
  });
}
