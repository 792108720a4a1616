/** Emails: their templates, the data that fills a template, the one-time token of a link, the states of an email. */
import { z } from 'zod';

/** Templates of the renderer; see `src/messages/email/templates.ts`. */
export const EMAIL_TEMPLATES = [
  'email-verification',
  'password-reset',
  'set-password',
  'magic-link',
  'welcome',
  'email-changed',
  'password-changed',
  'new-network',
  'sync-complete',
  'message',
] as const;
export type EmailTemplate = (typeof EMAIL_TEMPLATES)[number];

/** Further names that `POST /api/v1/email/queue` accepts. */
const ALIASES: Readonly<Record<string, EmailTemplate>> = {
  'verify-email': 'email-verification',
  'reset-password': 'password-reset',
};

/** Emails to the owner of an account about what happened to it. Only this service sends them, so each one is true. */
const OWN_NOTICES: readonly EmailTemplate[] = ['set-password', 'password-changed', 'new-network'];

/** The template with this name or alias; undefined if there is none. */
export function emailTemplate(name: string): EmailTemplate | undefined {
  const own = EMAIL_TEMPLATES.find((template) => template === name);
  return own ?? (Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined);
}

/** Every name that {@link emailTemplate} knows. */
export const EMAIL_TEMPLATE_NAMES: readonly string[] = [...EMAIL_TEMPLATES, ...Object.keys(ALIASES)];

/** The names that other programs may ask for. */
export const REQUESTED_TEMPLATE_NAMES: readonly string[] = EMAIL_TEMPLATE_NAMES.filter(
  (name) => !OWN_NOTICES.some((notice) => notice === name),
);

/**
 * One-time tokens: `verification_tokens.type` and lifetime in seconds (contract: 24 hours, 24 hours, 30 minutes). The link
 * for a first password waits a week, because its reader did not ask for it. The token of a denial ("This was not me") lives as long as that of the verification, and proves nothing.
 */
export const ONE_TIME_TOKENS = {
  email_verification: { lifetimeSeconds: 24 * 3600 },
  password_reset: { lifetimeSeconds: 24 * 3600 },
  set_password: { lifetimeSeconds: 7 * 24 * 3600 },
  magic_link: { lifetimeSeconds: 30 * 60 },
  account_denial: { lifetimeSeconds: 24 * 3600 },
} as const;
export type OneTimeTokenType = keyof typeof ONE_TIME_TOKENS;
export const ONE_TIME_TOKEN_TYPES: readonly OneTimeTokenType[] = [
  'email_verification',
  'password_reset',
  'set_password',
  'magic_link',
  'account_denial',
];

/** Page of the api where the reader of a verification email says that somebody else registered the account. */
export const DENIAL_PATH = '/api/v1/auth/not-me';

/** The token that a template's link needs. It is issued at the first attempt to send the email (ADR 8). */
export const TOKEN_OF_TEMPLATE: Partial<Record<EmailTemplate, OneTimeTokenType>> = {
  'email-verification': 'email_verification',
  'password-reset': 'password_reset',
  'set-password': 'set_password',
  'magic-link': 'magic_link',
  welcome: 'email_verification',
};

/**
 * `queued` becomes `sent`, `failed` or `skipped`. Skipped: there is nothing to send, because no active account has the
 * address, or the address was verified or the link replaced meanwhile.
 */
export const EMAIL_STATUSES = ['queued', 'sent', 'failed', 'skipped'] as const;
export type EmailStatus = (typeof EMAIL_STATUSES)[number];

/** Texts that fill a template, by field. */
export const EmailDataSchema = z.record(z.string(), z.string());
export type EmailData = Readonly<z.infer<typeof EmailDataSchema>>;

/** What an email says, to whom and from whom. Each attempt that may repeat an accepted one sends the same content. */
export const EmailContentSchema = z.object({
  from: z.object({ name: z.string(), address: z.string() }),
  to: z.string(),
  subject: z.string(),
  html: z.string(),
  text: z.string(),
});
export type EmailContent = Readonly<z.infer<typeof EmailContentSchema>>;

/** An email that a transport can send. */
export interface OutgoingEmail extends EmailContent {
  /** Id of the email: Message-ID over SMTP. */
  id: string;
  /** Idempotency key: equal keys have equal content. */
  key: string;
}

export interface EmailField {
  readonly key: string;
  readonly description: string;
  /** The email makes no sense without it. */
  readonly required?: true;
  /** An http(s) URL, the target of the email's link. */
  readonly url?: true;
}

