/**
 * What the migrations could not bring about in a database of the site: a type, a key, an index, a column under a former name
 * that had to stay. Nothing is recorded: the catalog is compared with the shape that the migrations give an empty database.
 */
import { readFileSync } from 'node:fs';
import type { Db } from './db.ts';
import { otherNames } from './former-names.ts';
import { countGaps, type Gap } from './gap-counts.ts';
import { describeTables, type FoundTable, type TableShape } from './schema-shape.ts';
import {
  type Dependents,
  dependentViews,
  isUsed,
  isWritten,
  NEEDED_KEYS,
  typeGap,
  WITHOUT_INDEX,
} from './schema-use.ts';
import { describeRefused, refusedWords } from './schema-words.ts';

export interface SchemaGap {
  table: string;
  /** False: a query of this service fails, or it cannot write a row. */
  works: boolean;
  /** What it is, in one sentence without its end. */
  text: string;
  advice?: string;
}

/** Tables of the shared schema as the migrations make them. `test/store/db/schema-gaps.test.ts -u` writes the file. */
export const EXPECTED_SCHEMA = new URL('../../../migrations/schema/expected.json', import.meta.url);

const expectedTables = (): TableShape[] => JSON.parse(readFileSync(EXPECTED_SCHEMA, 'utf8')) as TableShape[];

/** How the shared tables differ from those of the migrations, worst first. Only for a database without pending migrations. */
export async function schemaGaps(db: Db): Promise<SchemaGap[]> {
  const expected = expectedTables();
  const found = await describeTables(
    db,
    expected.map(({ name }) => name),
  );
  const views = await dependentViews(db, [...found.keys()]);
  const gaps = expected.flatMap((table) => {
    const there = found.get(table.name);
    if (there === undefined)
      return [{ table: table.name, works: !isUsed(table.name), text: () => `the table ${table.name} is missing` }];
    return [
      ...columnGaps(table, there, views),
      ...otherColumnGaps(table, there, views),
      ...keyGaps(table, there),
      ...foreignKeyGaps(table, there),
      ...indexGaps(table, there),
    ];
  });
  const words = (await refusedWords(db)).map((refused): SchemaGap => {
    return { table: refused.table, works: false, text: describeRefused(refused), advice: refused.remedy };
  });
  return [...words, ...(await countGaps(db, gaps))].sort((a, b) => Number(a.works) - Number(b.works));
}

const ident = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const repeated = (n: number | undefined): string =>
  n === undefined || n === 0 ? '' : `: ${n} ${n === 1 ? 'value stands' : 'values stand'} in more than one row`;
const rowsOf = (n: number): string => `${n} ${n === 1 ? 'row' : 'rows'}`;

/** Columns of ours: missing, of another type, or without NOT NULL. */
function columnGaps(table: TableShape, there: FoundTable, views: Dependents): Gap[] {
  return table.columns.flatMap((column): Gap[] => {
    const found = there.columns.find(({ name }) => name === column.name);
    const name = `${table.name}.${column.name}`;
    if (found === undefined)
      return [{ table: table.name, works: !isUsed(table.name), text: () => `the column ${name} is missing` }];
    const gaps: Gap[] = [];
    const type = typeGap(column.type, found.type);
    if (type !== undefined) {
      const using = views(table.name, column.name);
      const because = using.length === 0 ? '' : `; ${using.join(', ')} ${using.length === 1 ? 'uses' : 'use'} it`;
      gaps.push({
        table: table.name,
        works: type.works || !isUsed(table.name),
        text: () => `${name} is ${found.type}, not ${column.type}${type.effect}${because}`,
      });
    }
    if (column.notNull && !found.notNull) {
      gaps.push({
        table: table.name,
        works: true,
        count: `select count(*) from ${ident(table.name)} where ${ident(column.name)} is null`,
        text: (n) => `${name} may be null${n === undefined ? '' : `, and is in ${rowsOf(n)}`}`,
      });
    }
    return gaps;
  });
}

