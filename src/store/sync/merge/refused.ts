/** Finds the rows that the database refuses for reasons of its own, by halving the range of what is written or deleted. */
import { AppError } from '../../../domain/errors.ts';
import type { Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute } from '../../db/query.ts';
import { isRowRefused, sqlState } from '../../db/sql-errors.ts';

/** Rows that are refused one after the other before the search ends: then it is not about single rows. */
export const MAX_IN_A_ROW = 64;

export interface RefusedNumber {
  n: number;
  state: string;
}

/** The database refused so many rows one after the other that the search ended. */
export class AllRefused extends Error {
  readonly found: readonly RefusedNumber[];
  readonly state: string;
  constructor(found: readonly RefusedNumber[], state: string) {
    super('rows after rows were refused');
    this.found = found;
    this.state = state;
  }
}

/**
 * Halves the range 1 to `size` until each refused number stands alone: about 2·log2(n) statements per row. What passes stays
 * done.
 * @param work writes or deletes the numbers of a range.
 * @throws {AllRefused} after {@link MAX_IN_A_ROW} of them without one that passes.
 */
export async function findRefused(
  trx: Db,
  size: number,
  work: (from: number, to: number) => Promise<unknown>,
): Promise<RefusedNumber[]> {
  const found: RefusedNumber[] = [];
  let inARow = 0;
  const search = async (from: number, to: number): Promise<void> => {
    if (from > to) return;
    await execute(trx, 'savepoint half');
    try {
      await work(from, to);
      await execute(trx, 'release savepoint half');
      inARow = 0;
      return;
    } catch (error) {
      if (!isRowRefused(error)) throw error;
      // Without the release the savepoint would stay, and each next one would cost more.
      await execute(trx, 'rollback to savepoint half; release savepoint half');
      const state = sqlState(error) ?? 'unknown';
      if (from === to) {
        found.push({ n: from, state });
        inARow += 1;
        if (inARow >= MAX_IN_A_ROW) throw new AllRefused(found, state);
        return;
      }
    }
    const middle = Math.floor((from + to) / 2);
    await search(from, middle);
    await search(middle + 1, to);
  };
  await search(1, size);
  return found;
}

/** The failure of a run whose rows of a table the database refuses one and all. */
export const tableRefused = (entity: Entity, table: string, state: string): AppError =>
  new AppError('DATABASE_REFUSED', {
    publicMessage: `The database refuses rows of the table ${table} one after the other (SQLSTATE ${state}): look for a constraint, trigger or column that is not the service's. Nothing was changed`,
    meta: { entity, table, state },
  });
