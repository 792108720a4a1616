/** Rules for settings that hold a URL. */

/**
 * What is wrong with the URL of a page or of a server; undefined when it can be used.
 * @param options `base`: paths are appended to it, so it ends where its path does.
 */
export function webAddressProblem(value: string, options: { base: boolean }): string | undefined {
  if (!isWebAddress(value)) return 'must be an http(s) URL';
  return options.base && /[?#]/.test(value) ? 'may not have a query or a fragment' : undefined;
}

/** An absolute http(s) URL without spaces and without a user name or password in it. */
function isWebAddress(value: string): boolean {
  if (!/^https?:\/\/\S+$/i.test(value) || !URL.canParse(value)) return false;
  const { username, password, hostname } = new URL(value);
  return hostname !== '' && username === '' && password === '';
}

/** A URL as it may be shown: without user name and password. Other texts as they are. */
export function withoutLogin(url: string): string {
  const parsed = URL.parse(url);
  if (parsed === null || (parsed.username === '' && parsed.password === '')) return url;
  parsed.username = '';
  parsed.password = '';
  return parsed.href.replace(/\/$/, '');
}
