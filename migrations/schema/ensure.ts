import type { Knex } from 'knex';
import { adoptTable, ensureForeignKey } from './adopt.ts';
import { attempt, ident, type Table, tableExists } from './table.ts';

/** Creates the table, or changes the existing table to the same shape. */
export async function ensureTable(knex: Knex, table: Table): Promise<void> {
  if (await tableExists(knex, table.name)) {
    await adoptTable(knex, table);
    return;
  }
  const create = (body: string): string => `create table ${ident(table.name)} (\n${body}\n)`;
  // It fails when an adopted parent table has no unique key or another type, so that no foreign key can reference it.
  if (!(await attempt(knex, create(table.body)))) {
    await knex.raw(create(table.body.replace(/ references .+? on delete (cascade|set null)/g, '')));
    for (const column of table.columns) {
      if (column.references !== undefined) await ensureForeignKey(knex, table.name, column.name, column.references);
    }
  }
  if (table.indexes.length > 0) await knex.raw(table.indexes.join(';\n'));
}

/** Creates or adopts the tables of a unit, in their order. */
export async function ensureTables(knex: Knex, tables: readonly Table[]): Promise<void> {
  for (const table of tables) await ensureTable(knex, table);
}
