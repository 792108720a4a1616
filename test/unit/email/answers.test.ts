import { describe, expect, test } from 'vitest';
import { type ResendMeaning, resendFailure, resendMeaning } from '../../../src/clients/email/resend-answers.ts';
import {
  acceptedText,
  enhancedOf,
  type SmtpFacts,
  smtpFailureOf,
  smtpMeaning,
} from '../../../src/clients/email/smtp-answers.ts';
import { nextStep } from '../../../src/services/email/attempt-failed.ts';

describe('what an answer of Resend means (M-2)', () => {
  test.each<[status: number, name: string | undefined, text: string, means: ResendMeaning]>([
    [400, 'invalid_idempotency_key', '', 'refused'],
    [400, 'validation_error', 'Some field is wrong', 'refused'],
    [400, 'validation_error', 'API key is invalid', 'key'],
    [400, 'validation_error', 'You can only send testing emails to your own email address', 'sender'],
    [401, 'missing_api_key', '', 'key'],
    [401, 'restricted_api_key', '', 'key'],
    [401, 'validation_error', 'API key is invalid', 'key'],
    [403, 'invalid_api_key', '', 'key'],
    [403, 'invalid_api_Key', '', 'key'],
    [403, 'suspended_api_key', '', 'suspended'],
    [403, 'validation_error', 'The a.example domain is not verified', 'sender'],
    [403, 'validation_error', 'anything else', 'sender'],
    [403, 'invalid_permission', '', 'forbidden'],
    [403, 'invalid_to_address', '', 'refused'],
    [404, 'not_found', '', 'refused'],
    [405, 'method_not_allowed', '', 'refused'],
    [408, 'application_error', '', 'outage'],
    [409, 'invalid_idempotent_request', '', 'key-used'],
    [409, 'concurrent_idempotent_requests', '', 'in-flight'],
    [409, 'conflict', '', 'outage'],
    [422, 'validation_error', 'Invalid `to` field. Got from@x', 'refused'],
    [422, 'validation_error', 'Invalid `from` field. The email address needs …', 'sender'],
    [422, 'invalid_from_address', '', 'sender'],
    [403, 'invalid_from_address', '', 'sender'],
    [422, 'missing_required_field', '', 'refused'],
    [422, 'invalid_attachment', '', 'refused'],
    [429, 'rate_limit_exceeded', '', 'rate'],
    [429, 'daily_quota_exceeded', '', 'daily-quota'],
    [429, 'monthly_quota_exceeded', '', 'monthly-quota'],
    [429, undefined, '', 'rate'],
    [451, 'security_error', '', 'suspect'],
    [500, 'application_error', '', 'outage'],
    [500, 'internal_server_error', '', 'outage'],
    [503, 'service_unavailable', '', 'outage'],
  ])('%i %s %s: %s', (status, name, text, means) => {
    expect(resendMeaning(status, name, text)).toBe(means);
  });

  test('a full second waits for its end', () => {
    const headers = new Map([
      ['ratelimit-remaining', '0'],
      ['ratelimit-reset', '3'],
    ]);
    const answer = { status: 429, header: (name: string) => headers.get(name) };
    expect(resendFailure(answer, { name: 'rate_limit_exceeded', message: '' }).verdict.pauseMs).toBe(3_000);
  });
});

/** Facts as they stand in a reply: `550 5.1.1 text`. */
const reply = (phase: SmtpFacts['phase'], text: string, code?: string): SmtpFacts => ({
  phase,
  reply: Number(text.slice(0, 3)),
  enhanced: enhancedOf(text),
  text,
  code,
});

