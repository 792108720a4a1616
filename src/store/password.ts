/** Password hashes. The column is shared with the web site, so it stays bcrypt. */
import bcrypt from 'bcrypt';
import { PASSWORD_MAX_BYTES } from '../domain/account.ts';

/** Cost of new hashes; weaker ones are rewritten at sign-in. */
export const PASSWORD_COST = 12;

/** A hash of nobody's password, so that an unknown address takes as long to refuse as a known one. */
let decoy: Promise<string> | undefined;

/** @throws {RangeError} above {@link PASSWORD_MAX_BYTES} bytes. */
export async function hashPassword(password: string): Promise<string> {
  if (Buffer.byteLength(password) > PASSWORD_MAX_BYTES) throw new RangeError('password is longer than 72 bytes');
  return bcrypt.hash(password, PASSWORD_COST);
}

/** Compares in the same time whether there is a hash or not. Takes `$2a$`, `$2b$` and `$2y$`. */
export async function verifyPassword(password: string, hash: string | null | undefined): Promise<boolean> {
  if (hash === null || hash === undefined || !/^\$2[aby]\$\d\d\$/.test(hash)) {
    decoy ??= bcrypt.hash('decoy', PASSWORD_COST);
    await bcrypt.compare(password, await decoy);
    return false;
  }
  // The driver answers false to `$2y$`, which names the same algorithm.
  const right = await bcrypt.compare(password, hash.replace(/^\$2y\$/, '$2b$'));
  if (!right) await makeUpFor(costOf(hash));
  return right;
}

/** Whether the hash is weaker than those written today. */
export function isWeakHash(hash: string): boolean {
  return costOf(hash) < PASSWORD_COST;
}

const costOf = (hash: string): number => Number(/^\$2[aby]\$(\d\d)\$/.exec(hash)?.[1] ?? 0);

/**
 * A weaker hash is compared faster, which would tell an old account from an unknown address: 2^c work is made up to 2^12
 * by 2^c + 2^(c+1) + … + 2^11.
 */
async function makeUpFor(cost: number): Promise<void> {
  // bcrypt knows no cost below 4.
  for (let c = Math.max(4, cost); c < PASSWORD_COST; c += 1) await bcrypt.hash('decoy', c);
}
