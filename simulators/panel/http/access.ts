/** API keys, and the throttle: a fixed window per user and API that starts with its first request. */
import { RIGHTS, type Right, type Rights } from '../api/kinds.ts';
import { createRandom } from '../world/random.ts';

export type Api = 'application' | 'client';

export interface ApiKey {
  /** For the request log: `full`, `client`, … */
  label: string;
  token: string;
  kind: Api;
  userId: number;
  rights: Rights;
  write: boolean;
  expired: boolean;
  /** The key accepts only another address than the caller's. */
  locked: boolean;
}

/** Tokens of the keys with which every simulator starts. */
export interface SimulatorKeys {
  /** Application key, may read everything. */
  full: string;
  /** Application key, may read servers only. */
  fewRights: string;
  /** Application key without any right. */
  noRights: string;
  /** Application key of a second admin, may read and write. */
  second: string;
  /** Application key whose owner is not a root admin. */
  notAdmin: string;
  /** Application key locked to another address. */
  locked: string;
  /** Application key that expired. */
  expired: string;
  /** Client key of a root admin. */
  client: string;
  /** Client key of an ordinary user (user 3). */
  userClient: string;
}

export interface NewKey {
  label?: string;
  token?: string;
  kind?: Api;
  userId?: number;
  /** Default: every right (application keys). */
  rights?: readonly Right[];
  write?: boolean;
  expired?: boolean;
  locked?: boolean;
}

export interface KeyRing {
  readonly keys: SimulatorKeys;
  /** Adds a key and returns its token. */
  add(key: NewKey): string;
  find(authorization: string | undefined): ApiKey | undefined;
}

/** Tokens have 48 characters: 16 of prefix and identifier, 32 of secret. `tokens` replaces generated tokens. */
export function createKeyRing(seed: number, tokens: Partial<SimulatorKeys> = {}): KeyRing {
  const random = createRandom(seed ^ 0x4e15);
  const byToken = new Map<string, ApiKey>();
  const add = (key: NewKey): string => {
    const kind = key.kind ?? 'application';
    const token = key.token ?? `${kind === 'application' ? 'ptla_' : 'ptlc_'}${random.text(43)}`;
    byToken.set(token, {
      label: key.label ?? kind,
      token,
      kind,
      userId: key.userId ?? 1,
      rights: kind === 'client' ? 'all' : new Set(key.rights ?? RIGHTS),
      write: key.write ?? kind === 'client',
      expired: key.expired ?? false,
      locked: key.locked ?? false,
    });
    return token;
  };
  const make = (label: keyof SimulatorKeys, key: NewKey) => {
    const token = tokens[label];
    return add({ label, ...key, ...(token === undefined ? {} : { token }) });
  };
  const keys: SimulatorKeys = {
    full: make('full', {}),
    fewRights: make('fewRights', { rights: ['servers'] }),
    noRights: make('noRights', { rights: [] }),
    second: make('second', { userId: 2, write: true }),
    notAdmin: make('notAdmin', { userId: 3 }),
    locked: make('locked', { locked: true }),
    expired: make('expired', { expired: true }),
    client: make('client', { kind: 'client' }),
    userClient: make('userClient', { kind: 'client', userId: 3 }),
  };
  return {
    keys,
    add,
    find(authorization) {
      const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1];
      return token === undefined ? undefined : byToken.get(token);
    },
  };
}

export interface Hit {
  refused: boolean;
  limit: number;
  remaining: number;
  /** Milliseconds until the window ends. */
  leftMs: number;
  /** Unix seconds at which it ends. */
  reset: number;
}

export interface Throttler {
  /** Counts one request; undefined when the API is not throttled (limit 0). */
  hit(api: Api, userId: number): Hit | undefined;
  /** Uses up `count` requests of a user's window, as another program with a key of the same user would. */
  spend(api: Api, userId: number, count: number): void;
  reset(): void;
}

export function createThrottler(limits: () => { limit: number; clientLimit: number; windowMs: number }): Throttler {
  const windows = new Map<string, { start: number; count: number }>();
  const windowOf = (api: Api, userId: number, windowMs: number) => {
    const name = `${api}:${userId}`;
    const now = Date.now();
    let window = windows.get(name);
    if (window === undefined || now >= window.start + windowMs) {
      window = { start: now, count: 0 };
      windows.set(name, window);
    }
    return window;
  };
  return {
    hit(api, userId) {
      const { limit: application, clientLimit, windowMs } = limits();
      const limit = api === 'application' ? application : clientLimit;
      if (limit === 0) return undefined;
      const window = windowOf(api, userId, windowMs);
      const end = window.start + windowMs;
      const refused = window.count >= limit;
      if (!refused) window.count += 1;
      return {
        refused,
        limit,
        remaining: limit - window.count,
        leftMs: end - Date.now(),
        reset: Math.ceil(end / 1_000),
      };
    },
    spend(api, userId, count) {
      const { limit, clientLimit, windowMs } = limits();
      const window = windowOf(api, userId, windowMs);
      window.count = Math.min(window.count + count, api === 'application' ? limit : clientLimit);
    },
    reset: () => windows.clear(),
  };
}
