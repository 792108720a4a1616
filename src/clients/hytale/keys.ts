/**
 * The keys with which the session host signs. They are fetched once for all who wait, kept for an hour, and fetched again for a
 * key that is not known, at most every five minutes. While they cannot be fetched, the last ones are used for up to a day.
 */
import { createLocalJWKSet, createRemoteJWKSet, customFetch, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import { jsonOf } from '../http/answers.ts';
import { failureText, HttpFailure, sentence } from '../http/failures.ts';
import { createHttpClient, type HttpAnswer } from '../http/http.ts';
import type { JwksStatus } from './answers.ts';

const HOUR_MS = 3_600_000;
const STALE_MS = 24 * HOUR_MS;
/** A key that is not known is looked for this often. */
export const COOLDOWN_MS = 300_000;
/** jose fetches again for each token while fetches fail, so a failure is remembered for this long. */
const FAILURE_MS = 10_000;
const TIMEOUT_MS = 5_000;
const MAX_BODY_BYTES = 256 * 1024;
const PATH = '/.well-known/jwks.json';
const WHO = 'the session host of Hytale';

export interface KeysOptions {
  /** Origin of the session host. */
  sessionsBase: string;
  timeoutMs?: number | undefined;
  /** Called when a fetch fails, at most every ten seconds. @param detail a public sentence. */
  onFailure?: ((detail: string) => void) | undefined;
}

/** The keys cannot be had. `message` is a public sentence. */
export class KeysUnavailable extends Error {}

export interface Keys {
  /** Finds the key of a token. @throws {KeysUnavailable}, and the errors of jose for a token without a key. */
  readonly find: JWTVerifyGetKey;
  /**
   * Fetches the keys, unless they were fetched since `ifBefore`.
   * @param began Unix milliseconds at which the caller began, with whatever keys there were.
   * @returns whether keys may be there that the caller did not try.
   */
  renew(times: { ifBefore: number; began: number }): Promise<boolean>;
  status(): JwksStatus;
  /** Fetches them now. @throws {KeysUnavailable} */
  fetchKeys(): Promise<void>;
  /** Fetches them if none are kept. @throws {KeysUnavailable} */
  ready(): Promise<void>;
}

/** `x` of 32 bytes. */
const X = /^[A-Za-z0-9_-]{43}$/;
const KEY_SET = z.object({ keys: z.array(z.looseObject({ kty: z.string() })).max(1_000) });
const ED25519 = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('Ed25519'),
  x: z.string().regex(X),
  kid: z.string().optional(),
  alg: z.string().optional(),
  use: z.string().optional(),
});

/** The Ed25519 keys of an answer; a key without a name has its `x` for one. Undefined if there is none. */
function keysIn(answer: HttpAnswer): JSONWebKeySet | undefined {
  if (answer.status !== 200) return undefined;
  const set = KEY_SET.safeParse(jsonOf(answer));
  const keys = (set.data?.keys ?? []).flatMap((key) => {
    const { data } = ED25519.safeParse(key);
    return data === undefined ? [] : [{ ...data, kid: data.kid ?? data.x }];
  });
  // Without the fields that are undefined.
  return keys.length === 0 ? undefined : JSON.parse(JSON.stringify({ keys }));
}

interface Fetched {
  at: number;
  count: number;
  find: JWTVerifyGetKey;
}

/** What is known of the fetches of one process. */
interface Book {
  last: Fetched | undefined;
  failure: { at: number; detail: string } | undefined;
}

/** A process needs one of them: fetches, failures and keys are known to it alone. */
export function createKeys(options: KeysOptions): Keys {
  const { sessionsBase, timeoutMs = TIMEOUT_MS, onFailure } = options;
  const { origin } = new URL(sessionsBase);
  const http = createHttpClient({
    origin,
    guard: 'environment',
    timeoutMs,
    maxBodyBytes: MAX_BODY_BYTES,
    connections: 1,
  });
  const book: Book = { last: undefined, failure: undefined };
  const remote = createRemoteJWKSet(new URL(PATH, origin), {
    cacheMaxAge: HOUR_MS,
    cooldownDuration: COOLDOWN_MS,
    // The deadline of the HTTP client comes first.
    timeoutDuration: timeoutMs + 1_000,
    [customFetch]: async () => {
      const { failure } = book;
      if (failure !== undefined && Date.now() - failure.at < FAILURE_MS) throw new KeysUnavailable(failure.detail);
      try {
        const answer = await http.send({ method: 'GET', path: PATH, headers: { accept: 'application/json' } });
        const keys = keysIn(answer);
        if (keys === undefined) throw new KeysUnavailable(noKeysText(answer.status));
        book.last = { at: Date.now(), count: keys.keys.length, find: createLocalJWKSet(keys) };
        book.failure = undefined;
        return Response.json(keys);
      } catch (error) {
        const detail = detailOf(error);
        book.failure = { at: Date.now(), detail };
        onFailure?.(detail);
        throw new KeysUnavailable(detail);
      }
    },
  });
  const kept = (): Fetched | undefined =>
    book.last !== undefined && Date.now() - book.last.at < STALE_MS ? book.last : undefined;
  const find: JWTVerifyGetKey = async (header, token) => {
    try {
      return await remote(header, token);
    } catch (error) {
      const last = kept();
      if (!(error instanceof KeysUnavailable) || last === undefined) throw error;
      return last.find(header, token);
    }
  };
  return {
    find,
    renew: async ({ ifBefore, began }) => {
      if (book.last !== undefined && book.last.at >= ifBefore) return book.last.at >= began;
      await remote.reload();
      return true;
    },
    status: () => statusOf(book, remote.fresh),
    fetchKeys: async () => {
      book.failure = undefined;
      await remote.reload();
    },
    ready: async () => {
      if (remote.fresh) return;
      await remote.reload().catch((error: unknown) => {
        if (kept() === undefined) throw error;
      });
    },
  };
}

function statusOf({ last, failure }: Book, cacheValid: boolean): JwksStatus {
  return {
    cacheValid,
    keysCount: last?.count ?? 0,
    lastRefresh: last === undefined ? null : new Date(last.at),
    nextRefresh: last === undefined ? null : new Date(last.at + HOUR_MS),
    problem: failure?.detail ?? null,
  };
}

const noKeysText = (status: number): string =>
  sentence(`${WHO} answered the request for its keys without an Ed25519 key (status ${status})`);

function detailOf(error: unknown): string {
  if (error instanceof KeysUnavailable) return error.message;
  return error instanceof HttpFailure ? failureText(WHO, error) : 'The keys of Hytale cannot be read';
}
