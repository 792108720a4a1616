/**
 * What a reply of an SMTP server, or a lost connection, means for an email. Servers answer faults of the sender and of the
 * login at RCPT TO too (Postfix, smtpd_delay_reject), so the phase alone does not say whose fault it is: enhanced code and
 * text come first. From RFC 5321 (4.2, 4.5.4.1), RFC 3463, RFC 4954, RFC 3207, man 5 postconf, nodemailer.com/errors,
 * docs.aws.amazon.com/ses (SMTP error messages), support.google.com/a/answer/3726730.
 */
import { type NotReached, notReachedText, whyNotReached } from '../http/failures.ts';
import { HOLD_MS, QUOTA_MS, SendFailure, type Verdict } from './transport.ts';

/** How far an attempt came. `lost`: the connection ended after the whole message was sent, without a reply. */
export type SmtpPhase =
  | 'dns'
  | 'connect'
  | 'tls'
  | 'greeting'
  | 'ehlo'
  | 'starttls'
  | 'auth'
  | 'from'
  | 'rcpt'
  | 'data'
  | 'dot'
  | 'cut'
  | 'lost';

/** What is known of a failed attempt. */
export interface SmtpFacts {
  phase: SmtpPhase;
  /** Reply code; undefined if no reply came. */
  reply?: number | undefined;
  /** Enhanced status code, `5.7.1`. */
  enhanced?: string | undefined;
  /** Text of the reply; it stays in this file. */
  text?: string | undefined;
  /** The library's or the socket's error code. */
  code?: string | undefined;
}

const WHO = 'the email server';
/** Pause after a 4xx reply: greylisting lasts 300 seconds by default (postgrey). */
const LATER_MS = 5 * 60_000;
/** Pause after an answer that was lost: a further attempt may deliver the email twice. */
const DOUBT_MS = 10 * 60_000;
/** For how long a refusal that may be about the recipient alone is held. */
const DAY_MS = 24 * 60 * 60_000;
const HOUR_MS = 60 * 60_000;

const SENDER_ADVICE =
  'let the server allow this login to send as EMAIL_FROM or the setting email_from, or correct them';

const retry = (text: string, more: Partial<Verdict> = {}): Verdict => ({
  outcome: 'retry',
  sentence: text,
  accepted: 'no',
  ...more,
});
const hold = (text: string, more: Partial<Verdict> = {}): Verdict => ({
  outcome: 'hold',
  sentence: text,
  accepted: 'no',
  pauseMs: HOLD_MS,
  ...more,
});
const final = (text: string, more: Partial<Verdict> = {}): Verdict => ({
  outcome: 'final',
  sentence: text,
  accepted: 'no',
  ...more,
});

const MEANINGS = {
  later: retry('The email server asks to try again later', { pauseMs: LATER_MS }),
  broken: retry('The connection to the email server ended before the email was sent'),
  protocol: retry('The email server does not answer as an SMTP server does: check host and port of SMTP_URL'),
  silent: retry(
    'The email server did not answer in time: check host and port of SMTP_URL (465 with TLS, 587 with STARTTLS)',
  ),
  lost: retry(
    'The connection ended before the email server confirmed the email: it may have arrived. A further attempt has the same Message-ID',
    { accepted: 'unknown', pauseMs: DOUBT_MS },
  ),
  login: hold('The email server refuses the login', { all: true }),
  'login-wanted': hold('The email server wants a login or encryption first: check SMTP_URL', { all: true }),
  'login-not-offered': hold(
    'The email server offers no login on this port: use 587 with STARTTLS or 465, or remove the login from SMTP_URL',
    { all: true },
  ),
  'no-encryption': hold(
    'The email server offers no encryption (STARTTLS): use another port, or set SMTP_ALLOW_PLAINTEXT=true to send without',
    { all: true },
  ),
  blocked: hold('The email server refuses connections from this address', { all: true }),
  sender: hold(`The email server refuses the sender: ${SENDER_ADVICE}`),
  /** A closed list of recipients answers so too, so it ends after a day. */
  policy: hold(`The email server refuses to take the email from this login and sender: ${SENDER_ADVICE}`, {
    boundedMs: DAY_MS,
  }),
  /** Sender or recipient: not for long. */
  unclear: hold('The email server refuses sender or recipient', { boundedMs: HOUR_MS }),
  quota: hold('The quota of the email account is used up', { pauseMs: QUOTA_MS, all: true }),
  recipient: final('The email server refused the recipient'),
  'utf8-address': final(
    'The address of the recipient has letters outside ASCII before the @, which this email server cannot take',
  ),
  content: final('The email server refused the content of the email'),
  size: final('The email is larger than the email server takes'),
  suspect: final(
    'The email server refused the email as unwanted: look at its content and at the reputation of the sender',
    {
      suspect: true,
    },
  ),
  refused: final('The email server refused the email'),
} as const satisfies Record<string, Verdict>;
export type SmtpMeaning = keyof typeof MEANINGS;

