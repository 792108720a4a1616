/** What an answer of Discord, or of something in front of it, means for a message and for a webhook. */
import { foreignAnswer, foreignText, jsonOf, retryAfterMs } from '../http/answers.ts';
import { failureText, type HttpFailure, sentence, wasNeverSent } from '../http/failures.ts';
import type { HttpAnswer } from '../http/http.ts';
import type { InspectResult, Pause, PostResult } from './answers.ts';
import { BLOCKED, type DiscordError, isAboutName, type Meaning, meaningOf, readError } from './errors.ts';
import { blockPause, limitPause, usedUp } from './limits.ts';

/** What was called. */
export interface Called {
  /** For the middle of a sentence. */
  who: string;
  /** It is Discord, whose limits hold for all webhooks. */
  discord: boolean;
  /** The path has version 10. */
  version10: boolean;
  /** The URL names a thread. */
  thread: boolean;
}

/** Pause for every webhook while a firewall refuses this machine: long enough not to annoy it. */
const FIREWALL_MS = 5 * 60_000;
/** Texts of Cloudflare: `error code: 1010` (name of the client), 1006 and 1015 (address), 1020 (rule). */
const CLOUDFLARE = /\berror(?: code)?:? ?1\d{3}\b/i;
/** A proxy in front gave up waiting, so the message may have arrived: 504, and Cloudflare's 524. */
const GAVE_UP = [504, 524];

const isGood = (status: number): boolean => status >= 200 && status < 300;
const isSnowflake = (value: unknown): value is string => typeof value === 'string' && /^\d{1,20}$/.test(value);

function idIn(body: unknown, name: string): string | null {
  const value: unknown = typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined;
  return isSnowflake(value) ? value : null;
}

/** The result of a POST that was answered. */
export function readPostAnswer(called: Called, answer: HttpAnswer): PostResult {
  const result = resultOf(called, answer);
  const pause = result.pause ?? usedUp(answer);
  if (pause === undefined) return result;
  // A host that is not Discord has no say about the others.
  return { ...result, pause: { ...pause, scope: called.discord || pause.scope !== 'all' ? pause.scope : 'webhook' } };
}

function resultOf(called: Called, answer: HttpAnswer): PostResult {
  const { status } = answer;
  if (isGood(status)) return delivered(called, answer);
  const error = readError(answer);
  const meaning = error === undefined ? undefined : meaningOf(error, status);
  const seen = { httpStatus: status, discordCode: error?.code ?? null };
  if (meaning?.is === 'wait' || status === 429) {
    const scope = meaning?.is === 'wait' ? meaning.scope : undefined;
    const pause = limitPause(answer, { version10: called.version10, scope });
    const detail = meaning?.is === 'wait' ? meaning.detail : limitText(called, pause);
    return { ...seen, outcome: 'limited', detail, pause };
  }
  if (error === undefined || meaning === undefined) return foreign(called, answer);
  return known(answer, error, meaning);
}

/** Any 2xx means that the message was posted, whatever the body is. */
function delivered({ thread }: Called, answer: HttpAnswer): PostResult {
  const body = jsonOf(answer);
  // In a thread the answer names the thread, but the limit may be that of its channel.
  const channelId = thread ? null : idIn(body, 'channel_id');
  return { outcome: 'delivered', httpStatus: answer.status, messageId: idIn(body, 'id'), channelId };
}

function limitText({ who }: Called, { scope }: Pause): string {
  if (scope === 'all') return sentence(`${who} accepts no requests of this machine for a time`);
  return sentence(`${who} accepts no more messages of the ${scope} for a moment`);
}

/** An error in the form of Discord's API. */
function known(answer: HttpAnswer, error: DiscordError, meaning: Meaning): PostResult {
  const { status } = answer;
  const seen = { httpStatus: status, discordCode: error.code, detail: meaning.detail };
  if (meaning.is === 'blocked') {
    return { ...seen, outcome: 'unavailable', pause: { scope: 'all', ms: FIREWALL_MS } };
  }
  if (meaning.is === 'outage') return { ...seen, outcome: 'unavailable', ...laterPause(answer) };
  const refused = { ...seen, outcome: 'refused' } as const;
  return { ...refused, dead: meaning.is === 'dead', plainHelps: isAboutName(error) };
}

