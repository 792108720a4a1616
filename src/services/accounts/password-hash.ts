/** Password hashes. The column is shared with the web site, so it stays bcrypt. */
import bcrypt from 'bcrypt';
import pLimit, { type LimitFunction } from 'p-limit';
import { PASSWORD_MAX_BYTES } from '../../domain/accounts/password-policy.ts';
import { AppError } from '../../domain/errors.ts';

/** Cost of new hashes; weaker ones are rewritten at sign-in. */
export const PASSWORD_COST = 12;

/**
 * Hashes computed at the same time. bcrypt shares the four threads of Node's pool with token signatures and name
 * resolution, so many sign-ins at once must leave some threads for other requests.
 */
const CONCURRENT_HASHES = 2;
/** Requests that may wait for their turn: about 12 s at 250 ms per hash. */
const MAX_WAITING = 100;
/** Requests of one network that may be computed or wait. */
const MAX_OF_NETWORK = 50;

/** Computes in the order of arrival. */
const limit = pLimit(CONCURRENT_HASHES);
/** Requests that are computed or wait. */
let present = 0;

/** The requests of one network. */
interface NetworkTurn {
  /** Passes only as many on to {@link limit} as are computed at once: a request of another network waits for few of them. */
  limit: LimitFunction;
  present: number;
}
const turns = new Map<string, NetworkTurn>();

/**
 * @param network where the request comes from, for requests that strangers can make.
 * @throws {AppError} SERVICE_UNAVAILABLE when {@link MAX_WAITING} requests wait already, or {@link MAX_OF_NETWORK} of the
 * network are there.
 */
async function inTurn<T>(work: () => Promise<T>, network = ''): Promise<T> {
  const turn = turns.get(network) ?? { limit: pLimit(CONCURRENT_HASHES), present: 0 };
  if (present >= CONCURRENT_HASHES + MAX_WAITING || (network !== '' && turn.present >= MAX_OF_NETWORK)) {
    throw new AppError('SERVICE_UNAVAILABLE', { retryAfterMs: 5000 });
  }
  turns.set(network, turn);
  present += 1;
  turn.present += 1;
  try {
    return await turn.limit(() => limit(work));
  } finally {
    present -= 1;
    turn.present -= 1;
    if (turn.present === 0) turns.delete(network);
  }
}

/** A hash to compare with when there is none, so that an unknown address takes as long to refuse as a known one. */
let decoy: Promise<string> | undefined;

/**
 * @param network as {@link inTurn} has it.
 * @throws {RangeError} above {@link PASSWORD_MAX_BYTES} bytes.
 */
export async function hashPassword(password: string, network?: string): Promise<string> {
  if (Buffer.byteLength(password) > PASSWORD_MAX_BYTES) throw new RangeError('password is longer than 72 bytes');
  return inTurn(() => bcrypt.hash(password, PASSWORD_COST), network);
}

/**
 * Compares in the same time whether there is a hash or not. Takes `$2a$`, `$2b$` and `$2y$`.
 * @param network as {@link inTurn} has it.
 */
export function verifyPassword(password: string, hash: string | null | undefined, network?: string): Promise<boolean> {
  return inTurn(async () => {
    if (hash === null || hash === undefined || !/^\$2[aby]\$\d\d\$/.test(hash)) {
      decoy ??= bcrypt.hash('decoy', PASSWORD_COST);
      await bcrypt.compare(password, await decoy);
      return false;
    }
    // The driver answers false to `$2y$`, which names the same algorithm.
    const right = await bcrypt.compare(password, hash.replace(/^\$2y\$/, '$2b$'));
    if (!right) await makeUpFor(costOf(hash));
    return right;
  }, network);
}

/** Whether the hash is weaker than those written today. */
export function isWeakHash(hash: string): boolean {
  return costOf(hash) < PASSWORD_COST;
}

const costOf = (hash: string): number => Number(/^\$2[aby]\$(\d\d)\$/.exec(hash)?.[1] ?? 0);

/**
 * Adds the work that a weaker hash saves: its comparison is faster, which would tell an old account from an unknown
 * address. Work of 2^c becomes 2^12 by adding 2^c + 2^(c+1) + … + 2^11.
 */
async function makeUpFor(cost: number): Promise<void> {
  // bcrypt knows no cost below 4.
  for (let c = Math.max(4, cost); c < PASSWORD_COST; c += 1) await bcrypt.hash('decoy', c);
}
