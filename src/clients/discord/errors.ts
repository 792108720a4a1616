/**
 * Errors of Discord's API (docs.discord.com/developers/topics/opcodes-and-status-codes). The code decides, not the status:
 * the statuses of many codes are not documented. Of an error, its number, names of fields and Discord's own words leave
 * this file; texts never do, because they can quote the message or the URL.
 */
import { jsonOf } from '../http/answers.ts';
import type { HttpAnswer } from '../http/http.ts';

/** What an error means for a message. */
export type Meaning =
  /** No request to this webhook can succeed. */
  | { is: 'dead'; detail: string }
  | { is: 'refused'; detail: string }
  /** One of Discord's limits, beyond the usual ones. */
  | { is: 'wait'; scope: 'webhook' | 'channel'; detail: string }
  /** Everything that this machine sends is refused. */
  | { is: 'blocked'; detail: string }
  | { is: 'outage'; detail: string };

const refused = (detail: string): Meaning => ({ is: 'refused', detail });
const wait = (scope: 'webhook' | 'channel', detail: string): Meaning => ({ is: 'wait', scope, detail });
const outage = (detail: string): Meaning => ({ is: 'outage', detail });

const WRONG_THREAD =
  "Discord finds no thread of the webhook's channel by the thread_id in its URL: correct thread_id, or remove it";

export const BLOCKED: Meaning = {
  is: 'blocked',
  detail: "Discord's firewall refuses the requests of this machine: they are sent again later",
};

const MEANINGS: Readonly<Record<number, Meaning>> = {
  10003: refused(WRONG_THREAD),
  10015: { is: 'dead', detail: 'Discord does not know this webhook: it was deleted there, or its URL is wrong' },
  20016: wait('channel', 'Slow mode is on in the channel'),
  20028: wait('channel', 'Discord accepts no more messages in the channel for a moment'),
  20029: wait('channel', "Discord accepts no more messages on the channel's server for a moment"),
  40004: outage('Discord has switched off sending for a time'),
  40005: refused('Discord refused the message: it is too large'),
  40006: outage('Discord has switched off this feature for a time'),
  40062: wait('webhook', 'Discord accepts no more messages of the webhook for a moment'),
  40067: refused('The forum wants a tag for each post: add ?thread_id=<id of a post> to the URL of the webhook'),
  40333: BLOCKED,
  50006: refused('Discord refused the message: there is nothing in it'),
  50027: { is: 'dead', detail: 'Discord refuses the token of this webhook: copy its URL again' },
  50041: refused('Discord does not offer version 10 of its API any more: update this service'),
  50083: refused('The thread that thread_id in the URL names is archived: open it again, or name another one'),
  50109: refused('Discord refused the message: it cannot read its JSON'),
  130000: outage('Discord is overloaded'),
  160005: refused('The thread that thread_id in the URL names is locked: unlock it, or name another one'),
  160006: refused('The channel has as many active threads as Discord allows: archive some of them'),
  200000: refused("The server's AutoMod stopped the message: allow the webhook there"),
  200001: refused("The server's AutoMod stopped the title: allow the webhook there"),
  220001: refused('The channel is a forum: add ?thread_id=<id of a post> to the URL of the webhook'),
  220002: refused('Discord refused the message: it names a thread and opens a new one'),
  220003: refused('Discord refused the message: it opens a thread in a channel that is not a forum'),
  220004: refused('The URL ends with /slack or /github, which a forum does not take: remove that end'),
  240000: refused('Discord stopped the message because of a link in it'),
};

/** Fields of a message, and of the query of the URL. Other names are not shown, because a hostile answer can invent them. */
const FIELDS: ReadonlySet<string> = new Set(
  `content username avatar_url tts embeds title type description url timestamp color footer text icon_url proxy_icon_url
  image thumbnail author provider name fields value inline allowed_mentions parse roles users replied_user components files
  attachments payload_json flags thread_name applied_tags poll thread_id webhook_id wait with_components`.split(/\s+/),
);
/** Deeper than any message. */
const MAX_DEPTH = 8;
const SHOWN_FIELDS = 4;