/** `Retry-After` of an answer that is no 429. */
function laterPause(answer: HttpAnswer): { pause?: Pause } {
  const ms = retryAfterMs(answer);
  return ms === undefined ? {} : { pause: { scope: 'webhook', ms } };
}

/** An answer that is not the API's. It says nothing about the webhook. */
function foreign({ who }: Called, answer: HttpAnswer): PostResult {
  const { status } = answer;
  const seen = { httpStatus: status, discordCode: null };
  if (status < 400) {
    const detail = sentence(`${who} redirects to another address (status ${status}), which is not followed`);
    return { ...seen, outcome: 'refused', detail, dead: false, plainHelps: false };
  }
  const challenge = answer.header('cf-mitigated') !== undefined;
  if (challenge || (status < 500 && CLOUDFLARE.test(answer.text))) {
    const pause = { scope: 'all', ms: Math.max(blockPause(answer).ms, FIREWALL_MS) } as const;
    return { ...seen, outcome: 'unavailable', detail: BLOCKED.detail, pause };
  }
  const outcome = GAVE_UP.includes(status) ? 'lost' : 'unavailable';
  return { ...seen, outcome, detail: foreignDetail(who, answer), ...laterPause(answer) };
}

function foreignDetail(who: string, answer: HttpAnswer): string {
  const { status } = answer;
  if (status >= 500) return sentence(`${who} or something in front of it has a fault (status ${status})`);
  const found = foreignAnswer(answer, () => false);
  return found === undefined ? sentence(`${who} answered with status ${status}`) : foreignText(who, found);
}

/** The result of a POST without a complete answer. */
export function readPostFailure(called: Called, failure: HttpFailure): PostResult {
  const { status } = failure;
  const seen = { httpStatus: status ?? null, discordCode: null };
  // The status arrived, and it decides; only the body was lost.
  if (status !== undefined && isGood(status)) {
    return { outcome: 'delivered', httpStatus: status, messageId: null, channelId: null };
  }
  const detail = failureText(called.who, failure);
  if (status === 429) {
    const pause = { scope: called.discord ? 'all' : 'webhook', ms: 60_000 } as const;
    return { ...seen, httpStatus: status, outcome: 'limited', detail: limitText(called, pause), pause };
  }
  const outcome = wasNeverSent(failure) || status !== undefined ? 'unavailable' : 'lost';
  return { ...seen, outcome, detail };
}

/** `type` of a webhook that takes messages by its URL; 2 follows another channel, 3 is an application's. */
const INCOMING = 1;

/** What the answer to a GET says of a webhook. It holds the token, so nothing but the named fields leaves. */
export function readInspectAnswer(called: Called, answer: HttpAnswer): InspectResult {
  const { status } = answer;
  if (isGood(status)) return readWebhook(called, answer);
  const error = readError(answer);
  if (error !== undefined) {
    const meaning = meaningOf(error, status);
    const detail = meaning.is === 'refused' ? `Discord answered with status ${status}` : meaning.detail;
    return { state: meaning.is === 'dead' ? 'dead' : 'unknown', detail };
  }
  const result = resultOf(called, answer);
  // What is refused without an error of Discord is a redirect, which no message follows.
  return { state: result.outcome === 'refused' ? 'dead' : 'unknown', detail: 'detail' in result ? result.detail : '' };
}

function nameIn(body: object): string | null {
  const name: unknown = Reflect.get(body, 'name');
  const token: unknown = Reflect.get(body, 'token');
  if (typeof name !== 'string' || (typeof token === 'string' && name.includes(token))) return null;
  return name.slice(0, 100);
}

function readWebhook({ who }: Called, answer: HttpAnswer): InspectResult {
  const body: unknown = jsonOf(answer);
  const isObject = typeof body === 'object' && body !== null;
  const type: unknown = isObject ? Reflect.get(body, 'type') : undefined;
  if (!isObject || typeof type !== 'number' || idIn(body, 'id') === null) {
    return { state: 'unknown', detail: sentence(`${who} did not answer in the form of Discord`) };
  }
  if (type === INCOMING) return { state: 'alive', channelId: idIn(body, 'channel_id'), name: nameIn(body) };
  const kind = type === 2 ? 'follows another channel' : 'belongs to an application';
  return { state: 'dead', detail: `This webhook ${kind}: make an incoming webhook in the settings of the channel` };
}
