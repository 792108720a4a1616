/** What each template is filled with, what is wrong with a filling, and the one link an email leads to. */
import type { EmailData, EmailTemplate } from '../../domain/email.ts';

export interface EmailField {
  readonly key: string;
  readonly description: string;
  /** Without it the email would say nothing. */
  readonly required?: true;
  /** An http(s) URL, the target of the email's link. */
  readonly url?: true;
}

/** Where the links of emails lead. */
export interface EmailSite {
  /** http(s) URL of the web site, with or without a slash at its end. */
  readonly siteUrl: string;
  /** Paths of the site's pages that redeem a token; each begins with a slash. */
  readonly paths: { readonly verify: string; readonly reset: string; readonly magic: string };
}

const NAME: EmailField = { key: 'name', description: 'first name of the reader; may be empty' };
const TOKEN: EmailField = { key: 'token', description: 'one-time token, when there is no URL' };
const ID: EmailField = { key: 'id', description: 'id of the account, beside the token' };
const link = (key: string): EmailField => ({ key, description: 'URL of the link, instead of a token', url: true });

/** The texts a template knows. Others are ignored. */
export const EMAIL_FIELDS: Readonly<Record<EmailTemplate, readonly EmailField[]>> = {
  'email-verification': [NAME, link('verifyUrl'), TOKEN, ID],
  'password-reset': [NAME, link('resetUrl'), TOKEN, ID],
  'magic-link': [NAME, link('magicLinkUrl'), TOKEN],
  welcome: [NAME, link('verifyUrl'), TOKEN, ID],
  'email-changed': [NAME, { key: 'newEmail', description: 'the new address', required: true }],
  'sync-complete': [
    { key: 'syncType', description: 'what was synchronised', required: true },
    { key: 'status', description: 'how it ended', required: true },
    { key: 'duration', description: 'how long it took, with its unit' },
  ],
  message: [{ key: 'message', description: 'the text; its line breaks are kept', required: true }],
};

/** What {@link emailLink} finds: a URL, nothing to link to, or a link that may not or cannot be made. */
export type EmailLink = { readonly url: string } | 'none' | 'unusable';

/** An absolute http(s) URL in its normal spelling; undefined for anything else, blanks and control characters included. */
export function httpUrl(text: string): string | undefined {
  // The URL parser drops line breaks and tabs silently: a text that needs that is not what its writer meant.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
  if (/[\u0000-\u0020\u007f-\u009f\u2028\u2029]/.test(text)) return undefined;
  const url = URL.parse(text);
  return url !== null && (url.protocol === 'https:' || url.protocol === 'http:') ? url.href : undefined;
}

/** The link of an email: the URL of its data, else the page of the site that takes the token of its data. */
export function emailLink(template: EmailTemplate, data: EmailData, site: EmailSite): EmailLink {
  const field = EMAIL_FIELDS[template].find((one) => one.url);
  if (field === undefined) return 'none';
  const given = textOf(data, field.key);
  const text = given === '' ? tokenUrl(template, data, site) : given;
  if (text === undefined) return 'none';
  const url = httpUrl(text);
  return url === undefined ? 'unusable' : { url };
}

/** The page that verifies an address asks for token and id, the two others need the token alone. */
function tokenUrl(template: EmailTemplate, data: EmailData, { siteUrl, paths }: EmailSite): string | undefined {
  const token = textOf(data, 'token');
  const id = template === 'magic-link' ? '' : textOf(data, 'id');
  const verifies = template === 'email-verification' || template === 'welcome';
  if (token === '' || (verifies && id === '')) return undefined;
  const path = template === 'magic-link' ? paths.magic : verifies ? paths.verify : paths.reset;
  const query = `token=${encodeURIComponent(token)}${id === '' ? '' : `&id=${encodeURIComponent(id)}`}`;
  return `${siteUrl.replace(/\/+$/, '')}${path}?${query}`;
}

/**
 * What is wrong with the data of an email that is asked for: a URL that no link may hold, a text without which the email
 * says nothing. Empty when all is well. A token is not asked for: it is issued when the email is made.
 */
export function checkEmailData(template: EmailTemplate, data: EmailData): { path: string; message: string }[] {
  return EMAIL_FIELDS[template].flatMap(({ key, required, url }) => {
    const text = textOf(data, key);
    const path = `data.${key}`;
    if (required && text.trim() === '') return [{ path, message: 'must not be empty' }];
    return url && text !== '' && httpUrl(text) === undefined ? [{ path, message: 'must be an http(s) URL' }] : [];
  });
}

/** A text of the data; empty when it is absent. Half a character, which no URL and no email can carry, becomes U+FFFD. */
export const textOf = (data: EmailData, key: string): string =>
  Object.hasOwn(data, key) ? (data[key] ?? '').toWellFormed() : '';
