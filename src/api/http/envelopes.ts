/** Shapes of answers that several routes share: the success envelope, the error body, counts and timestamps. */
import { z } from 'zod';

/** Success envelope: all three keys are always present. */
export const envelope = <S extends z.ZodType>(data: S) =>
  z.object({ success: z.literal(true), data, message: z.string() });

export const ErrorSchema = z
  .object({
    success: z.literal(false),
    error: z.string().meta({ description: 'A sentence, or a snake_case code in the sign-in area' }),
    code: z.string().meta({ description: 'Stable code', example: 'NOT_FOUND' }),
    message: z.string().optional(),
    status_code: z.int().optional().meta({ description: 'The status, where the limit of game sessions is reached' }),
    details: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({
    id: 'Error',
    description: 'Every failure. With `Accept: application/problem+json` it has the form of RFC 9457',
  });

/** A count: a number in JSON, never text. */
export const Count = z.int().min(0);
export const IsoDate = z.iso.datetime();

/** Body of the success envelope. */
export const ok = <T>(data: T, message = '') => ({ success: true as const, data, message });
