import type { Knex } from 'knex';
import { adoptTable } from './adopt.ts';
import { ident, type Table, tableExists } from './table.ts';

/** Creates the table, or brings the one that is there to the same shape. */
export async function ensureTable(knex: Knex, table: Table): Promise<void> {
  if (await tableExists(knex, table.name)) {
    await adoptTable(knex, table);
    return;
  }
  await knex.raw([`create table ${ident(table.name)} (\n${table.body}\n)`, ...table.indexes].join(';\n'));
}

/** Brings about the tables of a unit, in their order. */
export async function ensureTables(knex: Knex, tables: readonly Table[]): Promise<void> {
  for (const table of tables) await ensureTable(knex, table);
}

/** Drops the tables of a unit, last first, with every row in them. */
export async function dropTables(knex: Knex, tables: readonly Table[]): Promise<void> {
  const names = tables.toReversed().map((table) => ident(table.name));
  await knex.raw(`drop table if exists ${names.join(', ')}`);
}
