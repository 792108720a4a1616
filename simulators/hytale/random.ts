/** Values that look random and are the same for the same seed: ids, tokens, user codes. */
import { createHash } from 'node:crypto';

/** Letters and digits of user codes; as seen, they are of both cases and without a dash. */
const LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz23456789';
const USER_CODE_LENGTH = 8;

export interface Random {
  bytes(): Buffer;
  uuid(): string;
  /** A token as Ory Hydra writes them: `ory_<kind>_<key>.<signature>`. */
  token(kind: 'dc' | 'rt'): string;
  /** Eight letters and digits of both cases. */
  userCode(): string;
  /** Digits, for instance the nanoseconds of a moment. */
  digits(count: number): string;
}

export function createRandom(seed: number): Random {
  let drawn = 0;
  const bytes = (): Buffer => {
    drawn += 1;
    return createHash('sha512').update(`${seed}:${drawn}`).digest();
  };
  const letter = (byte: number): string => LETTERS.charAt(byte % LETTERS.length);
  const random: Random = {
    bytes,
    uuid() {
      const hex = bytes().toString('hex');
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
    },
    token(kind) {
      const text = bytes();
      return `ory_${kind}_${text.subarray(0, 32).toString('base64url')}.${text.subarray(32).toString('base64url')}`;
    },
    userCode() {
      const code = Array.from(bytes().subarray(0, USER_CODE_LENGTH), letter).join('');
      // Both cases, so that a code whose case was changed is another code.
      return /[a-z]/.test(code) && /[A-Z]/.test(code) ? code : random.userCode();
    },
    digits: (count) => Array.from(bytes().subarray(0, count), (byte) => byte % 10).join(''),
  };
  return random;
}
