/** The text of each email. Pure: equal arguments give equal emails, so an attempt can be repeated (ADR 8). */
import { PENDING_ACCOUNT_DAYS } from '../../domain/accounts/account.ts';
import {
  type EmailData,
  type EmailTemplate,
  httpUrl,
  ONE_TIME_TOKENS,
  type OneTimeTokenType,
  textOf,
} from '../../domain/email.ts';
import { type EmailBlock, type EmailContent, layoutHtml, layoutText } from './layout.ts';
import { denialLink, type EmailLink, type EmailSite, emailLink } from './link.ts';

export interface EmailContext extends EmailSite {
  /** Year of the copyright notice. */
  readonly year: number;
  /** Replaces the subject of the template, if it is not empty. */
  readonly subject?: string;
}

export interface RenderedEmail {
  /** One line, never empty. */
  subject: string;
  html: string;
  text: string;
}

/** Result of a template: the content without the parts that all emails share. */
type Draft = Omit<EmailContent, 'year'>;

/**
 * An email from a template. Unknown fields of the data are ignored, absent fields are empty. A link needs an http(s) URL;
 * an email that should have a link but has no such URL says so.
 */
export function renderEmail(template: EmailTemplate, data: EmailData, context: EmailContext): RenderedEmail {
  const draft = DRAFTS[template](data, context);
  const subject = oneLine(context.subject ?? '') || oneLine(draft.subject);
  const content = { ...draft, subject, year: context.year };
  return { subject, html: layoutHtml(content), text: layoutText(content) };
}

const DRAFTS: Readonly<Record<EmailTemplate, (data: EmailData, site: EmailSite) => Draft>> = {
  'email-verification': (data, site) => ({
    subject: 'Verify your email',
    heading: 'Verify your email',
    preheader: 'Confirm that this address is yours.',
    blocks: [greeting(data), ...verificationBlocks(data, site)],
  }),
  'password-reset': (data, site) => ({
    subject: 'Reset your password',
    heading: 'Reset your password',
    preheader: 'Choose a new password for your account.',
    blocks: [greeting(data), ...resetBlocks(data, site)],
  }),
  'set-password': (data, site) => ({
    subject: 'Set your password',
    heading: 'Set your password',
    preheader: 'Choose the password of your account.',
    blocks: [
      greeting(data),
      text(
        'An administrator of NodeByte sent you this link, because your NodeByte account with this address has no password yet. To choose a password also confirms the address.',
      ),
      ...linkBlocks(emailLink('set-password', data, site), 'Choose a password', 'set_password'),
      note('If you do not want to use the account, you can ignore this email: the account stays without a password.'),
    ],
  }),
  'magic-link': (data, site) => ({
    subject: 'Your magic link',
    heading: 'Your magic link',
    preheader: 'Sign in without a password.',
    blocks: [
      greeting(data),
      text('With this link you can sign in to NodeByte without a password.'),
      ...linkBlocks(emailLink('magic-link', data, site), 'Sign in', 'magic_link'),
      note(
        'If you did not ask for this, you can ignore this email. Never pass the link on: it signs in anyone who opens it.',
      ),
    ],
  }),
  welcome: (data, site) => {
    const link = emailLink('welcome', data, site);
    return {
      subject: 'Welcome to NodeByte',
      heading: 'Welcome to NodeByte',
      preheader: 'Your account is ready.',
      blocks: [
        greeting(data),
        text('Thank you for joining NodeByte. Your account is ready.'),
        // There is no link if the address of the account is verified already.
        ...(link === 'none'
          ? []
          : [
              text('One step is left: please confirm that this address is yours.'),
              ...linkBlocks(link, 'Verify email', 'email_verification'),
            ]),
      ],
    };
  },
  'email-changed': (data, { siteUrl }) => {
    const newEmail = oneLine(textOf(data, 'newEmail'));
    return {
      subject: 'Your email address was changed',
      heading: 'Your email address was changed',
      preheader: 'If this was not you, act now.',
      blocks: [
        greeting(data),
        text(
          'The email address of your NodeByte account was changed. You can no longer sign in with this address, and later emails go to the new one.',
        ),
        ...facts([['New address', newEmail]]),
        text('If this was you, there is nothing to do.'),
        text(
          'If this was not you, somebody else has access to your account. Contact our support at once, and change your password wherever else you use it.',
        ),
        ...homeLink(siteUrl),
      ],
    };
  },
  'password-changed': (data, { siteUrl }) => ({
    subject: 'Your password was changed',
    heading: 'Your password was changed',
    preheader: 'If this was not you, act now.',
    blocks: [
      greeting(data),
      text(
        textOf(data, 'by') === 'operator'
          ? 'An operator of NodeByte set a new password for your account. All sessions have ended.'
          : 'The password of your NodeByte account was changed. All other sessions have ended.',
      ),
      ...facts([['When', oneLine(textOf(data, 'when'))]]),
      text('If you did this or asked for it, there is nothing to do.'),
      text(
        'If not, somebody else has access to your account or to your mailbox. Change the password of your mailbox, then choose a new password with "Forgot password" on our site, and contact our support.',
      ),
      ...homeLink(siteUrl),
    ],
  }),
  'new-network': (data, { siteUrl }) => ({
    subject: 'Sign-in from a new network',
    heading: 'Sign-in from a new network',
    preheader: 'If this was not you, act now.',
    blocks: [
      greeting(data),
      text('Somebody signed in to your NodeByte account from a network that was not used for it before.'),
      ...facts([
        ['When', oneLine(textOf(data, 'when'))],
        ['Network', oneLine(textOf(data, 'network'))],
      ]),
      text('If this was you, there is nothing to do. A phone, a trip or a new provider can be the reason.'),
      text(
        'If this was not you, choose a new password with "Forgot password" on our site at once: that ends all sessions. Then contact our support.',
      ),
      ...homeLink(siteUrl),
    ],
  }),
  'sync-complete': (data) => {
    const status = oneLine(textOf(data, 'status'));
    return {
      subject: `Sync ${status || 'finished'}`,
      heading: 'A sync has ended',
      preheader: '',
      blocks: [
        text('A synchronisation with the panel has ended.'),
        ...facts([
          ['Type', oneLine(textOf(data, 'syncType'))],
          ['Status', status],
          ['Duration', oneLine(textOf(data, 'duration'))],
        ]),
      ],
    };
  },
  message: (data) => ({
    subject: 'Message from NodeByte',
    heading: 'Message from NodeByte',
    preheader: '',
    blocks: [text(manyLines(textOf(data, 'message')))],
  }),
};

