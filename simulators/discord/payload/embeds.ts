/** Embeds and their limits (docs.discord.com/developers/resources/message, "Embed Object" and "Embed Limits"). */
import type { StoredEmbed } from '../contract.ts';
import { type Checker, type Fields, isAbsent, lengthOf, type Path } from './checker.ts';
import { checkUrl } from './urls.ts';

export const MAX_EMBEDS = 10;
const MAX_EMBED_TEXT = 6_000;
const MAX_FIELDS = 25;
const MAX_COLOR = 0xffffff;
/** ISO 8601 with `Z`, with an offset or without a zone (discord/discord-api-docs#291). */
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?$/i;

/** Reads `embeds`. */
export function checkEmbeds(checker: Checker, value: unknown): StoredEmbed[] {
  const list = checker.list(value, ['embeds'], MAX_EMBEDS) ?? [];
  const embeds = list.map((entry, i) => checkEmbed(checker, entry, ['embeds', i]));
  // Over all embeds of the message, not per embed.
  const size = embeds.reduce((sum, embed) => sum + textLength(embed), 0);
  if (size > MAX_EMBED_TEXT) {
    checker.add(['embeds'], 'MAX_EMBED_SIZE_EXCEEDED', `Embed size exceeds maximum size of ${MAX_EMBED_TEXT}`);
  }
  return embeds;
}

/** Title, description, names and values of the fields, footer and author count; URLs do not. */
function textLength({ title, description, fields = [], footer, author }: StoredEmbed): number {
  const texts = [title, description, footer?.text, author?.name, ...fields.flatMap(({ name, value }) => [name, value])];
  return texts.reduce((sum, text) => sum + lengthOf(text ?? ''), 0);
}

function checkEmbed(checker: Checker, value: unknown, path: Path): StoredEmbed {
  const given = checker.fields(value, path);
  if (given === undefined || Object.keys(given).length === 0) {
    const message = 'List item values of ModelType are required';
    if (given !== undefined || isAbsent(value)) checker.add(path, 'LIST_ITEM_VALUE_REQUIRED', message);
    return {};
  }
  const embed: StoredEmbed = {
    title: checker.text(given['title'], [...path, 'title'], 256),
    description: checker.text(given['description'], [...path, 'description'], 4096),
    url: checkUrl(checker, given['url'], [...path, 'url']),
    color: checker.integer(given['color'], [...path, 'color'], { min: 0, max: MAX_COLOR }),
    timestamp: checkTimestamp(checker, given['timestamp'], [...path, 'timestamp']),
    fields: checkFields(checker, given['fields'], [...path, 'fields']),
    footer: part(checker, given['footer'], [...path, 'footer'], (footer, at) => ({
      text: checker.requiredText(footer['text'], [...at, 'text'], 2048),
      icon_url: checkUrl(checker, footer['icon_url'], [...at, 'icon_url'], { file: true }),
    })),
    author: part(checker, given['author'], [...path, 'author'], (author, at) => ({
      name: checker.requiredText(author['name'], [...at, 'name'], 256),
      url: checkUrl(checker, author['url'], [...at, 'url']),
      icon_url: checkUrl(checker, author['icon_url'], [...at, 'icon_url'], { file: true }),
    })),
    image: checkImage(checker, given['image'], [...path, 'image']),
    thumbnail: checkImage(checker, given['thumbnail'], [...path, 'thumbnail']),
  };
  // Seen with every key null (mymoomin/RSStoWebhook); that other keys do not fill an embed is assumed.
  const filled = [embed.title, embed.description, embed.footer?.text, embed.author?.name, embed.fields?.length];
  if (!filled.some(Boolean) && embed.image === undefined && embed.thumbnail === undefined) {
    checker.add([...path, 'description'], 'BASE_TYPE_REQUIRED', 'This field is required');
  }
  return embed;
}

/** The object at a path, as `read` reads it. */
function part<T>(checker: Checker, value: unknown, path: Path, read: (fields: Fields, path: Path) => T): T | undefined {
  const given = checker.fields(value, path);
  return given === undefined ? undefined : read(given, path);
}

function checkImage(checker: Checker, value: unknown, path: Path): { url: string } | undefined {
  const given = checker.fields(value, path);
  if (given === undefined) return undefined;
  if (isAbsent(given['url'])) checker.add([...path, 'url'], 'BASE_TYPE_REQUIRED', 'This field is required');
  return { url: checkUrl(checker, given['url'], [...path, 'url'], { file: true }) ?? '' };
}

/** `name` and `value` may be empty since 2024 (hikari-py/hikari#2105); absent, they are refused. */
function checkFields(checker: Checker, value: unknown, path: Path): StoredEmbed['fields'] {
  return checker.list(value, path, MAX_FIELDS)?.map((entry, i) => {
    const at = [...path, i];
    const field = checker.fields(entry, at) ?? {};
    return {
      name: checker.requiredText(field['name'], [...at, 'name'], 256),
      value: checker.requiredText(field['value'], [...at, 'value'], 1024),
      inline: checker.boolean(field['inline'], [...at, 'inline']) ?? false,
    };
  });
}

/** A text; numbers and booleans are refused (Discord4J/Discord4J#196). */
function checkTimestamp(checker: Checker, value: unknown, path: Path): string | undefined {
  if (isAbsent(value)) return undefined;
  if (typeof value === 'string' && TIMESTAMP.test(value.trim()) && !Number.isNaN(Date.parse(value.trim()))) {
    return value.trim();
  }
  checker.add(path, 'DATE_TIME_TYPE_PARSE', `Could not parse ${String(value)}. Should be ISO8601.`);
  return undefined;
}