const NAME: EmailField = { key: 'name', description: 'first name of the reader; may be empty' };
const TOKEN: EmailField = { key: 'token', description: 'one-time token, when there is no URL' };
const ID: EmailField = { key: 'id', description: 'id of the account, beside the token' };
const WHEN: EmailField = { key: 'when', description: 'when it happened', required: true };
/** What the service adds about an account with an unproven address. */
const REGISTRATION: readonly EmailField[] = [
  { key: 'openedOn', description: 'day on which the account was opened, when there was no sign-in yet' },
  { key: 'lapses', description: '"yes" when the account is removed unless the address is confirmed' },
  { key: 'denialToken', description: 'one-time token of the link "This was not me"' },
];
const REMOVED: EmailField = {
  key: 'passwordRemoved',
  description: '"yes" when the confirmation of the address has removed the password',
};
const link = (key: string): EmailField => ({ key, description: 'URL of the link, instead of a token', url: true });

/** The fields of each template. A renderer ignores other fields. */
export const EMAIL_FIELDS: Readonly<Record<EmailTemplate, readonly EmailField[]>> = {
  'email-verification': [NAME, link('verifyUrl'), TOKEN, ID, ...REGISTRATION],
  'password-reset': [NAME, link('resetUrl'), TOKEN, ID, REMOVED],
  'set-password': [NAME, link('resetUrl'), TOKEN, ID],
  'magic-link': [NAME, link('magicLinkUrl'), TOKEN],
  welcome: [NAME, link('verifyUrl'), TOKEN, ID],
  'email-changed': [NAME, { key: 'newEmail', description: 'the new address', required: true }],
  'password-changed': [
    NAME,
    WHEN,
    { key: 'by', description: '`operator` if an operator of the service set the password; else the owner' },
  ],
  'new-network': [
    NAME,
    WHEN,
    { key: 'network', description: 'the network of the sign-in: /24 of IPv4, /48 of IPv6', required: true },
  ],
  'sync-complete': [
    { key: 'syncType', description: 'what was synchronised', required: true },
    { key: 'status', description: 'how it ended', required: true },
    { key: 'duration', description: 'how long it took, with its unit' },
  ],
  message: [{ key: 'message', description: 'the text; its line breaks are kept', required: true }],
};

const URL_KEYS: readonly string[] = Object.values(EMAIL_FIELDS)
  .flat()
  .filter((field) => field.url === true)
  .map((field) => field.key);

/** True if the caller gave the URL of a link: such an email needs no token of ours. */
export const hasLink = (data: EmailData): boolean => URL_KEYS.some((key) => data[key] !== undefined);

/** An absolute http(s) URL in its normal spelling; undefined for any other text, blanks and control characters included. */
export function httpUrl(text: string): string | undefined {
  // The URL parser silently drops line breaks and tabs. A text that needs this is a mistake of its author.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it refuses
  if (/[\u0000-\u0020\u007f-\u009f\u2028\u2029]/.test(text)) return undefined;
  const url = URL.parse(text);
  return url !== null && (url.protocol === 'https:' || url.protocol === 'http:') ? url.href : undefined;
}

/** A text of the data; empty if it is absent. A lone surrogate, which no URL and no email can carry, becomes U+FFFD. */
export const textOf = (data: EmailData, key: string): string =>
  Object.hasOwn(data, key) ? (data[key] ?? '').toWellFormed() : '';

/**
 * Problems of the data of a new email: an unusable URL, a required field that is empty. Empty if there are none. A missing
 * token is not a problem: it is issued when the email is sent.
 * @param siteUrl the web site: links may lead only to its origin. Undefined: anywhere.
 */
export function checkEmailData(
  template: EmailTemplate,
  data: EmailData,
  siteUrl?: string,
): { path: string; message: string }[] {
  return EMAIL_FIELDS[template].flatMap(({ key, required, url }) => {
    const text = textOf(data, key);
    const message = url && text !== '' ? linkProblem(text, siteUrl) : undefined;
    const path = `data.${key}`;
    if (required && text.trim() === '') return [{ path, message: 'must not be empty' }];
    return message === undefined ? [] : [{ path, message }];
  });
}

function linkProblem(text: string, siteUrl: string | undefined): string | undefined {
  const url = httpUrl(text);
  if (url === undefined) return 'must be an http(s) URL';
  if (siteUrl === undefined) return undefined;
  const site = URL.parse(siteUrl)?.origin ?? siteUrl;
  return new URL(url).origin === site ? undefined : `must be a page of ${site}`;
}
