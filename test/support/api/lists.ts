/** Reads of paged lists, and rows that have nothing but what they must have. */
import { expect } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import type { TestDatabase } from '../database.ts';
import { bearer, type Harness } from './harness.ts';

export interface List<R> {
  rows: R[];
  pagination: { page: number; pageSize: number; total: number; totalPages: number };
}
type Row = Record<string, unknown> & { id: unknown };

/** Reads `path`, a list of an admin route without `/api/admin/`, as the bearer. */
export async function readList<R extends Row>(harness: Harness, token: string, path: string): Promise<List<R>> {
  const response = await harness.get(`/api/admin/${path}`, { headers: bearer(token) });
  const { success, pagination, ...rest } = (await response.json()) as unknown as {
    success: boolean;
    pagination: List<R>['pagination'];
  } & Record<string, unknown>;
  expect([response.status, success], path).toEqual([200, true]);
  const [rows] = Object.values(rest);
  return { rows: rows as R[], pagination };
}

/** Expects that the pages of a list, put together, are the whole list, for several page sizes. */
export async function expectWholePages(read: (path: string) => Promise<List<Row>>, path: string): Promise<void> {
  const whole = await read(`${path}&pageSize=200`);
  const { total } = whole.pagination;
  expect(total).toBeGreaterThan(2);
  expect(new Set(whole.rows.map((row) => row.id)).size).toBe(total);
  for (const pageSize of [2, 7]) {
    const pages: Row[] = [];
    const totalPages = Math.ceil(total / pageSize);
    for (let page = 1; page <= totalPages; page += 1) {
      const { rows, pagination } = await read(`${path}&page=${page}&pageSize=${pageSize}`);
      expect(pagination).toEqual({ page, pageSize, total, totalPages });
      pages.push(...rows);
    }
    expect(pages).toEqual(whole.rows);
  }
  expect((await read(`${path}&page=${total + 1}&pageSize=1`)).rows).toEqual([]);
}

/** Inserts a row whose every nullable column is null, whatever its default. */
export async function insertBare({ db }: TestDatabase, table: string, row: Record<string, unknown>): Promise<void> {
  const nullable = await query<{ name: string }>(
    db,
    `select column_name as name from information_schema.columns
      where table_schema = current_schema() and table_name = ? and is_nullable = 'YES'`,
    [table],
  );
  expect(nullable.length).toBeGreaterThan(0);
  const empty = Object.fromEntries(nullable.map(({ name }) => [name, null]));
  await db(table).insert({ ...empty, ...row });
}
