/** Load in a closed loop: each caller sends its next request when it has the answer to the previous one. */
import type { Pool } from 'undici';

/** One caller. Each call does one unit of work and returns its milliseconds. @throws {Error} for a wrong answer. */
export type Lane = () => Promise<number>;

export interface Figures {
  n: number;
  /** Units of work per second, of all callers together. */
  perSecond: number;
  /** Milliseconds, here and below. */
  mean: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
  errors: string[];
}

/** The keys that the checks read; undefined when the answer does not have them. */
export interface AnswerBody {
  success?: boolean;
  status?: string;
  error?: string;
  message?: string;
  accessToken?: string;
  refreshToken?: string;
  database?: { status?: string };
  user?: { id?: string };
  data?: readonly unknown[] & { servers?: { total?: number } };
  meta?: { total?: number };
  pagination?: { total?: number };
}

export interface ApiRequest {
  method: 'GET' | 'POST';
  path: string;
  headers: Record<string, string>;
  body?: string;
}

/** The requests of one caller. `check` throws when the answer is not the expected one. */
export interface Exchange {
  next(): ApiRequest;
  check(status: number, body: AnswerBody): void;
}

/** Sends one request. The measured time ends with the last byte of the answer. */
export async function send(pool: Pool, request: ApiRequest): Promise<{ ms: number; status: number; body: AnswerBody }> {
  const at = performance.now();
  const response = await pool.request(request);
  const text = await response.body.text();
  const ms = performance.now() - at;
  return { ms, status: response.statusCode, body: JSON.parse(text) as AnswerBody };
}

/** A caller that sends its requests over a pool of open connections. */
export function httpLane(pool: Pool, exchange: Exchange): Lane {
  return async () => {
    const { ms, status, body } = await send(pool, exchange.next());
    exchange.check(status, body);
    return ms;
  };
}

/** @throws {Error} with the beginning of the answer, without its tokens, when `right` is false. */
export function expectAnswer(right: boolean, what: string, status: number, body: AnswerBody): void {
  if (right) return;
  const shown = JSON.stringify(body).replace(/"(\w*[tT]oken)":"[^"]*"/g, '"$1":"…"');
  throw new Error(`${what}: ${status} ${shown.slice(0, 300)}`);
}

/** Nearest rank. @param sorted ascending. */
const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;

/** Mean, percentiles and rate of measured times in milliseconds. */
export function figuresOf(times: readonly number[], elapsedMs: number, errors: string[]): Figures {
  const sorted = times.toSorted((a, b) => a - b);
  return {
    n: sorted.length,
    perSecond: (sorted.length / elapsedMs) * 1000,
    mean: sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length,
    p50: percentile(sorted, 0.5),
    p90: percentile(sorted, 0.9),
    p99: percentile(sorted, 0.99),
    max: sorted.at(-1) ?? Number.NaN,
    errors,
  };
}

/** Runs the callers for `seconds`. Started work is finished and counted. A caller stops at its first error. */
export async function drive(lanes: readonly Lane[], seconds: number): Promise<Figures> {
  const times: number[] = [];
  const errors: string[] = [];
  const startedAt = performance.now();
  await Promise.all(
    lanes.map(async (lane) => {
      try {
        while (performance.now() - startedAt < seconds * 1000) times.push(await lane());
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
    }),
  );
  return figuresOf(times, performance.now() - startedAt, errors);
}

/** The measurement whose rate is the median. */
export function medianOf<F extends Figures>(all: readonly F[]): F {
  const sorted = all.toSorted((a, b) => a.perSecond - b.perSecond);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  if (median === undefined) throw new Error('nothing was measured');
  return median;
}
