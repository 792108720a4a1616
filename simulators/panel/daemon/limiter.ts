/** Limits of what one connection may ask: router/websocket/limiter.go and router/router_server_ws.go of pterodactyl/wings. */

/** A bucket of tokens that fills by one in `everyMs`, as golang.org/x/time/rate. */
function createBucket(everyMs: number, burst: number): () => boolean {
  let tokens = burst;
  let at = performance.now();
  return () => {
    const now = performance.now();
    tokens = Math.min(burst, tokens + (now - at) / everyMs);
    at = now;
    if (tokens < 1) return false;
    tokens -= 1;
    return true;
  };
}

/** limitValuesFor: "twice every five seconds" is two at once, then one in five seconds. */
const LIMITS: Readonly<Record<string, [everyMs: number, burst: number]>> = {
  auth: [5_000, 2],
  'send logs': [5_000, 2],
  'send command': [1_000, 10],
};
const OTHERS: [everyMs: number, burst: number] = [1_000, 4];

export interface Limiter {
  /** Whether an event may pass. `notify`: `throttled` is sent, once in a period of throttling. */
  allow(event: string): { allowed: boolean; notify: boolean };
  /** The limit over all messages: ten, then one in 200 ms. */
  allowMessage(): { allowed: boolean; notify: boolean };
}

export function createLimiter(): Limiter {
  const buckets = new Map<string, () => boolean>();
  const throttled = new Set<string>();
  const all = createBucket(200, 10);
  const judge = (name: string, allowed: boolean) => {
    const notify = !allowed && !throttled.has(name);
    if (allowed) throttled.delete(name);
    else throttled.add(name);
    return { allowed, notify };
  };
  return {
    allow(event) {
      const own = Object.hasOwn(LIMITS, event);
      const name = own ? event : '_default';
      const bucket = buckets.get(name) ?? createBucket(...(LIMITS[name] ?? OTHERS));
      buckets.set(name, bucket);
      return judge(event, bucket());
    },
    allowMessage: () => judge('global', all()),
  };
}
