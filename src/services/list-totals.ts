/** Totals of lists for a second: a person who turns pages, and many callers at once, cost one count. */

/** Milliseconds for which a total is given again. */
const KEEP_MS = 1000;
/** Maximum number of totals that are kept. A search makes a key of any text. */
const MAX_KEPT = 500;

/** `T`: a number, or the numbers that one statement counts. */
export interface ListTotals<T = number> {
  /**
   * The total of a list at most a second old; concurrent callers share one count, and a failed count is not kept.
   * @param filter what decides about the total: every filter, not the page and not the order.
   */
  of(list: string, filter: Readonly<Record<string, unknown>>, count: () => Promise<T>): Promise<T>;
}

/** Makes the totals of one process. */
export function createListTotals<T = number>(): ListTotals<T> {
  const kept = new Map<string, { until: number; total: Promise<T> }>();
  return {
    of(list, filter, count) {
      const key = `${list} ${JSON.stringify(filter)}`;
      const now = performance.now();
      const known = kept.get(key);
      if (known !== undefined && known.until > now) return known.total;
      const entry = { until: now + KEEP_MS, total: count() };
      kept.delete(key);
      kept.set(key, entry);
      // The oldest is first: a map keeps the order of insertion.
      const [oldest] = kept.keys();
      if (kept.size > MAX_KEPT && oldest !== undefined) kept.delete(oldest);
      entry.total.catch(() => {
        if (kept.get(key) === entry) kept.delete(key);
      });
      return entry.total;
    },
  };
}
