/**
 * Reads values of a body as Discord does, and collects what is wrong with them. `null` counts as absent. Lengths are code
 * points after trimming (discord/discord-api-docs#1315; docs.discord.com/developers/resources/message, "Embed Limits").
 * The texts of the errors are Discord's as far as they were seen; clients go by the codes.
 */
import type { FormIssue } from '../errors.ts';

export type Path = readonly (string | number)[];
export type Fields = Readonly<Record<string, unknown>>;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const isAbsent = (value: unknown): value is null | undefined => value === undefined || value === null;

/** Number of code points. */
export const lengthOf = (text: string): number => [...text].length;

const SNOWFLAKE_MAX = 9_223_372_036_854_775_807n;

/** Whether a text is an id: decimal, at most 9223372036854775807 (docs.discord.com/developers/reference, "Snowflakes"). */
export const isSnowflake = (text: string): boolean => /^\d{1,19}$/.test(text) && BigInt(text) <= SNOWFLAKE_MAX;

export interface Checker {
  readonly issues: FormIssue[];
  add(path: Path, code: string, message: string): void;
  /** A trimmed text; undefined if it is absent or wrong. */
  text(value: unknown, path: Path, max: number): string | undefined;
  /** A text that must be there; it may be empty. */
  requiredText(value: unknown, path: Path, max: number): string;
  /** A whole number; a decimal text counts as one, a fraction is rounded (seen by mymoomin/RSStoWebhook). */
  integer(value: unknown, path: Path, range: { min: number; max: number }): number | undefined;
  boolean(value: unknown, path: Path): boolean | undefined;
  /** The entries of a list; undefined if it is absent or wrong. */
  list(value: unknown, path: Path, max: number): readonly unknown[] | undefined;
  fields(value: unknown, path: Path): Fields | undefined;
}

export function createChecker(): Checker {
  const issues: FormIssue[] = [];
  const checker: Checker = {
    issues,
    add: (path, code, message) => void issues.push({ path, code, message }),
    text(value, path, max) {
      if (isAbsent(value)) return undefined;
      const text = typeof value === 'number' ? String(value) : value;
      // Half of a surrogate pair is no text. What Discord answers to it is assumed.
      if (typeof text !== 'string' || !text.isWellFormed()) {
        checker.add(path, 'STRING_TYPE_CONVERT', 'Could not interpret value as string.');
        return undefined;
      }
      const trimmed = text.trim();
      if (lengthOf(trimmed) > max) {
        checker.add(path, 'BASE_TYPE_MAX_LENGTH', `Must be ${max} or fewer in length.`);
      }
      return trimmed;
    },
    requiredText(value, path, max) {
      if (isAbsent(value)) checker.add(path, 'BASE_TYPE_REQUIRED', 'This field is required');
      return checker.text(value, path, max) ?? '';
    },
    integer(value, path, { min, max }) {
      if (isAbsent(value)) return undefined;
      const number =
        typeof value === 'string' && /^\s*[+-]?\d+\s*$/.test(value)
          ? Number(value)
          : typeof value === 'number'
            ? Math.round(value)
            : undefined;
      if (number === undefined) checker.add(path, 'NUMBER_TYPE_COERCE', `Value "${String(value)}" is not int.`);
      else if (number > max) {
        checker.add(path, 'NUMBER_TYPE_MAX', `int value should be less than or equal to ${max}.`);
      } else if (number < min) {
        checker.add(path, 'NUMBER_TYPE_MIN', `int value should be greater than or equal to ${min}.`);
      }
      return number;
    },
    boolean(value, path) {
      if (isAbsent(value)) return undefined;
      const flag = parseBoolean(value);
      if (flag === undefined) checker.add(path, 'BOOLEAN_TYPE_CONVERT', 'Must be either true or false.');
      return flag;
    },
    list(value, path, max) {
      if (isAbsent(value)) return undefined;
      if (!Array.isArray(value)) {
        checker.add(path, 'LIST_TYPE_CONVERT', 'Only iterables may be used in a ListType');
        return undefined;
      }
      if (value.length > max) checker.add(path, 'BASE_TYPE_MAX_LENGTH', `Must be ${max} or fewer in length.`);
      return value;
    },
    fields(value, path) {
      if (isAbsent(value)) return undefined;
      if (isFields(value)) return value;
      checker.add(path, 'MODEL_TYPE_CONVERT', 'Only dictionaries may be used in a ModelType');
      return undefined;
    },
  };
  return checker;
}

/** Booleans of bodies and queries (docs.discord.com/developers/reference, "Boolean Query Strings"). */
export function parseBoolean(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value;
  if (['true', 'True', '1', 1].some((text) => text === value)) return true;
  return ['false', 'False', '0', 0].some((text) => text === value) ? false : undefined;
}
