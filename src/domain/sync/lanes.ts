/**
 * Deals the pages of a batch out to its lanes, in turn. The requests of a lane run one after the other, the lanes side by side.
 */
export function lanesOf<T>(items: readonly T[], lanes: number): T[][] {
  const count = Math.max(1, Math.min(lanes, items.length));
  return Array.from({ length: count }, (_, lane) => items.filter((_item, i) => i % count === lane));
}
