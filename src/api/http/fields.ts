/**
 * Fields of requests that accept more spellings than they document: the site and its forms send numbers as text, null for
 * an absent field and flags as words. Each field documents the one spelling that a caller should send.
 */
import { z } from 'zod';
import { AppError } from '../../domain/errors.ts';

/** Largest value of a PostgreSQL `integer`. */
const INT4_MAX = 2_147_483_647;

/** For `.meta()`: documents a field as this JSON Schema, in place of the schema that accepts it. */
export const documentedAs = (documented: Record<string, unknown>) => ({
  override: ({ jsonSchema }: { jsonSchema: object }) => {
    const { description } = jsonSchema as { description?: string };
    for (const key of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, key);
    Object.assign(jsonSchema, documented, description === undefined ? {} : { description });
  },
});

/** An id in a path: any short text. The store decides whether it exists. */
export const PathId = z.object({ id: z.string().min(1).max(200) });

const textOrEmpty = z
  .string()
  .nullish()
  .transform((text) => text ?? '');
/**
 * The number that names something in a path or a query.
 * @throws {AppError} BAD_REQUEST with this message unless the text is a number that the database can hold.
 */
export function numericId(text: string, publicMessage: string): number {
  const id = /^\s*\d{1,10}\s*$/.test(text) ? Number(text) : Number.NaN;
  if (!(id <= INT4_MAX)) throw new AppError('BAD_REQUEST', { publicMessage });
  return id;
}

/** A text of a body that the route needs. Absent and null are "": the handler answers with the route's own error. */
export const BodyText = textOrEmpty.meta(documentedAs({ type: 'string', minLength: 1 }));
/** A text of a body that may be left out. Absent and null are "". */
export const OptionalText = textOrEmpty.meta(documentedAs({ type: 'string' }));

/** A text of a profile, trimmed: absent (undefined) keeps the stored one, null and "" clear it. */
export const profileText = (maxLength: number) =>
  z
    .string()
    .nullish()
    .transform((text) => (text === undefined ? undefined : (text ?? '').trim()))
    .meta(documentedAs({ type: 'string', maxLength }));

/** A flag of a body: absent and null are false; the texts `true` and `1` count, as forms send them. */
export const BodyFlag = z
  .union([z.boolean(), z.string(), z.number(), z.null()])
  .optional()
  .transform((value) => value === true || value === 1 || value === 'true' || value === '1')
  .meta(documentedAs({ type: 'boolean', default: false }));

/** A flag that is to be changed, as a boolean or a word. Absent and null (undefined) keep the stored one. */
export const OptionalFlag = z
  .union([z.boolean(), z.enum(['true', 'false', '1', '0']), z.null()])
  .optional()
  .transform((value) => (value === undefined || value === null ? undefined : [true, 'true', '1'].includes(value)))
  .meta(documentedAs({ type: 'boolean' }));

/** A whole number that is to be changed, as a number or as text. Absent and null (undefined) keep the stored one. */
export const optionalInteger = (range: { minimum: number; maximum?: number }) =>
  z
    .union([z.number(), z.string().regex(/^\s*\d{1,9}\s*$/), z.null()])
    .optional()
    .transform((value) => (value === undefined || value === null ? undefined : Number(value)))
    .pipe(z.int().max(INT4_MAX).optional())
    .meta(documentedAs({ type: 'integer', ...range }));

/**
 * A whole number of the query: below `min` or not a number gives the default; above `max` gives `max`, or the default
 * where the contract says so (`above`).
 */
export const clampedInteger = (range: { min: number; max: number; fallback: number; above?: 'fallback' }) =>
  z
    .string()
    .optional()
    .transform((text) => {
      const value = text === undefined || !/^\s*[+-]?\d+/.test(text) ? Number.NaN : Number.parseInt(text, 10);
      if (Number.isNaN(value) || value < range.min) return range.fallback;
      return value > range.max && range.above === 'fallback' ? range.fallback : Math.min(value, range.max);
    })
    .meta(documentedAs({ type: 'integer', minimum: range.min, maximum: range.max, default: range.fallback }));

/** Number of a page in the query, from 1. */
export const PageNumber = clampedInteger({ min: 1, max: INT4_MAX, fallback: 1 });
/** Rows to skip, in the query. */
export const Offset = clampedInteger({ min: 0, max: INT4_MAX, fallback: 0 });

/** A text of the query; absent is "". */
export const queryText = (documented: Record<string, unknown>) =>
  z
    .string()
    .optional()
    .transform((text) => text ?? '')
    .meta(documentedAs({ type: 'string', ...documented }));

/** A text to search for, trimmed; absent and empty (undefined) search for nothing. */
export const searchText = (description: string) =>
  z
    .string()
    .optional()
    .transform((text) => text?.trim() || undefined)
    .meta({ description, ...documentedAs({ type: 'string' }) });

/** One of these words in any case; any other text (undefined), such as `all`, does not filter. */
export const wordFilter = <const W extends string>(words: readonly W[], description: string) =>
  z
    .string()
    .optional()
    .transform((text) => words.find((word) => word === text?.trim().toLowerCase()))
    .meta({ description, ...documentedAs({ type: 'string', enum: ['all', ...words] }) });

/** A flag of the query: `true` and `1` in any case; any other text is false. */
export const queryFlag = (description: string) =>
  z
    .string()
    .optional()
    .transform((text) => ['true', '1'].includes(text?.trim().toLowerCase() ?? ''))
    .meta({ description, ...documentedAs({ type: 'boolean', default: false }) });
