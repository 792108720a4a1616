/**
 * Reads the attributes of one record of the panel. What is odd in them costs as little as it can, by these rules:
 *
 * | column | what is taken | what rejects the record |
 * | --- | --- | --- |
 * | free text (names, descriptions, notes, …) | a text; NUL and lone surrogates, which PostgreSQL cannot store, become U+FFFD; a number or a truth value as its text | a list or an object: null would erase what is stored |
 * | key (uuid, short code, email, ip, variable) | a text that can be stored as it is, since a changed key is another key | everything else |
 * | integer | a number, or its digits as a text | everything else: there is no number that it could stand for |
 * | truth value | true, false, a number, or `"0"`, `"1"`, `"true"`, `"false"` | everything else |
 * | PHP list | an array, or the object that PHP prints for a list with gaps | everything else, also `{}` |
 * | what may stay unknown (see records.ts) | null: the merge keeps what is stored | nothing |
 *
 * An attribute that is null or missing has the default that records.ts names. Unknown attributes are dropped.
 */
import { listOf } from './envelope.ts';
import { integerOf } from './integer.ts';

/** Why a record is rejected: column and rule, never the value. */
export class InvalidAttribute extends Error {
  override readonly name = 'InvalidAttribute';
}

const INT4_MAX = 2_147_483_647;
const FLAGS: Readonly<Record<string, boolean>> = { '0': false, '1': true, false: false, true: true };

/** PostgreSQL stores neither NUL nor half of a surrogate pair, and fails on the whole page. */
const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

const asText = (value: unknown): string | undefined => {
  if (typeof value === 'string') return isStorable(value) ? value : value.replaceAll('\0', '\ufffd').toWellFormed();
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
};

/** The attributes of one record. Each method reads one of them, @throws {InvalidAttribute} by the rules above. */
export class Attributes {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #path: string;

  /** @param path names of the attributes that lead here, with a dot at its end; empty for a record itself. */
  constructor(values: Readonly<Record<string, unknown>>, path = '') {
    this.#values = values;
    this.#path = path;
  }

  #value(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }

  #refuse(name: string, rule: string): never {
    throw new InvalidAttribute(`${this.#path}${name}: ${rule}`);
  }

  /** A positive int4. */
  id(name: string): number {
    const value = this.int4(name);
    return value !== null && value > 0 ? value : this.#refuse(name, 'is no id');
  }

  /** A number of 0 or more that must be there. */
  port(name: string): number {
    const value = this.int4(name);
    return value !== null && value >= 0 ? value : this.#refuse(name, 'is no port');
  }

  int4(name: string): number | null {
    const value = this.int8(name);
    if (value === null || (value >= -INT4_MAX - 1 && value <= INT4_MAX)) return value;
    return this.#refuse(name, 'is too large');
  }

  /** Larger numbers than 2^53 have lost digits when the answer was parsed, so they are refused. */
  int8(name: string): number | null {
    const value = this.#value(name) ?? null;
    return value === null ? null : (integerOf(value) ?? this.#refuse(name, 'is no integer'));
  }

  flag(name: string, fallback: boolean): boolean {
    const value = this.#value(name) ?? fallback;
    if (typeof value === 'boolean') return value;
    if (typeof value === 'number') return value !== 0;
    const known = typeof value === 'string' && Object.hasOwn(FLAGS, value) ? FLAGS[value] : undefined;
    return known ?? this.#refuse(name, 'is neither true nor false');
  }

  /** A key that must be there. */
  key(name: string): string {
    return this.optionalKey(name) ?? this.#refuse(name, 'is empty');
  }

  /** Null for an empty text, too. */
  optionalKey(name: string): string | null {
    const value = this.#value(name) ?? '';
    if (value === '') return null;
    if (typeof value !== 'string') return this.#refuse(name, 'is no text');
    return isStorable(value) ? value : this.#refuse(name, 'holds a character that cannot be stored');
  }

  /** A free text that must be there. */
  name(name: string): string {
    return this.text(name) || this.#refuse(name, 'is empty');
  }

  text(name: string): string | null {
    const value = this.#value(name) ?? null;
    return value === null ? null : (asText(value) ?? this.#refuse(name, 'is no text'));
  }

  /** A list of texts; undefined when it is null or missing. */
  texts(name: string): string[] | undefined {
    const value = this.#value(name) ?? null;
    if (value === null) return undefined;
    const list = listOf(value) ?? this.#refuse(name, 'is no list');
    return list.map((entry, index) => asText(entry) ?? this.#refuse(`${name}.${index}`, 'is no text'));
  }

  /** A text, or a list of texts that is joined. */
  joined(name: string, separator: string): string | null {
    const value = this.#value(name);
    return typeof value === 'object' && value !== null ? (this.texts(name)?.join(separator) ?? null) : this.text(name);
  }

  /** A time as ISO text in UTC; null when it cannot be read. MySQL's `0000-00-00` is none. */
  time(name: string): string | null {
    const value = this.#value(name);
    if (typeof value !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(value))
      return null;
    const at = Date.parse(value);
    return at > 0 ? new Date(at).toISOString() : null;
  }

  /** A map within the record. PHP prints an empty one as an empty list; null and missing are empty, too. */
  map(name: string): Attributes {
    const value = this.#value(name) ?? {};
    if (Array.isArray(value) && value.length === 0) return new Attributes({}, `${this.#path}${name}.`);
    if (typeof value !== 'object' || Array.isArray(value)) return this.#refuse(name, 'is no object');
    return new Attributes(value as Record<string, unknown>, `${this.#path}${name}.`);
  }
}

/** What `read` gives; null for what may stay unknown and cannot be read. */
export function orUnknown<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidAttribute) return null;
    throw error;
  }
}
