/** What each template is filled with, what is wrong with a filling, and the one link a mail leads to. */
import type { MailData, MailTemplate } from '../../domain/email.ts';

export interface MailField {
  readonly key: string;
  readonly description: string;
  /** Without it the mail would say nothing. */
  readonly required?: true;
  /** An http(s) URL, the target of the mail's link. */
  readonly url?: true;
}

/** Where the links of mails lead. */
export interface MailSite {
  /** http(s) URL of the web site, with or without a slash at its end. */
  readonly siteUrl: string;
  /** Paths of the site's pages that redeem a token; each begins with a slash. */
  readonly paths: { readonly verify: string; readonly reset: string; readonly magic: string };
}

const NAME: MailField = { key: 'name', description: 'first name of the reader; may be empty' };
const TOKEN: MailField = { key: 'token', description: 'one-time token, when there is no URL' };
const ID: MailField = { key: 'id', description: 'id of the account, beside the token' };
const link = (key: string): MailField => ({ key, description: 'URL of the link, instead of a token', url: true });

/** The texts a template knows. Others are ignored. */
export const MAIL_FIELDS: Readonly<Record<MailTemplate, readonly MailField[]>> = {
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

/** What {@link mailLink} finds: a URL, nothing to link to, or a link that may not or cannot be made. */
export type MailLink = { readonly url: string } | 'none' | 'unusable';

/** An absolute http(s) URL in its normal spelling; undefined for anything else, blanks and control characters included. */
export function httpUrl(text: string): string | undefined {
  // The URL parser drops line breaks and tabs silently: a text that needs that is not what its writer meant.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
  if (/[\u0000-\u0020\u007f-\u009f\u2028\u2029]/.test(text)) return undefined;
  const url = URL.parse(text);
  return url !== null && (url.protocol === 'https:' || url.protocol === 'http:') ? url.href : undefined;
}

/** The link of a mail: the URL of its data, else the page of the site that takes the token of its data. */
export function mailLink(template: MailTemplate, data: MailData, site: MailSite): MailLink {
  const field = MAIL_FIELDS[template].find((one) => one.url);
  if (field === undefined) return 'none';
  const given = textOf(data, field.key);
  const text = given === '' ? tokenUrl(template, data, site) : given;
  if (text === undefined) return 'none';
  const url = httpUrl(text);
  return url === undefined ? 'unusable' : { url };
}

/** The page that verifies an address asks for token and id, the two others need the token alone. */
function tokenUrl(template: MailTemplate, data: MailData, { siteUrl, paths }: MailSite): string | undefined {
  const token = textOf(data, 'token');
  const id = template === 'magic-link' ? '' : textOf(data, 'id');
  const verifies = template === 'email-verification' || template === 'welcome';
  if (token === '' || (verifies && id === '')) return undefined;
  const path = template === 'magic-link' ? paths.magic : verifies ? paths.verify : paths.reset;
  const query = `token=${encodeURIComponent(token)}${id === '' ? '' : `&id=${encodeURIComponent(id)}`}`;
  return `${siteUrl.replace(/\/+$/, '')}${path}?${query}`;
}

/**
 * What is wrong with the data of a mail that is asked for: a URL that no link may hold, a text without which the mail
 * says nothing. Empty when all is well. A token is not asked for: it is issued when the mail is made.
 */
export function checkMailData(template: MailTemplate, data: MailData): { path: string; message: string }[] {
  return MAIL_FIELDS[template].flatMap(({ key, required, url }) => {
    const text = textOf(data, key);
    const path = `data.${key}`;
    if (required && text.trim() === '') return [{ path, message: 'must not be empty' }];
    return url && text !== '' && httpUrl(text) === undefined ? [{ path, message: 'must be an http(s) URL' }] : [];
  });
}

/** A text of the data; empty when it is absent. Half a character, which no URL and no mail can carry, becomes U+FFFD. */
export const textOf = (data: MailData, key: string): string =>
  Object.hasOwn(data, key) ? (data[key] ?? '').toWellFormed() : '';