interface Row {
  /** Absent: any phase. */
  phase?: readonly SmtpPhase[];
  /** A reply code, or its first digit. Absent: any, or none. */
  reply?: readonly number[];
  /** Beginnings of an enhanced code. */
  enhanced?: readonly string[];
  text?: RegExp;
  code?: readonly string[];
  means: SmtpMeaning;
}

const NO_RELAY = /relay(ing)? (access )?(is )?denied|not (permitted|allowed) to relay|relaying not|unable to relay/i;
const SENDER_TEXT =
  /sender address rejected|not owned by user|sendasdenied|not (authorized|allowed) to send (as|from)/i;
const NOT_VERIFIED = /address is not verified|identities failed the check/i;

/** The first row that fits decides. */
const ROWS: readonly Row[] = [
  // Google: a daily limit comes as 550 (answer 3726730).
  { reply: [5], enhanced: ['5.4.5'], means: 'quota' },
  { phase: ['auth'], reply: [432], enhanced: ['4.3.'], means: 'later' },
  { phase: ['auth'], reply: [432], means: 'login' },
  { phase: ['auth'], reply: [4], means: 'later' },
  { phase: ['auth'], reply: [5], means: 'login' },
  { phase: ['auth'], code: ['EAUTH'], means: 'login' },
  { phase: ['greeting', 'ehlo'], reply: [4], means: 'later' },
  { phase: ['greeting'], reply: [5], means: 'blocked' },
  { phase: ['ehlo'], reply: [5], means: 'no-encryption' },
  { phase: ['starttls'], reply: [4], means: 'later' },
  { phase: ['starttls'], reply: [5], means: 'no-encryption' },
  { phase: ['from', 'rcpt', 'data'], reply: [530, 534, 535, 538], means: 'login-wanted' },
  { enhanced: ['5.7.57'], means: 'login-wanted' },
  // The sender's domain does not resolve: a 4xx, but the operator's.
  { reply: [4, 5], enhanced: ['4.1.8', '5.1.8', '5.1.7', '5.7.60'], means: 'sender' },
  { reply: [5], text: SENDER_TEXT, means: 'sender' },
  { reply: [5], text: NOT_VERIFIED, means: 'sender' },
  { reply: [5], text: NO_RELAY, means: 'policy' },
  { phase: ['from', 'rcpt', 'data', 'dot'], reply: [4], means: 'later' },
  { reply: [552], enhanced: ['5.2.2'], means: 'recipient' },
  { reply: [5], enhanced: ['5.3.4'], means: 'size' },
  { phase: ['from', 'dot', 'data'], reply: [552], means: 'size' },
  { phase: ['from'], code: ['EMESSAGE'], means: 'size' },
  { phase: ['from'], reply: [5], means: 'sender' },
  { phase: ['rcpt'], enhanced: ['5.1.', '5.2.'], means: 'recipient' },
  { phase: ['rcpt'], enhanced: ['5.7.'], means: 'policy' },
  { phase: ['rcpt'], reply: [553, 554], means: 'unclear' },
  { phase: ['rcpt'], means: 'recipient' },
  { phase: ['dot'], enhanced: ['5.1.', '5.2.'], means: 'recipient' },
  { phase: ['dot'], reply: [550, 554], means: 'suspect' },
  { phase: ['dot'], reply: [5], means: 'content' },
  { phase: ['lost'], reply: [4], means: 'later' },
  { phase: ['lost'], means: 'lost' },
  { phase: ['greeting'], code: ['EPROTOCOL'], means: 'protocol' },
  { phase: ['connect', 'greeting', 'tls'], code: ['ETIMEDOUT'], means: 'silent' },
  { reply: [5], means: 'refused' },
  { code: ['EENVELOPE', 'EMESSAGE'], means: 'refused' },
];

