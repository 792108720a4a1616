/** API keys, and the throttle: a fixed window per user and API, begun by the first request in it. */

import type { Right, Rights } from '../api/serialize.ts';
import { RIGHTS } from '../api/serialize.ts';
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
  /** Locked to an address that nobody has. */
  locked: boolean;
}

/** Tokens of the keys every simulator starts with. */
export interface SimulatorKeys {
  /** Application key, read on everything. */
  full: string;
  /** Application key, read on servers only. */
  fewRights: string;
  /** Application key without any right. */
  noRights: string;
  /** Application key of a second admin, read and write. */
  second: string;
  /** Application key whose owner is no root admin. */
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
  /** Makes a further key and gives its token. */
  add(key: NewKey): string;
  find(authorization: string | undefined): ApiKey | undefined;
}

/** 48 characters: prefix and identifier 16, secret 32. `tokens` replaces the made ones. */
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
  /** Spends `count` requests of a user's window, as another program with the same owner would. */
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