/** Columns of the site: another name of one of ours, or one in which this service cannot leave out the value. */
function otherColumnGaps(table: TableShape, there: FoundTable, views: Dependents): Gap[] {
  const own = new Set(table.columns.map(({ name }) => name));
  const former = new Map(table.columns.flatMap(({ name }) => otherNames(table.name, name).map((old) => [old, name])));
  return there.columns.flatMap((column): Gap[] => {
    if (own.has(column.name)) return [];
    const ours = former.get(column.name);
    const name = `${table.name}.${column.name}`;
    const gaps: Gap[] = [];
    if (ours !== undefined) {
      const using = views(table.name, column.name);
      const [a, b] = [`${ident(column.name)}::text`, `${ident(ours)}::text`];
      gaps.push({
        table: table.name,
        works: true,
        count: `select count(*) from ${ident(table.name)} where ${ident(column.name)} is not null and ${a} is distinct from ${b}`,
        text: (n) =>
          `${name} stays beside ${ours}, which this service uses` +
          `${n === undefined || n === 0 ? '' : `: ${rowsOf(n)} ${n === 1 ? 'has' : 'have'} another value in it`}` +
          `${using.length === 0 ? '' : `; ${using.join(', ')} ${using.length === 1 ? 'uses' : 'use'} it`}`,
      });
    }
    if (column.notNull && !column.filled) {
      gaps.push({
        table: table.name,
        works: !isWritten(table.name),
        text: () => `${name} must have a value, and this service does not know the column`,
        advice: `give it a default, or: alter table ${table.name} alter column ${ident(column.name)} drop not null`,
      });
    }
    return gaps;
  });
}

/** Primary and unique keys that are missing: rows have the same value, or none. */
function keyGaps(table: TableShape, there: FoundTable): Gap[] {
  const same = (a: readonly string[], b: readonly string[]): boolean => a.join('\n') === b.join('\n');
  return table.keys
    .filter((key) => !there.keys.some((found) => same(found, key)))
    .filter((key) => key.every((column) => there.columns.some(({ name }) => name === column)))
    .map((key): Gap => {
      const columns = key.map(ident).join(', ');
      const where = key.map((column) => `${ident(column)} is not null`).join(' and ');
      const needed = NEEDED_KEYS[table.name]?.some((one) => same([one], key)) === true;
      return {
        table: table.name,
        works: !needed,
        count: `select count(*) from (select 1 from ${ident(table.name)} where ${where} group by ${columns} having count(*) > 1) d`,
        text: (n) => `${table.name} has no unique key over ${key.join(', ')}${repeated(n)}`,
        advice: needed ? 'this service writes by this key: make its values unique, then add it' : undefined,
      };
    });
}

/** Foreign keys that are missing, do something else, or are not checked for old rows. */
function foreignKeyGaps(table: TableShape, there: FoundTable): Gap[] {
  return table.foreignKeys.flatMap((key): Gap[] => {
    const name = `${table.name}.${key.column}`;
    const found = there.foreignKeys.find((one) => one.column === key.column && one.table === key.table);
    const count = `select count(*) from ${ident(table.name)} c where c.${ident(key.column)} is not null
      and not exists (select 1 from ${ident(key.table)} p where p.${ident(key.target)}::text = c.${ident(key.column)}::text)`;
    const orphans = (n: number | undefined): string =>
      n === undefined || n === 0 ? '' : `: ${rowsOf(n)} ${n === 1 ? 'names' : 'name'} one that does not exist`;
    if (found === undefined) {
      return [
        {
          table: table.name,
          works: true,
          count,
          text: (n) => `${name} has no foreign key to ${key.table}${orphans(n)}`,
        },
      ];
    }
    if (found.onDelete !== key.onDelete) {
      return [
        { table: table.name, works: true, text: () => `the foreign key of ${name} is not "on delete ${key.onDelete}"` },
      ];
    }
    if (found.valid) return [];
    return [
      {
        table: table.name,
        works: true,
        count,
        text: (n) => `the foreign key of ${name} holds for new and changed rows only${orphans(n)}`,
      },
    ];
  });
}

/** Indexes of ours that exist neither by name nor by what they are over. */
function indexGaps(table: TableShape, there: FoundTable): Gap[] {
  const keys = there.keys.map((key) => key.join('\n'));
  return table.indexes
    .filter((index) => !there.indexes.some(({ name, on }) => name === index.name || (on === index.on && !index.unique)))
    .filter((index) => !keys.includes(/^btree \("?(\w+)"?\)$/.exec(index.on)?.[1] ?? ''))
    .map((index): Gap => {
      const on = index.on.replace('btree ', '');
      if (!index.unique)
        return { table: table.name, works: true, text: () => `${table.name} has no index ${index.name}, over ${on}` };
      const [, columns = '', condition = ''] = /^\((.+?)\)( WHERE .+)?$/.exec(on) ?? [];
      return {
        table: table.name,
        works: true,
        count: `select count(*) from (select 1 from ${ident(table.name)}${condition} group by ${columns} having count(*) > 1) d`,
        text: (n) => `${table.name} has no unique index ${index.name}, over ${on}${repeated(n)}`,
        advice: WITHOUT_INDEX[index.name],
      };
    });
}
