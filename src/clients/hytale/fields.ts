/** Forms of the fields that the hosts of Hytale send. What is not needed may be absent or wrong. */
import { z } from 'zod';
import { Secret } from '../../domain/secret.ts';

/** Longest token that is read. A header of 16 KiB is the limit of most servers. */
const MAX_TOKEN = 12_000;
/** A token can stand in a header: visible ASCII without spaces. */
const TOKEN = /^[\x21-\x7e]+$/;

export const isToken = (text: string): boolean => text.length <= MAX_TOKEN && TOKEN.test(text);

export const token = z
  .string()
  .refine(isToken)
  .transform((text) => new Secret(text));

/** A token that may be absent, null, empty or unreadable; then null. */
export const optionalToken = token.nullable().catch(null).default(null);

/** Words for people or programs, without control characters. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
export const shortText = z.string().regex(/^[^\x00-\x1f\x7f]{1,500}$/);

/** The form of a UUID; which version it is does not matter. In lower case, so that two can be compared. */
export const uuid = z
  .string()
  .regex(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i)
  .transform((text) => text.toLowerCase());

/** Whole seconds, as a number or as text; otherwise the default. */
export const seconds = (fallback: number, max: number) =>
  z.coerce
    .number()
    .min(1)
    .transform((value) => Math.min(Math.floor(value), max))
    .catch(fallback)
    .default(fallback);
