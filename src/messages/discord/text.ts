/**
 * Texts of others as Discord shows them: on one line, without characters that change how the rest is read, without Markdown,
 * links and mentions. Lengths are code points, as Discord counts them (github.com/discord/discord-api-docs/issues/1315).
 */
import { shownReason } from '../../domain/runs.ts';

/** Characters of an error that are looked at: the rest would not be shown. */
const ERROR_LIMIT = 4_000;
/** Characters of a value in code marks. */
const CODE_LIMIT = 50;

/** Marks of direction, and characters without width except those that join emoji. */
const INVISIBLE = /[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const SPACES = /[\p{Cc}\p{Z}]+/gu;
/** What is left of a text that shows nothing: joiners, combining marks, and letters that are blank. */
const BLANK = /^[\p{Cf}\p{M}\p{Z}\u115f\u1160\u2800\u3164\uffa0]*$/u;

/** Number of code points. */
export const lengthOf = (text: string): number => [...text].length;

/** A text on one line; empty if it shows nothing. */
export function oneLine(text: string): string {
  const line = text.toWellFormed().replace(INVISIBLE, '').replace(SPACES, ' ').trim();
  return BLANK.test(line) ? '' : line;
}

const MARKS = /[\\*~`|]|<(?=[@#:/a-z])/gi;
/** For a text with a masked link; brackets alone have no meaning. */
const MARKS_AND_BRACKETS = /[\\*~`|[\]]|<(?=[@#:/a-z])/gi;

/** A text that is shown as it is written. */
export function plain(text: string): string {
  const line = oneLine(text);
  return (
    line
      // Emphasis, code and spoilers; mentions, timestamps and URLs in angle brackets. In Discord a backslash works before
      // each of them.
      .replace(line.includes('](') ? MARKS_AND_BRACKETS : MARKS, '\\$&')
      // An underscore between two letters, as in john_doe, has none either.
      .replace(/(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])/g, '\\_')
      .replace(/@(?=everyone|here)/gi, '\\@')
      .replace(/:(?=\/\/)/g, '\\:')
      // Headings, quotes and lists.
      .replace(/^[#>+-]|(?<=^\d+)[.)](?= |$)/, '\\$&')
  );
}

/** At most `max` code points, with an ellipsis in place of the rest. */
export function cut(text: string, max: number): string {
  if (text.length <= max) return text;
  const points = [...text];
  if (points.length <= max) return text;
  const kept = points
    .slice(0, max - 1)
    .join('')
    .trimEnd();
  // A backslash at the end has lost the character that it stood before.
  return `${kept.replace(/(?<!\\)((?:\\\\)*)\\$/, '$1')}…`;
}

/** A value in code marks, where Markdown has no effect. */
export function codeMark(text: string): string {
  const points = [...(oneLine(text) || '(empty)').replaceAll('`', "'")];
  const shown = points.length > CODE_LIMIT ? `${points.slice(0, CODE_LIMIT).join('')}...` : points.join('');
  return `\`${shown}\``;
}

/** As many lines as fit, and how many there are beyond them. @param total if there are more than these. */
export function listOf(lines: readonly string[], max: number, total: number = lines.length): string {
  const more = (count: number): string => `… and ${count} more`;
  const room = max - lengthOf(more(total)) - 1;
  const kept: string[] = [];
  let length = 0;
  for (const line of lines) {
    length += lengthOf(line) + 1;
    if (length - 1 > room) break;
    kept.push(line);
  }
  return kept.length < total ? [...kept, more(total - kept.length)].join('\n') : kept.join('\n');
}

const ADDRESS = '[address]';
const ADDRESSES: readonly RegExp[] = [
  /\b[a-z][a-z0-9+.-]*:\/\/[^\s"'<>)\]]*[^\s"'<>)\].,:;!?]/gi,
  // IPv6, in brackets or not; a time of day has two colons.
  /\[[0-9a-f:.]*:[0-9a-f:.]*\](?::\d+)?/gi,
  /(?<![\w:])(?:[0-9a-f]{0,4}:){3,7}[0-9a-f]{0,4}(?![\w:])/gi,
  /\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b/g,
  // A host with its port, or with an ending of private networks; the name that a resolver did not find.
  /\b[a-z][\w-]*(?:\.[\w-]+)*:\d{2,5}\b/gi,
  /\b[\w-]+(?:\.[\w-]+)*\.(?:local|localdomain|internal|intranet|lan|home|corp|private)\b/gi,
  /(?<=\b(?:ENOTFOUND|EAI_AGAIN|ENODATA) )[\w.-]+/g,
];

/** A reason of a failure as a channel may show it: without secrets, and without addresses of the installation. */
export function shownError(text: string): string {
  const hidden = ADDRESSES.reduce((shown, pattern) => shown.replace(pattern, ADDRESS), text.slice(0, ERROR_LIMIT));
  return plain(shownReason(hidden) ?? '');
}