/**
 * A stranger can register the address of the reader. So the email says what happened, and when not to confirm.
 */
function verificationBlocks(data: EmailData, site: EmailSite): readonly EmailBlock[] {
  const button = linkBlocks(emailLink('email-verification', data, site), 'Verify email', 'email_verification');
  const openedOn = oneLine(textOf(data, 'openedOn'));
  if (openedOn === '') {
    return [
      text('Please confirm that this address belongs to your NodeByte account.'),
      ...button,
      note(
        'If you did not enter this address at NodeByte yourself, do not confirm it. An address that is not confirmed cannot be used to sign in.',
      ),
    ];
  }
  const denial = denialLink(data, site);
  const lapse =
    textOf(data, 'lapses') === 'yes'
      ? ` If you do nothing, the account is removed after ${PENDING_ACCOUNT_DAYS} days.`
      : '';
  return [
    text(
      `Somebody opened a NodeByte account with this address and a password on ${openedOn}. If that was you, please confirm the address.`,
    ),
    ...button,
    text(
      `If that was not you, do not confirm: the person who chose the password could then sign in.${denial === undefined ? lapse : ''}`,
    ),
    ...(denial === undefined ? [] : [{ kind: 'link', label: 'This was not me', url: denial } as const]),
    ...(denial === undefined || lapse === '' ? [] : [note(lapse.trim())]),
  ];
}

function resetBlocks(data: EmailData, site: EmailSite): readonly EmailBlock[] {
  const button = linkBlocks(emailLink('password-reset', data, site), 'Choose a new password', 'password_reset');
  // The proof of the address has removed the password (services/accounts/prove-address.ts).
  if (textOf(data, 'passwordRemoved') === 'yes') {
    return [
      text(
        'Your email address is confirmed. A password that was chosen before the confirmation is no longer valid, because it may be of another person. Please choose a password of your own.',
      ),
      ...button,
    ];
  }
  return [
    text('We were asked to reset the password of your NodeByte account.'),
    ...button,
    note('If you did not ask for this, you can ignore this email: your password stays as it is.'),
  ];
}

const text = (content: string): EmailBlock => ({ kind: 'text', text: content });
const note = (content: string): EmailBlock => ({ kind: 'note', text: content });

/** Rows with a value; no block without such rows. */
function facts(rows: readonly (readonly [string, string])[]): readonly EmailBlock[] {
  const known = rows.filter(([, content]) => content !== '');
  return known.length === 0 ? [] : [{ kind: 'facts', rows: known }];
}

/** A link to the site, if its address is known. */
function homeLink(siteUrl: string): readonly EmailBlock[] {
  const url = httpUrl(siteUrl);
  return url === undefined ? [] : [{ kind: 'link', label: 'Go to NodeByte', url }];
}

function linkBlocks(link: EmailLink, label: string, token: OneTimeTokenType): readonly EmailBlock[] {
  if (typeof link === 'string') {
    return [text('This email should hold a link, but it was made without a valid one. Please ask for a new email.')];
  }
  const lifetime = spelledDuration(ONE_TIME_TOKENS[token].lifetimeSeconds);
  return [{ kind: 'link', label, url: link.url }, note(`This link can be used once and expires in ${lifetime}.`)];
}

/** Seconds in words, in the largest unit that divides them; a day is 24 hours, more are days. */
export function spelledDuration(seconds: number): string {
  if (seconds > 86_400 && seconds % 86_400 === 0) return `${seconds / 86_400} days`;
  const [size, unit] = seconds % 3600 === 0 ? [3600, 'hour'] : seconds % 60 === 0 ? [60, 'minute'] : [1, 'second'];
  const count = seconds / size;
  return `${count} ${unit}${count === 1 ? '' : 's'}`;
}

/** Maximum number of characters of a name in a greeting. */
const NAME_MAX = 64;

/**
 * A stranger can register the reader's address with an advertisement as the name. So a name that contains a web address,
 * which mail programs turn into a link, or that is too long is left out.
 */
function greeting(data: EmailData): EmailBlock {
  const name = oneLine(textOf(data, 'name'));
  const isName = name !== '' && [...name].length <= NAME_MAX && !/:\/\/|www\.|[\p{L}\p{N}-]\.\p{L}{2,}/iu.test(name);
  return text(isName ? `Hello ${name},` : 'Hello,');
}

/** Control characters, and characters that change the direction of the text after them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it finds
const UNWANTED = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]+/g;

/** The text without line breaks and other control characters, as a header needs it. */
const oneLine = (content: string): string =>
  content.toWellFormed().replaceAll(UNWANTED, ' ').replaceAll(/ {2,}/g, ' ').trim();

/** The same for each line; every kind of line break becomes `\n`. */
const manyLines = (content: string): string =>
  content
    .split(/\r\n|[\r\n\u2028\u2029]/)
    .map((line) => line.replaceAll(UNWANTED, ' ').trimEnd())
    .join('\n')
    .trim();
