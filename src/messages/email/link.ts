/** The link of an email: a URL that the caller gave, or the page of the web site that redeems the email's token. */
import { DENIAL_PATH, EMAIL_FIELDS, type EmailData, type EmailTemplate, httpUrl, textOf } from '../../domain/email.ts';

/** Where the links of emails lead. */
export interface EmailSite {
  /** http(s) URL of the web site, with or without a slash at its end. */
  readonly siteUrl: string;
  /** Paths of the pages that redeem a token; each begins with a slash. */
  readonly paths: { readonly verify: string; readonly reset: string; readonly magic: string };
  /** Origin of the api; undefined if it is not configured. */
  readonly apiUrl?: string | undefined;
}

/** Result of {@link emailLink}: a URL; `none` if the email has no link; `unusable` if the URL is not an http(s) URL. */
export type EmailLink = { readonly url: string } | 'none' | 'unusable';

/** The link of an email: the URL in its data, or else the site's page for the token in its data. */
export function emailLink(template: EmailTemplate, data: EmailData, site: EmailSite): EmailLink {
  const field = EMAIL_FIELDS[template].find((one) => one.url);
  if (field === undefined) return 'none';
  const given = textOf(data, field.key);
  const text = given === '' ? tokenUrl(template, data, site) : given;
  if (text === undefined) return 'none';
  const url = httpUrl(text);
  return url === undefined ? 'unusable' : { url };
}

/** The page of the api for "This was not me"; undefined if the email has no such link. */
export function denialLink(data: EmailData, { apiUrl }: EmailSite): string | undefined {
  const [token, id] = [textOf(data, 'denialToken'), textOf(data, 'id')];
  if (apiUrl === undefined || token === '' || id === '') return undefined;
  return httpUrl(`${apiUrl}${DENIAL_PATH}?token=${encodeURIComponent(token)}&id=${encodeURIComponent(id)}`);
}

/** The page that verifies an address needs token and id; the two other pages need the token only. */
function tokenUrl(template: EmailTemplate, data: EmailData, { siteUrl, paths }: EmailSite): string | undefined {
  const token = textOf(data, 'token');
  const id = template === 'magic-link' ? '' : textOf(data, 'id');
  const verifies = template === 'email-verification' || template === 'welcome';
  if (token === '' || (verifies && id === '')) return undefined;
  const path = template === 'magic-link' ? paths.magic : verifies ? paths.verify : paths.reset;
  const query = `token=${encodeURIComponent(token)}${id === '' ? '' : `&id=${encodeURIComponent(id)}`}`;
  return `${siteUrl.replace(/\/+$/, '')}${path}?${query}`;
}
