/**
 * URLs of embeds and avatars: http or https, at most 2048 characters, a host with a dot or an IPv4 address
 * (go-gitea/gitea#11124, bugsink/bugsink#280); an empty text is refused (discord/discord-api-docs#5837).
 */
import { type Checker, lengthOf, type Path } from './checker.ts';

const MAX_URL_LENGTH = 2048;
const MAX_LABEL_LENGTH = 63;

/** A checked URL; undefined if it is absent. `file`: it may name an attachment. */
export function checkUrl(
  checker: Checker,
  value: unknown,
  path: Path,
  { file = false }: { file?: boolean } = {},
): string | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'string') {
    checker.add(path, 'STRING_TYPE_CONVERT', 'Could not interpret value as string.');
    return undefined;
  }
  const url = value.trim();
  if (lengthOf(url) > MAX_URL_LENGTH) {
    checker.add(path, 'BASE_TYPE_MAX_LENGTH', `Must be ${MAX_URL_LENGTH} or fewer in length.`);
    return url;
  }
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase();
  if (file && scheme === 'attachment' && url.length > 'attachment://'.length) return url;
  if (scheme !== undefined && scheme !== 'http' && scheme !== 'https') {
    const allowed = file ? "('http', 'https', 'attachment')" : "('http', 'https')";
    checker.add(
      path,
      'URL_TYPE_INVALID_SCHEME',
      `Scheme "${scheme}" is not supported. Scheme must be one of ${allowed}.`,
    );
  } else if (!isWellFormedUrl(url)) checker.add(path, 'URL_TYPE_INVALID_URL', 'Not a well formed URL.');
  return url;
}

function isWellFormedUrl(url: string): boolean {
  if (!/^https?:\/\//i.test(url) || /\s/.test(url) || URL.parse(url) === null) return false;
  // The host as it is written: `URL` would rewrite one, for example a number to an address.
  const host = /^https?:\/\/(?:[^/?#@]*@)?([^/?#:]*)/i.exec(url)?.[1] ?? '';
  const labels = host.split('.');
  return labels.length > 1 && labels.every((label) => label !== '' && lengthOf(label) <= MAX_LABEL_LENGTH);
}
