/** The body of a message (docs.discord.com/developers/resources/webhook, "Execute Webhook"). */
import type { StoredEmbed } from '../contract.ts';
import { refuse, refuseForm } from '../errors.ts';
import { type Checker, createChecker, type Fields, isAbsent, isFields, isSnowflake, lengthOf } from './checker.ts';
import { checkEmbeds } from './embeds.ts';
import { checkUrl } from './urls.ts';

export interface Message {
  content: string;
  embeds: StoredEmbed[];
  /** Null: the webhook's own. */
  username: string | null;
  avatarUrl: string | null;
  threadName: string | null;
  allowedMentions: unknown;
  flags: number;
  tts: boolean;
}

const MAX_CONTENT = 2000;
const MAX_USERNAME = 80;
const MAX_MENTIONED = 100;
const FORBIDDEN_NAMES = ['clyde', 'discord'];
const MENTION_TYPES = ['roles', 'users', 'everyone'] as const;
/** SUPPRESS_EMBEDS, SUPPRESS_NOTIFICATIONS, IS_COMPONENTS_V2; others are ignored here, which is assumed. */
const COMPONENTS_V2 = 1 << 15;
const SETTABLE_FLAGS = (1 << 2) | (1 << 12) | COMPONENTS_V2;

/**
 * Reads the body of a message.
 * @param settings.withComponents without it, components of a webhook that no application owns are ignored.
 * @throws {Refusal} as Discord refuses it.
 */
export function readMessage(
  body: unknown,
  settings: { version: number; withComponents: boolean; files: number; refusedNames: readonly string[] },
): Message {
  const checker = createChecker();
  const given = checker.fields(body ?? {}, []) ?? {};
  const message: Message = {
    content: checker.text(given['content'], ['content'], MAX_CONTENT) ?? '',
    embeds: checkEmbeds(checker, given['embeds']),
    username: checkUsername(checker, given['username'], settings.refusedNames),
    avatarUrl: checkUrl(checker, given['avatar_url'], ['avatar_url']) ?? null,
    threadName: checker.text(given['thread_name'], ['thread_name'], 100) ?? null,
    allowedMentions: checkMentions(checker, given['allowed_mentions']),
    flags: (checker.integer(given['flags'], ['flags'], { min: 0, max: 2 ** 53 - 1 }) ?? 0) & SETTABLE_FLAGS,
    tts: checker.boolean(given['tts'], ['tts']) ?? false,
  };
  const components = checker.list(given['components'], ['components'], 40) ?? [];
  const poll = checker.fields(given['poll'], ['poll']);
  const old = message.content !== '' || message.embeds.length > 0 || poll !== undefined || settings.files > 0;
  if ((message.flags & COMPONENTS_V2) !== 0 && old) {
    const text = 'The fields content, embeds, poll and files cannot be used with the flag IS_COMPONENTS_V2';
    checker.add(['content'], 'MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2', text);
  }
  if (checker.issues.length > 0) throw refuseForm(checker.issues, settings.version);
  if (!old && !(settings.withComponents && components.length > 0)) throw refuse(50006);
  return message;
}

/**
 * 1 to 80 characters, without `clyde` and `discord` in any case. Null is the webhook's own name, an empty text is refused
 * (seen by mymoomin/RSStoWebhook). Further words are refused by an unlisted rule: `refusedNames`.
 */
function checkUsername(checker: Checker, value: unknown, refusedNames: readonly string[]): string | null {
  if (isAbsent(value)) return null;
  const name = checker.text(value, ['username'], Number.POSITIVE_INFINITY);
  if (name === undefined) return null;
  if (name === '' || lengthOf(name) > MAX_USERNAME) {
    checker.add(['username'], 'BASE_TYPE_BAD_LENGTH', `Must be between 1 and ${MAX_USERNAME} in length.`);
  }
  const found = [...FORBIDDEN_NAMES, ...refusedNames].find(
    (word) => word === '*' || name.toLowerCase().includes(word.toLowerCase()),
  );
  if (found !== undefined) {
    checker.add(['username'], 'USERNAME_INVALID_CONTAINS', `Username cannot contain "${found}"`);
  }
  return name;
}

/** docs.discord.com/developers/resources/message, "Allowed Mentions Object". */
function checkMentions(checker: Checker, value: unknown): unknown {
  const given = checker.fields(value, ['allowed_mentions']);
  if (given === undefined) return null;
  const parse = checker.list(given['parse'], ['allowed_mentions', 'parse'], 100) ?? [];
  for (const [i, type] of parse.entries()) {
    if (MENTION_TYPES.some((known) => known === type)) continue;
    const message = "Value must be one of {'everyone', 'users', 'roles'}.";
    checker.add(['allowed_mentions', 'parse', i], 'BASE_TYPE_CHOICES', message);
  }
  for (const type of ['roles', 'users']) {
    const ids = checker.list(given[type], ['allowed_mentions', type], MAX_MENTIONED) ?? [];
    for (const [i, id] of ids.entries()) {
      if (isSnowflake(String(id))) continue;
      checker.add(['allowed_mentions', type, i], 'NUMBER_TYPE_COERCE', `Value "${String(id)}" is not snowflake.`);
    }
    if (ids.length === 0 || !parse.includes(type)) continue;
    const message = `parse:["${type}"] and ${type}: [ids...] are mutually exclusive.`;
    checker.add(['allowed_mentions'], 'MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE', message);
  }
  return given;
}

/** A body of Slack's form as a message: text, and attachments as embeds. */
export function fromSlack(body: unknown): Fields {
  const given = isFields(body) ? body : {};
  const attachments = Array.isArray(given['attachments']) ? given['attachments'].filter(isFields) : [];
  return {
    content: given['text'],
    username: given['username'],
    avatar_url: given['icon_url'],
    embeds: attachments.map((attachment) => ({
      title: attachment['title'],
      url: attachment['title_link'],
      description: attachment['text'] ?? attachment['fallback'],
    })),
  };
}

/** A body of GitHub's form as a message: which event of which repository. */
export function fromGitHub(body: unknown, event: string): Fields {
  const repository = isFields(body) && isFields(body['repository']) ? body['repository']['full_name'] : undefined;
  return { embeds: [{ title: `[${String(repository ?? 'unknown')}] ${event}` }] };
}
