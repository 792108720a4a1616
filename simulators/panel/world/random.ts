/** Repeatable random values: the same seed gives the same panel on every machine. */
export interface Random {
  /** At least 0, less than 1. */
  next(): number;
  /** A whole number from 0 to `below - 1`. */
  int(below: number): number;
  pick<T>(values: readonly [T, ...T[]]): T;
  uuid(): string;
  /** Letters and digits. */
  text(length: number): string;
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789';

/** mulberry32: 32 bits of state, enough for test data. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
  const int = (below: number) => Math.floor(next() * below);
  const hex = () => int(0x1_0000_0000).toString(16).padStart(8, '0');
  return {
    next,
    int,
    pick: (values) => values[int(values.length)] ?? values[0],
    uuid() {
      const raw = hex() + hex() + hex() + hex();
      const variant = '89ab'[int(4)];
      return `${raw.slice(0, 8)}-${raw.slice(8, 12)}-4${raw.slice(13, 16)}-${variant}${raw.slice(17, 20)}-${raw.slice(20)}`;
    },
    text: (length) => Array.from({ length }, () => ALPHABET[int(ALPHABET.length)]).join(''),
  };
}
