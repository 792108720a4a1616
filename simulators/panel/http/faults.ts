/** Faults on demand: which requests they match, and what happens to these requests. */
import type { ListTweaks } from './answer.ts';

export type FaultAction =
  | { kind: 'status'; status: 401 | 403 | 404 | 429 | 500 | 502 | 503 | 504; retryAfter?: number | undefined }
  /** The request is never answered. */
  | { kind: 'hang' }
  /** The connection is reset. */
  | { kind: 'reset' }
  /** The connection ends after half of the body. */
  | { kind: 'truncate' }
  /** 200 with an empty list and total 0. */
  | { kind: 'empty' }
  /** The answer is delayed, milliseconds. */
  | { kind: 'slow'; ms: number }
  /** A wrong `total`. */
  | { kind: 'total'; delta: number | 'random' }
  /** Half of the page's items, the true total. */
  | { kind: 'half' }
  /** The include `name` is written as if the key lacked its right. */
  | { kind: 'null-resource'; name: string }
  /** Filters are ignored, as by forks that build their lists without the panel's query builder: the whole list is answered. */
  | { kind: 'no-filters' }
  /** 200 with an HTML page. */
  | { kind: 'html' }
  /**
   * A gateway answers in place of the panel, with an HTML page: 520, 522 and 524 are Cloudflare's (its documentation,
   * "Cloudflare 5xx errors"). `challenge`: a firewall asks for a browser.
   */
  | { kind: 'gateway'; status: number; challenge?: boolean | undefined; location?: string | undefined }
  /** 200 with a message of PHP before the JSON. */
  | { kind: 'php-notice' }
  /** 200 with a content encoding that the request did not ask for. */
  | { kind: 'encoded'; encoding: 'gzip' | 'deflate' | 'br' };

export interface Fault {
  match?: {
    path?: RegExp | undefined;
    /** The query as it was sent, with its `?`. */
    query?: RegExp | undefined;
    page?: number | undefined;
    /** Only pages that hold the record at this place of the listing, from 1: a record that the panel cannot print. */
    place?: number | undefined;
    method?: string | undefined;
  };
  /** Maximum number of requests that get the fault. */
  times?: number | undefined;
  /** Only every n-th matching request gets it. */
  everyNth?: number | undefined;
  /** The first n matching requests do not get it. */
  afterNth?: number | undefined;
  action: FaultAction;
}

export interface Faults {
  /** Returns a function that removes the fault. */
  add(fault: Fault): () => void;
  clear(): void;
  /** The actions for this request. Counts the request. */
  take(request: { method: string; path: string; query: string; page: number; perPage: number }): FaultAction[];
}

export function createFaults(): Faults {
  let active: { fault: Fault; seen: number; done: number }[] = [];
  return {
    add(fault) {
      const entry = { fault, seen: 0, done: 0 };
      active.push(entry);
      return () => {
        active = active.filter((other) => other !== entry);
      };
    },
    clear() {
      active = [];
    },
    take({ method, path, query, page, perPage }) {
      const actions: FaultAction[] = [];
      for (const entry of active) {
        const { match = {}, times, everyNth, afterNth, action } = entry.fault;
        if (match.method !== undefined && match.method !== method) continue;
        if (match.page !== undefined && match.page !== page) continue;
        // `search` ignores `lastIndex`, which a pattern with the flag g carries from call to call
        if (match.path !== undefined && path.search(match.path) === -1) continue;
        if (match.query !== undefined && query.search(match.query) === -1) continue;
        if (match.place !== undefined && Math.ceil(match.place / perPage) !== page) continue;
        entry.seen += 1;
        if (afterNth !== undefined && entry.seen <= afterNth) continue;
        if (everyNth !== undefined && entry.seen % everyNth !== 0) continue;
        if (times !== undefined && entry.done >= times) continue;
        entry.done += 1;
        actions.push(action);
      }
      return actions;
    },
  };
}

/** The actions' changes in a list. With `delta: 'random'` the total differs on each request. */
export function tweaksOf(actions: readonly FaultAction[], n: number): ListTweaks {
  const tweaks: ListTweaks = {};
  for (const action of actions) {
    if (action.kind === 'empty') tweaks.empty = true;
    else if (action.kind === 'half') tweaks.half = true;
    else if (action.kind === 'null-resource') tweaks.nullResource = action.name;
    else if (action.kind === 'no-filters') tweaks.noFilters = true;
    else if (action.kind === 'total')
      tweaks.totalDelta = action.delta === 'random' ? ((n * 7_919) % 41) - 20 : action.delta;
  }
  return tweaks;
}
