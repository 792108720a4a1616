/**
 * How long, and for whom, an answer of Discord asks to wait (docs.discord.com/developers/topics/rate-limits). Nothing of it
 * is always there, and a proxy in between can change all of it.
 */
import { jsonOf, retryAfterMs } from '../http/answers.ts';
import type { HttpAnswer } from '../http/http.ts';
import type { Pause } from './answers.ts';

/** Limits of a pause that a 429 names. Nothing below: requests that are refused count against this machine. */
const MIN_PAUSE_MS = 250;
const MAX_PAUSE_MS = 60 * 60_000;
/** Pause after a 429 that does not say how long: the block of an address, for which everything must pause. */
const BLOCK_MS = 60_000;
/** Longest pause that the headers of an answer ask for which is not a 429; the window of a webhook has 2 s. */
const MAX_WINDOW_MS = 60_000;
/** A number of seconds above this is one of milliseconds, if it is whole: the longest window has 60 s. */
const MAX_WHOLE_SECONDS = 60;

/** The pause after the answer that used up the limit of the webhook. */
export function usedUp(answer: Pick<HttpAnswer, 'header'>): Pause | undefined {
  if (answer.header('x-ratelimit-remaining')?.trim() !== '0') return undefined;
  const text = answer.header('x-ratelimit-reset-after')?.trim() ?? '';
  if (!/^\d+(?:\.\d+)?$/.test(text)) return undefined;
  const ms = Math.ceil(Number(text) * 1000);
  return ms > 0 ? { scope: 'webhook', ms: Math.min(ms, MAX_WINDOW_MS) } : undefined;
}

/**
 * The pause that a 429 asks for.
 * @param options `version10`: the answer has seconds; without a version in the path it has milliseconds. `scope`: of a
 * limit that the code of the error names.
 */
export function limitPause(
  answer: HttpAnswer,
  options: { version10: boolean; scope?: Pause['scope'] | undefined },
): Pause {
  const body: unknown = jsonOf(answer);
  const asked = askedMs(body, options.version10);
  const header = retryAfterMs(answer);
  if (asked === undefined && options.scope === undefined) return blockPause(answer);
  const ms = asked ?? header ?? BLOCK_MS;
  return { scope: scopeOf(answer, body) ?? options.scope ?? guessedScope(answer), ms: clamp(ms) };
}

/** The pause after a block of this machine's address: at least a minute, at most an hour, for every webhook. */
export const blockPause = (answer: HttpAnswer): Pause => ({
  scope: 'all',
  ms: Math.max(retryAfterMs(answer) ?? 0, BLOCK_MS),
});

const clamp = (ms: number): number => Math.min(Math.max(Math.ceil(ms), MIN_PAUSE_MS), MAX_PAUSE_MS);

const field = (body: unknown, name: string): unknown =>
  typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined;

/** `retry_after` in milliseconds; undefined if the body has none. */
function askedMs(body: unknown, version10: boolean): number | undefined {
  const value = field(body, 'retry_after');
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) return undefined;
  const isMs = !version10 && Number.isInteger(value) && value > MAX_WHOLE_SECONDS;
  return isMs ? value : value * 1000;
}

function scopeOf(answer: HttpAnswer, body: unknown): Pause['scope'] | undefined {
  const scope = answer.header('x-ratelimit-scope')?.trim().toLowerCase();
  const global = answer.header('x-ratelimit-global')?.trim().toLowerCase() === 'true';
  if (global || scope === 'global' || field(body, 'global') === true) return 'all';
  if (scope === 'shared') return 'channel';
  return scope === 'user' ? 'webhook' : undefined;
}

/** Without a scope: the limit of the channel is in no header, so it is that one unless the webhook's own is used up. */
const guessedScope = (answer: HttpAnswer): Pause['scope'] =>
  answer.header('x-ratelimit-remaining')?.trim() === '0' ? 'webhook' : 'channel';
