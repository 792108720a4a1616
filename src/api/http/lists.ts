/** What every list with pages has in common. */
import { z } from 'zod';
import { Count } from './envelopes.ts';
import { documentedAs } from './fields.ts';

export const Pagination = z
  .object({ page: z.int(), pageSize: z.int(), total: Count, totalPages: Count })
  .meta({ id: 'Pagination', description: '`total` may be a second old' });

/** The pagination of an answer; no rows are 0 pages. */
export const paginationOf = (page: { page: number; pageSize: number }, total: number): z.input<typeof Pagination> => ({
  page: page.page,
  pageSize: page.pageSize,
  total,
  totalPages: Math.ceil(total / page.pageSize),
});

/** The rows of a page. */
export const rowsOf = ({ page, pageSize }: { page: number; pageSize: number }) => ({
  limit: pageSize,
  offset: (page - 1) * pageSize,
});

/** `yes` or `true`, `no` or `false`, in any case; any other text (undefined), such as `all`, does not filter. */
export const yesNoFilter = (description: string) =>
  z
    .string()
    .optional()
    .transform((text) => {
      const word = text?.trim().toLowerCase() ?? '';
      if (['yes', 'true'].includes(word)) return true;
      return ['no', 'false'].includes(word) ? false : undefined;
    })
    .meta({ description, ...documentedAs({ type: 'string', enum: ['all', 'yes', 'no', 'true', 'false'] }) });

/** A column to sort by, in any case; any other text (undefined) leaves the default. */
export const sortWord = <const W extends string>(words: readonly W[], description: string) =>
  z
    .string()
    .optional()
    .transform((text) => words.find((word) => word.toLowerCase() === text?.trim().toLowerCase()))
    .meta({ description, ...documentedAs({ type: 'string', enum: [...words] }) });

/** A time of the database; null stays null. */
export const isoOrNull = (time: Date | null): string | null => time?.toISOString() ?? null;
