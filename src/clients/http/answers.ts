/**
 * Tells an API's own answer from one of something in between: a firewall, a proxy, a login page, PHP that prints
 * notices. Only the API itself can decide about a request; everything else passes, like an outage.
 */
import { withoutApiPath } from '../../domain/panel/base-url.ts';
import { sentence } from './failures.ts';
import type { HttpAnswer } from './http.ts';

/** An answer that is not the API's own. */
export interface ForeignAnswer {
  kind: 'challenge' | 'login' | 'redirect' | 'php' | 'page' | 'json' | 'broken' | 'text' | 'empty';
  status: number;
  /** Of a redirect: the address that it leads to, without query; undefined if it leads to the same one. */
  to?: string;
}

/** Login pages of access proxies (Cloudflare Access: `/cdn-cgi/access/login/…`) and of panels. */
const LOGIN_PATH = /\/(login|signin|sign-in)(\/|$)/i;
const API_PATH = /\/api(\/|$)/i;
/**
 * PHP begins a message with a line break, or with its level where html_errors is off, and ends it with
 * `on line <b>1</b><br />` (php.net/manual/errorfunc.configuration.php). It can also follow the JSON.
 */
const PHP_MESSAGE = /^(<br|(<b>)?(php )?(warning|notice|deprecated|[a-z ]{0,20}error)(<\/b>)?:)/;

/** The JSON of an answer; undefined if it is no JSON. */
export function jsonOf(answer: Pick<HttpAnswer, 'text'>): unknown {
  try {
    return JSON.parse(answer.text);
  } catch {
    // The parser's message quotes the body, so it is not kept.
    return undefined;
  }
}

/**
 * What sent an answer, if it was not the API.
 * @param isOwn whether a JSON body has the form that the API gives to an answer of this status.
 * @param body its JSON, from a caller that needs it too: a page of servers takes milliseconds to parse.
 * @returns undefined for the API's own answer.
 */
export function foreignAnswer(
  answer: HttpAnswer,
  isOwn: (body: unknown) => boolean,
  body: unknown = jsonOf(answer),
): ForeignAnswer | undefined {
  const { status } = answer;
  if (answer.header('cf-mitigated') !== undefined) return { kind: 'challenge', status };
  if (status >= 300 && status < 400) return redirectOf(answer);
  if (body !== undefined) return isOwn(body) ? undefined : { kind: 'json', status };
  const start = answer.text.trimStart().slice(0, 100).toLowerCase();
  const end = answer.text.slice(-100).trimEnd();
  if (start === '') return { kind: 'empty', status };
  if (PHP_MESSAGE.test(start) || end.endsWith('</b><br />')) return { kind: 'php', status };
  if (start.startsWith('<')) return { kind: 'page', status };
  return { kind: /^[{[]/.test(start) ? 'broken' : 'text', status };
}

function redirectOf(answer: HttpAnswer): ForeignAnswer {
  const { status, url } = answer;
  const location = answer.header('location');
  const target = location !== undefined && URL.canParse(location, url.href) ? new URL(location, url) : undefined;
  if (target === undefined || !['http:', 'https:'].includes(target.protocol)) return { kind: 'redirect', status };
  const { origin, pathname } = target;
  if (LOGIN_PATH.test(pathname)) return { kind: 'login', status, to: origin };
  // A proxy that moves the whole site keeps the API's path. Other paths can hold anything, so only the origin is named.
  const to = API_PATH.test(pathname) ? withoutApiPath(`${origin}${pathname}`) : origin;
  const from = withoutApiPath(`${url.origin}${url.pathname}`);
  const elsewhere = API_PATH.test(pathname) ? to !== from : origin !== url.origin;
  return elsewhere ? { kind: 'redirect', status, to } : { kind: 'redirect', status };
}

/** One public sentence about it. @param who what was called, for the middle of a sentence: `the panel`. */
export function foreignText(who: string, { kind, status, to }: ForeignAnswer): string {
  switch (kind) {
    case 'challenge':
      return `A firewall in front of ${who} answers with a challenge for browsers (status ${status}): let requests of this server pass`;
    case 'login':
      return `Something in front of ${who} redirects to a login page (${to}): let requests of this server pass`;
    case 'redirect':
      return to === undefined
        ? `Something in front of ${who} redirects to another page (status ${status})`
        : sentence(`${who} redirects to ${to}: enter that address`);
    case 'php':
      return sentence(`${who} prints PHP messages into its answers (status ${status}): turn off display_errors there`);
    case 'page':
      return `A web page came in place of an answer of ${who} (status ${status}): something in between sent it, or the address is another site's`;
    case 'json':
      return `Something in front of ${who} answered in its place (status ${status}, JSON of another form)`;
    case 'broken':
      return sentence(`${who} sent JSON that is not whole (status ${status})`);
    case 'text':
      return `Something in front of ${who} answered in its place (status ${status}, not JSON)`;
    case 'empty':
      return `An empty answer came in place of an answer of ${who} (status ${status})`;
  }
}

/** Limits of a pause that an answer asks for, milliseconds. */
const MIN_WAIT_MS = 1_000;
const MAX_WAIT_MS = 60 * 60_000;

/** A pause between 1 s and 1 h. */
export const clampWait = (ms: number): number => Math.min(Math.max(ms, MIN_WAIT_MS), MAX_WAIT_MS);

/**
 * `Retry-After` in seconds or as an HTTP date, in milliseconds between 1 s and 1 h. A date is compared with that of the answer:
 * the clock of the server may differ from ours.
 */
export function retryAfterMs(answer: HttpAnswer): number | undefined {
  const header = answer.header('retry-after')?.trim() ?? '';
  if (/^\d+$/.test(header)) return clampWait(Number(header) * 1_000);
  const date = header === '' ? Number.NaN : Date.parse(header);
  const sent = Date.parse(answer.header('date') ?? '');
  return Number.isNaN(date) ? undefined : clampWait(date - (Number.isNaN(sent) ? Date.now() : sent));
}
