/** Shapes that several routes share: envelopes, query numbers, the error body. */
import { z } from 'zod';

/**
 * Replaces what the document would say of a lenient input by what a caller should send: the wire takes more spellings
 * (numbers as text, null for absent) than it advertises.
 */
export const shownAs = (shown: Record<string, unknown>) => ({
  override: ({ jsonSchema }: { jsonSchema: object }) => {
    const { description } = jsonSchema as { description?: string };
    for (const key of Object.keys(jsonSchema)) Reflect.deleteProperty(jsonSchema, key);
    Object.assign(jsonSchema, shown, description === undefined ? {} : { description });
  },
});

/** Success envelope: all three keys are always there. */
export const envelope = <S extends z.ZodType>(data: S) =>
  z.object({ success: z.literal(true), data, message: z.string() });

export const ErrorSchema = z
  .object({
    success: z.literal(false),
    error: z.string().meta({ description: 'A sentence, or a snake_case code in the sign-in area' }),
    code: z.string().meta({ description: 'Stable code', example: 'NOT_FOUND' }),
    message: z.string().optional(),
    details: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Error', description: 'Every failure; with `Accept: application/problem+json` in the form of RFC 9457' });

/**
 * A whole number in the query: below `min` or not a number gives the default; above `max` gives `max`, or the default
 * where the wire says so (`above`).
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
    .meta(shownAs({ type: 'integer', minimum: range.min, maximum: range.max, default: range.fallback }));

/** Counts are numbers on the wire, never text. */
export const Count = z.int().min(0);
export const IsoDate = z.iso.datetime();

/** An id in a path: any short text; whether it exists is for the store to say. */
export const PathId = z.object({ id: z.string().min(1).max(200) });

/** Data of the success envelope. */
export const ok = <T>(data: T, message = '') => ({ success: true as const, data, message });
