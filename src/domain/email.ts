/** Email: the templates and their names on the wire, what an email carries, what states it goes through. */

/** Templates of the renderer; see `src/messages/email/templates.ts`. */
export const EMAIL_TEMPLATES = [
  'email-verification',
  'password-reset',
  'magic-link',
  'welcome',
  'email-changed',
  'sync-complete',
  'message',
] as const;
export type EmailTemplate = (typeof EMAIL_TEMPLATES)[number];

/** Names the wire takes besides the templates' own. */
const ALIASES: Readonly<Record<string, EmailTemplate>> = {
  'verify-email': 'email-verification',
  'reset-password': 'password-reset',
};

/** The template of a name on the wire, by either spelling; undefined when there is none. */
export function emailTemplate(name: string): EmailTemplate | undefined {
  const own = EMAIL_TEMPLATES.find((template) => template === name);
  return own ?? (Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined);
}

/** Names that the wire takes, own and others. */
export const EMAIL_TEMPLATE_NAMES: readonly string[] = [...EMAIL_TEMPLATES, ...Object.keys(ALIASES)];

/** One-time tokens: `verification_tokens.type`, lifetime in seconds. */
export const ONE_TIME_TOKENS = {
  email_verification: { lifetimeSeconds: 24 * 3600 },
  password_reset: { lifetimeSeconds: 24 * 3600 },
  magic_link: { lifetimeSeconds: 30 * 60 },
} as const;
export type OneTimeTokenType = keyof typeof ONE_TIME_TOKENS;

/** The token a template's link needs. It is issued when the email is made, so its life begins when the email leaves. */
export const TOKEN_OF_TEMPLATE: Partial<Record<EmailTemplate, OneTimeTokenType>> = {
  'email-verification': 'email_verification',
  'password-reset': 'password_reset',
  'magic-link': 'magic_link',
  welcome: 'email_verification',
};

/**
 * `queued` → `sent`, or `failed` (with a reason), or `skipped` (there is nobody to send it to: no such account, disabled,
 * or its address changed meanwhile).
 */
export const EMAIL_STATUSES = ['queued', 'sent', 'failed', 'skipped'] as const;
export type EmailStatus = (typeof EMAIL_STATUSES)[number];

/** Texts a template is filled with. */
export type EmailData = Readonly<Record<string, string>>;

/** An email ready to be handed to a transport. */
export interface OutgoingEmail {
  /** Id of the email: idempotency key at the provider, Message-ID by SMTP. Equal ids carry equal content. */
  id: string;
  /** Mailbox, with or without a display name. */
  from: string;
  to: string;
  subject: string;
  html: string;
  text: string;
}
