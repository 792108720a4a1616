/** The address of a panel as clients need it: the address of its site, to which they append the path of the API. */

/** The API's path, and the page on which a panel's keys are made: both are copied in place of the site's address. */
const API_PATH = /(\/admin)?\/api(\/.*)?$/i;

/** Cuts the API's path from the end of an http(s) URL, and slashes; other texts stay as they are. */
export function withoutApiPath(url: string): string {
  if (!URL.canParse(url)) return url;
  const { origin, pathname } = new URL(url);
  return API_PATH.test(pathname)
    ? `${origin}${pathname.replace(API_PATH, '').replace(/\/+$/, '')}`
    : url.replace(/\/+$/, '');
}