const isReply = (codes: readonly number[], reply: number | undefined): boolean =>
  reply !== undefined && codes.some((code) => code === reply || code === Math.floor(reply / 100));

/** What is known of a failed attempt, as a word. */
export function smtpMeaning(facts: SmtpFacts): SmtpMeaning {
  const { phase, reply, enhanced = '', text = '', code = '' } = facts;
  const row = ROWS.find(
    (r) =>
      (r.phase === undefined || r.phase.includes(phase)) &&
      (r.reply === undefined || isReply(r.reply, reply)) &&
      (r.enhanced === undefined ||
        r.enhanced.some((e) => (e.endsWith('.') ? enhanced.startsWith(e) : enhanced === e))) &&
      (r.text === undefined || r.text.test(text)) &&
      (r.code === undefined || r.code.includes(code)),
  );
  return row?.means ?? 'broken';
}

/** The failure that a meaning is, with what is safe to show of a reply. */
export function smtpFailure(meaning: SmtpMeaning, facts: Omit<SmtpFacts, 'phase'> = {}): SendFailure {
  const { reply, enhanced, code } = facts;
  const verdict: Verdict = MEANINGS[meaning];
  const shown = reply === undefined ? '' : ` (${reply}${enhanced === undefined ? '' : ` ${enhanced}`})`;
  const [start = '', ...rest] = verdict.sentence.split(': ');
  const meta = { ...(code === undefined ? {} : { name: code }), ...(reply === undefined ? {} : { status: reply }) };
  return new SendFailure({ ...verdict, sentence: [`${start}${shown}`, ...rest].join(': ') }, meta);
}

/** Why the server was not reached, of those that last until the operator acts. */
const OPERATORS: readonly NotReached[] = [
  'dns',
  'certificate-untrusted',
  'certificate-expired',
  'certificate-name',
  'tls',
];

/** The failure of an attempt. */
export function smtpFailureOf(facts: SmtpFacts): SendFailure {
  const { phase, reply, code } = facts;
  const why = phase === 'dns' ? 'dns' : whyNotReached(code);
  const meta = code === undefined ? {} : { name: code };
  const lasting = OPERATORS.includes(why);
  if (reply === undefined && lasting && ['dns', 'connect', 'tls', 'starttls'].includes(phase)) {
    return new SendFailure(hold(notReachedText(WHO, why), { all: true }), meta);
  }
  if (phase === 'connect' && why !== 'unknown' && why !== 'timeout') {
    return new SendFailure(retry(notReachedText(WHO, why)), meta);
  }
  return smtpFailure(smtpMeaning(facts), facts);
}

/** The reply of an accepted email, as one line of limited length: the server's name for the email is somewhere in it. */
export function acceptedText(response: string): string {
  const line = response.replace(/[\p{Cc}\s]+/gu, ' ').trim();
  return line.slice(0, 200).toWellFormed();
}

/** First enhanced status code of a reply (RFC 2034: after the reply code of a line). */
export const enhancedOf = (response: string): string | undefined =>
  /^\d{3}[ -](\d\.\d{1,3}\.\d{1,3})\b/m.exec(response)?.[1];
