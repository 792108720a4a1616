/** Integers as PHP prints them: some panels and database drivers print them as texts. */

/** The integer that a value is, or whose digits a text holds; undefined for others, and beyond 2^53 - 1 in size. */
export function integerOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^-?\d{1,16}$/.test(value) ? Number(value) : value;
  return Number.isSafeInteger(number) ? (number as number) : undefined;
}
