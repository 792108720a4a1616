/** The part of Laravel's validation rules that egg variables use. */

type Check = (value: unknown, argument: string) => boolean;

const text = (value: unknown): string => (typeof value === 'string' ? value : String(value));
const isInteger = (value: unknown) => /^-?\d+$/.test(text(value));
const isNumeric = (value: unknown) => text(value).trim() !== '' && Number.isFinite(Number(value));

/** `pattern` has PHP's delimiters and flags. A pattern that JavaScript cannot read never matches. */
function matches(pattern: string, value: string): boolean {
  const parts = /^(.)([\s\S]*)\1([a-z]*)$/.exec(pattern);
  if (parts === null) return false;
  try {
    return new RegExp(parts[2] ?? '', (parts[3] ?? '').replace(/[^ims]/g, '')).test(value);
  } catch {
    return false;
  }
}

const CHECKS: Record<string, Check> = {
  string: (value) => typeof value === 'string',
  integer: isInteger,
  int: isInteger,
  numeric: isNumeric,
  boolean: (value) => [true, false, 0, 1, '0', '1'].some((allowed) => allowed === value),
  alpha: (value) => /^[\p{L}\p{M}]+$/u.test(text(value)),
  alpha_num: (value) => /^[\p{L}\p{M}\p{N}]+$/u.test(text(value)),
  alpha_dash: (value) => /^[\p{L}\p{M}\p{N}_-]+$/u.test(text(value)),
  regex: (value, argument) => matches(argument, text(value)),
  in: (value, argument) => argument.split(',').includes(text(value)),
  not_in: (value, argument) => !argument.split(',').includes(text(value)),
  digits: (value, argument) => isInteger(value) && text(value).length === Number(argument),
  digits_between: (value, argument) => {
    const [low = 0, high = 0] = argument.split(',').map(Number);
    return /^\d+$/.test(text(value)) && text(value).length >= low && text(value).length <= high;
  },
  url: (value) => URL.canParse(text(value)),
  ip: (value) => /^(\d{1,3}\.){3}\d{1,3}$/.test(text(value)) || text(value).includes(':'),
};

/** Splits at `|`. A regex rule takes the rest of the text, because its pattern may contain `|`. */
function split(rules: string): [string, string][] {
  const result: [string, string][] = [];
  let rest = rules;
  while (rest !== '') {
    const takesRest = /^(regex|not_regex):/.test(rest);
    const end = takesRest ? rest.length : rest.indexOf('|');
    const rule = end === -1 ? rest : rest.slice(0, end);
    rest = end === -1 ? '' : rest.slice(end + 1);
    const colon = rule.indexOf(':');
    result.push(colon === -1 ? [rule, ''] : [rule.slice(0, colon), rule.slice(colon + 1)]);
  }
  return result;
}

/** The first rule that `value` breaks, with Laravel's message; undefined when it breaks none. */
export function brokenRule(rules: string, value: unknown): { rule: string; detail: string } | undefined {
  const list = split(rules);
  const empty = value === null || value === undefined || value === '';
  if (empty) {
    return list.some(([name]) => name === 'required')
      ? { rule: 'required', detail: 'The value field is required.' }
      : undefined;
  }
  const numeric = list.some(([name]) => ['integer', 'int', 'numeric'].includes(name)) && isNumeric(value);
  const size = numeric ? Number(value) : text(value).length;
  for (const [name, argument] of list) {
    const [low = 0, high = 0] = argument.split(',').map(Number);
    const fits =
      name === 'max'
        ? size <= low
        : name === 'min'
          ? size >= low
          : name === 'between'
            ? size >= low && size <= high
            : undefined;
    const passes = fits ?? CHECKS[name]?.(value, argument) ?? true;
    if (passes) continue;
    const format = name === 'regex' ? 'The value format is invalid.' : undefined;
    const kind = name === 'string' ? 'The value must be a string.' : undefined;
    return { rule: name === 'int' ? 'integer' : name, detail: format ?? kind ?? 'The value is invalid.' };
  }
  return undefined;
}
