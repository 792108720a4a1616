/** The prune guard: the limit that refuses a large deletion. A panel that answers wrongly must not empty the mirror. */

/** The guard does not protect tables that hold at most this many rows. */
export const PRUNE_GUARD_MIN_ROWS = 20;
/** Share of a table's rows above which a prune is refused, unless mass prunes are allowed. */
const PRUNE_GUARD_SHARE = 0.5;

/**
 * Decides whether `gone` of `present` rows may be deleted. An empty listing is refused whatever the numbers are, also
 * when mass prunes are allowed.
 */
export function mayPrune(
  gone: number,
  present: number,
  options: { emptyListing: boolean; allowMass: boolean },
): boolean {
  if (gone === 0) return true;
  if (options.emptyListing) return false;
  if (options.allowMass || present <= PRUNE_GUARD_MIN_ROWS) return true;
  return gone <= present * PRUNE_GUARD_SHARE;
}
