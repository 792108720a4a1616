/** What this service does with the shared tables: which differences of a database it can work with. */
import type { Db } from './db.ts';
import { query } from './query.ts';

/** Tables in which it writes rows. */
const WRITTEN = new Set([
  'users',
  'sessions',
  'verification_tokens',
  'locations',
  'nodes',
  'allocations',
  'nests',
  'eggs',
  'egg_variables',
  'servers',
  'server_databases',
  'server_subusers',
  'discord_webhooks',
  'sync_logs',
  'config',
  'hytale_oauth_tokens',
  'hytale_game_sessions',
  'hytale_audit_logs',
  'hytale_server_logs',
  'hytale_log_sync_state',
]);
/** Tables that it reads only. The others are the site's own. */
const READ = new Set(['server_properties', 'support_tickets']);

export const isWritten = (table: string): boolean => WRITTEN.has(table);
export const isUsed = (table: string): boolean => WRITTEN.has(table) || READ.has(table);

/** Keys that its statements name as `on conflict (…)`: without them these statements fail. */
export const NEEDED_KEYS: Readonly<Record<string, readonly string[]>> = {
  config: ['key'],
  hytale_log_sync_state: ['server_uuid'],
  hytale_oauth_tokens: ['account_id'],
  sync_logs: ['id'],
  verification_tokens: ['token'],
};

/** Unique index → what follows where rows prevent it, and what to do. */
export const WITHOUT_INDEX: Readonly<Record<string, string>> = {
  users_email_address_unique:
    'accounts have addresses that differ only in case or in spaces around them: a sign-in finds the one with the typed spelling, ' +
    'else the oldest. Give each an address of its own (select array_agg(id) from users group by lower(btrim(email)) having count(*) > 1), ' +
    'then: create unique index users_email_address_unique on users (lower(btrim(email)))',
};

/** Type → types that do as well. */
const AS_GOOD: Readonly<Record<string, readonly string[]>> = {
  text: ['character varying', 'citext'],
  'character varying': ['text', 'citext'],
  numeric: ['real', 'double precision'],
  'timestamp without time zone': ['timestamp with time zone'],
  'timestamp with time zone': ['timestamp without time zone'],
};
/** Type → types that take fewer values. */
const NARROWER: Readonly<Record<string, readonly string[]>> = {
  bigint: ['integer', 'smallint'],
  integer: ['smallint'],
};

const withoutPrecision = (type: string): string => type.replace(/\([\d,]+\)/, '');

/**
 * What another type of a column means; undefined when it makes no difference.
 * @param expected and `found`: types as format_type prints them.
 */
export function typeGap(expected: string, found: string): { works: boolean; effect: string } | undefined {
  const [want, have] = [withoutPrecision(expected), withoutPrecision(found)];
  if (NARROWER[want]?.includes(have) === true) return { works: true, effect: ': larger values are refused' };
  const length = Number(/^character varying\((\d+)\)$/.exec(found)?.[1] ?? Number.POSITIVE_INFINITY);
  const wanted = Number(/^character varying\((\d+)\)$/.exec(expected)?.[1] ?? Number.POSITIVE_INFINITY);
  if (length < wanted) return { works: true, effect: ': longer texts are refused' };
  if (want === have || AS_GOOD[want]?.includes(have) === true) return undefined;
  return { works: false, effect: ': queries of this service fail' };
}

/** Views of the site over a column, by table and column. */
export type Dependents = (table: string, column: string) => string[];

/** Looks up which views use columns of the tables. */
export async function dependentViews(db: Db, tables: readonly string[]): Promise<Dependents> {
  const rows = await query<{ table: string; column: string; view: string }>(
    db,
    `select distinct n.name as "table", a.attname as "column", 'the view ' || r.ev_class::regclass as view
       from unnest(?::text[]) as n(name) join pg_class c on c.oid = to_regclass(quote_ident(n.name))
       join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.classid = 'pg_rewrite'::regclass
       join pg_rewrite r on r.oid = d.objid join pg_attribute a on a.attrelid = c.oid and a.attnum = d.refobjsubid
      where d.refobjsubid > 0 order by 1, 2, 3`,
    [tables],
  );
  return (table, column) => rows.filter((one) => one.table === table && one.column === column).map(({ view }) => view);
}
