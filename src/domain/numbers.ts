/** Whole numbers in texts: environment variables, settings, options of commands. */

export interface WholeNumberOptions {
  /** Smallest number that counts; default: no limit. */
  min?: number;
  /** Largest number that counts; default: no limit. */
  max?: number;
  /** Reads the digits at the start and ignores what follows them: `60 seconds` is 60. */
  ignoreRest?: boolean;
}

/** The whole number in a text, or `undefined` when there is none or it is outside the limits. */
export function parseWholeNumber(text: string, options: WholeNumberOptions = {}): number | undefined {
  const { min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER, ignoreRest = false } = options;
  const digits = (ignoreRest ? /^[+-]?\d+/ : /^[+-]?\d+$/).exec(text.trim())?.[0];
  if (digits === undefined) return undefined;
  const value = Number(digits);
  return value >= min && value <= max ? value : undefined;
}