/** A field that is wrong: its path, and what Discord calls the fault. */
interface FieldError {
  path: string[];
  code: string | undefined;
}

/** An error in the form of Discord's API. */
export interface DiscordError {
  /** Null in answers of the API without a version: they have only fields. */
  code: number | null;
  fields: FieldError[];
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The error that an answer holds; undefined if it has not the form of Discord's errors. */
export function readError(answer: Pick<HttpAnswer, 'text'>): DiscordError | undefined {
  const body = jsonOf(answer);
  if (!isObject(body)) return undefined;
  const { code, message, errors } = body;
  if (typeof code === 'number' && typeof message === 'string') {
    if (!Number.isInteger(code) || code < 0 || code > 9_999_999) return undefined;
    return { code, fields: isObject(errors) ? [...nestedFields(errors, [])] : [] };
  }
  // Without a version the same faults come flat: `{"embeds":["0"]}`.
  const entries = Object.entries(body);
  const flat = entries.every(([name, list]) => FIELDS.has(name) && Array.isArray(list));
  return entries.length > 0 && flat ? { code: null, fields: entries.flatMap(flatFields) } : undefined;
}

const step = (name: string): string => (FIELDS.has(name) || /^\d{1,2}$/.test(name) ? name : '?');

/** The leaves are lists `_errors`, at any depth. */
function* nestedFields(node: Record<string, unknown>, path: string[]): Generator<FieldError> {
  if (path.length > MAX_DEPTH) return;
  for (const [name, value] of Object.entries(node)) {
    if (name === '_errors' && Array.isArray(value)) {
      for (const leaf of value) yield { path, code: wordOf(leaf) };
    } else if (isObject(value)) {
      yield* nestedFields(value, [...path, step(name)]);
    }
  }
}

/** Only a word in capitals is shown. */
function wordOf(leaf: unknown): string | undefined {
  const code = isObject(leaf) ? leaf['code'] : undefined;
  return typeof code === 'string' && /^[A-Z]+(?:_[A-Z]+){0,8}$/.test(code) && code.length <= 60 ? code : undefined;
}

const flatFields = ([name, list]: [string, unknown]): FieldError[] =>
  (Array.isArray(list) ? list : []).map((item: unknown) => ({
    path: typeof item === 'string' && step(item) !== '?' ? [name, item] : [name],
    code: undefined,
  }));

/** Whether only our name or picture was refused. Discord does not list all names that it refuses. */
export const isAboutName = ({ fields }: DiscordError): boolean =>
  fields.length > 0 && fields.every(({ path: [first] }) => first === 'username' || first === 'avatar_url');

/** What an error means, by its code. A fault of Discord itself (5xx) says nothing about the webhook, whatever the code. */
export function meaningOf(error: DiscordError, status: number): Meaning {
  const known = error.code === null ? undefined : MEANINGS[error.code];
  if (status >= 500 && known?.is !== 'outage') return outage(`Discord has a fault of its own (status ${status})`);
  if (known !== undefined) return known;
  const first = error.fields[0]?.path[0];
  if (first === 'thread_id') return refused(WRONG_THREAD);
  const about = error.fields.length > 0 ? fieldsText(error.fields) : `status ${status}${codeText(error.code)}`;
  return refused(`Discord refused the message: ${about}`);
}

const codeText = (code: number | null): string => (code === null || code === 0 ? '' : `, code ${code}`);

function fieldsText(fields: readonly FieldError[]): string {
  const texts = fields.map(({ path, code }) => {
    const name = path.join('.') || 'the whole';
    return code === undefined ? name : `${name} (${code})`;
  });
  const different = [...new Set(texts)];
  const rest = different.length - SHOWN_FIELDS;
  return `${different.slice(0, SHOWN_FIELDS).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}
