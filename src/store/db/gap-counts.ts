/** How many rows each difference is about, in one statement. */
import type { Db } from './db.ts';
import { inSavepoint, inTransaction } from './db.ts';
import { query } from './query.ts';

export interface Gap {
  table: string;
  works: boolean;
  /** A statement with one number: how many rows it is about. */
  count?: string;
  /** Its sentence; the number is undefined when it was not counted. */
  text: (count?: number) => string;
  advice?: string | undefined;
}

/** The differences with their numbers. Large tables may take longer than a statement may run: then without numbers. */
export async function countGaps(
  db: Db,
  gaps: readonly Gap[],
): Promise<{ table: string; works: boolean; text: string; advice?: string }[]> {
  const counted = gaps.filter(({ count }) => count !== undefined);
  const sql = counted.map(({ count }, n) => `select ${n}::int as n, (${count})::float8 as count`).join(' union all ');
  const rows =
    counted.length === 0
      ? []
      : await inTransaction(db, (trx) =>
          inSavepoint(trx, () => query<{ n: number; count: number }>(trx, sql.replaceAll('?', '\\?'))),
        ).catch(() => []);
  const counts = new Map(rows.map(({ n, count }) => [counted[n], count]));
  return gaps.map((gap) => ({
    table: gap.table,
    works: gap.works,
    text: gap.text(counts.get(gap)),
    ...(gap.advice === undefined ? {} : { advice: gap.advice }),
  }));
}