describe('what a reply of an SMTP server means (M-2)', () => {
  test.each<[phase: SmtpFacts['phase'], text: string, means: ReturnType<typeof smtpMeaning>]>([
    ['greeting', '421 4.7.0 too many connections', 'later'],
    ['greeting', '554 no service', 'blocked'],
    ['ehlo', '421 closing', 'later'],
    ['ehlo', '502 not implemented', 'no-encryption'],
    ['starttls', '454 4.7.0 TLS not available', 'later'],
    ['starttls', '502 5.5.1 not implemented', 'no-encryption'],
    ['auth', '535 5.7.8 authentication failed', 'login'],
    ['auth', '534 5.7.9 mechanism too weak', 'login'],
    ['auth', '504 5.5.4 unrecognized mechanism', 'login'],
    ['auth', '454 4.7.0 temporary failure', 'later'],
    ['auth', '421 4.7.0 closing', 'later'],
    ['auth', '432 4.7.12 a password transition is needed', 'login'],
    ['auth', '432 4.3.2 too many at once', 'later'],
    ['from', '530 5.7.0 must issue STARTTLS first', 'login-wanted'],
    ['from', '530 5.7.57 client was not authenticated', 'login-wanted'],
    ['from', '550 5.1.8 sender domain', 'sender'],
    ['from', '553 not a valid sender', 'sender'],
    ['from', '501 syntax', 'sender'],
    ['from', '552 5.3.4 message size exceeds', 'size'],
    ['from', '450 4.7.1 too much', 'later'],
    ['from', '452 4.3.1 insufficient storage', 'later'],
    ['rcpt', '550 5.1.1 user unknown', 'recipient'],
    ['rcpt', '550 5.1.2 bad domain', 'recipient'],
    ['rcpt', '550 5.2.1 mailbox disabled', 'recipient'],
    ['rcpt', '553 5.1.3 bad syntax', 'recipient'],
    ['rcpt', '501 syntax', 'recipient'],
    ['rcpt', '550 no such user', 'recipient'],
    ['rcpt', '552 5.2.2 mailbox full', 'recipient'],
    ['rcpt', '450 4.2.0 greylisted', 'later'],
    ['rcpt', '452 4.2.2 full', 'later'],
    ['rcpt', '452 4.5.3 too many recipients', 'later'],
    ['rcpt', '554 5.7.1 <a@b>: Relay access denied', 'policy'],
    ['rcpt', '554 5.7.1 <a@b>: Sender address rejected: access denied', 'sender'],
    ['rcpt', '553 5.7.1 <a@b>: Sender address rejected: not owned by user site', 'sender'],
    ['rcpt', '550 5.7.1 closed list', 'policy'],
    ['rcpt', '530 5.7.0 authentication required', 'login-wanted'],
    ['rcpt', '450 4.1.8 sender domain not found', 'sender'],
    ['rcpt', '550 5.1.8 sender domain', 'sender'],
    ['rcpt', '550 5.4.5 daily sending limit exceeded', 'quota'],
    ['rcpt', '554 transaction failed', 'unclear'],
    ['rcpt', '553 mailbox name', 'unclear'],
    ['rcpt', '550 5.7.60 not allowed to send as', 'sender'],
    ['data', '554 5.5.1 no valid recipients', 'refused'],
    ['data', '451 local error', 'later'],
    ['data', '454 throttling failure', 'later'],
    ['dot', '550 5.7.1 rejected by policy', 'suspect'],
    ['dot', '554 spam', 'suspect'],
    ['dot', '554 5.2.0 SendAsDenied', 'sender'],
    ['dot', '554 Message rejected: Email address is not verified.', 'sender'],
    ['dot', '552 5.3.4 too big', 'size'],
    ['dot', '451 4.3.0 queue file write error', 'later'],
    ['dot', '550 5.4.5 quota', 'quota'],
  ])('%s: %s is %s', (phase, text, means) => {
    expect(smtpMeaning(reply(phase, text))).toBe(means);
  });

  test.each<[facts: SmtpFacts, outcome: string, accepted: string, sentence: RegExp]>([
    [{ phase: 'dns', code: 'ENOTFOUND' }, 'hold', 'no', /cannot be resolved/],
    [{ phase: 'connect', code: 'ECONNREFUSED' }, 'retry', 'no', /connection refused/],
    [{ phase: 'connect', code: 'ETIMEDOUT' }, 'retry', 'no', /465 with TLS, 587 with STARTTLS/],
    [{ phase: 'connect', code: 'ERR_SSL_WRONG_VERSION_NUMBER' }, 'hold', 'no', /speaks TLS/],
    [{ phase: 'connect', code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }, 'hold', 'no', /NODE_EXTRA_CA_CERTS/],
    [{ phase: 'connect', code: 'ERR_TLS_CERT_ALTNAME_INVALID' }, 'hold', 'no', /for another name/],
    [{ phase: 'greeting', code: 'EPROTOCOL' }, 'retry', 'no', /host and port of SMTP_URL/],
    [{ phase: 'greeting', code: 'ECONNECTION' }, 'retry', 'no', /ended before the email was sent/],
    [{ phase: 'auth', code: 'ECONNECTION' }, 'retry', 'no', /ended before the email was sent/],
    [{ phase: 'auth', code: 'EAUTH' }, 'hold', 'no', /refuses the login/],
    [{ phase: 'from', code: 'EMESSAGE' }, 'final', 'no', /larger/],
    [{ phase: 'lost', code: 'ECONNECTION' }, 'retry', 'unknown', /may have arrived/],
    [{ phase: 'lost', code: 'ETIMEDOUT' }, 'retry', 'unknown', /may have arrived/],
    [{ phase: 'cut', code: 'ECONNRESET' }, 'retry', 'no', /ended before the email was sent/],
  ])('%j: %s', (facts, outcome, accepted, sentence) => {
    const { verdict } = smtpFailureOf(facts);
    expect([verdict.outcome, verdict.accepted]).toEqual([outcome, accepted]);
    expect(verdict.sentence).toMatch(sentence);
  });

  test('the text of an accepted email is one bounded line', () => {
    expect(acceptedText('250-2.0.0 Ok\r\n250 queued as\u0007 4bXq')).toBe('250-2.0.0 Ok 250 queued as 4bXq');
    expect(acceptedText(`250 ${'x'.repeat(900)}`)).toHaveLength(200);
  });
});

describe('what follows', () => {
  const { verdict: greylisted } = smtpFailureOf(reply('rcpt', '450 4.2.0 greylisted'));
  const { verdict: policy } = smtpFailureOf(reply('rcpt', '550 5.7.1 closed list'));
  const DAY = 24 * 3_600_000;

  test('greylisting is tried again after five minutes, and later every half hour', () => {
    expect(nextStep(greylisted, 0, 1).pauseMs).toBe(300_000);
    expect(nextStep(greylisted, 0, 13).pauseMs).toBe(1_800_000);
  });

  test('a refusal that may be about one address ends after a day, the refusal of a sender does not', () => {
    expect(nextStep(policy, DAY - 1, 50).outcome).toBe('hold');
    expect(nextStep(policy, DAY + 1, 50).outcome).toBe('final');
    expect(nextStep(smtpFailureOf(reply('from', '550 5.1.8 sender')).verdict, 3 * DAY, 50).outcome).toBe('hold');
  });
});
