/** The rules of test/words.ts: each finds what it should in a sample, and nothing in a text that is right. */
import { describe, expect, test } from 'vitest';
import { findRetired, RULES } from '../../words.ts';

const SYNC = 'src/store/sync/merge/example.ts';
const GUIDE = 'docs/guide/example.md';

interface Sample {
  path: string;
  /** Each text holds one finding. */
  wrong: readonly string[];
  /** No text holds one. */
  right: readonly string[];
}

const SAMPLES: Readonly<Record<string, Sample>> = {
  'at the most': {
    path: SYNC,
    wrong: ['/** Rows of a statement at the most. */', ' * bytes at\n * the least'],
    right: ['at most 500 rows', 'at the moment', 'at the mostly harmless end'],
  },
  anew: { path: GUIDE, wrong: ['It is read anew.'], right: ['It is read again.', 'a new link'] },
  'the wire': {
    path: SYNC,
    wrong: ['the names on the wire', ' * as the\n   * wire has it'],
    right: ['wireless', 'the wired phone', 'toWireUser'],
  },
  per: {
    path: GUIDE,
    wrong: [
      'one workflow a mailbox.',
      'One row a limiter and identity',
      '20 ms an answer, 240 requests',
      'one attempt a call:',
    ],
    right: [
      '240 requests a minute, and no more',
      'one workflow per email.',
      'one row a caller may read',
      'twice a day, one file',
    ],
  },
  told: { path: SYNC, wrong: ['Temporal is told second.', 'with told as ('], right: ['untold riches', 'notified'] },
  nobody: { path: GUIDE, wrong: ['Nobody answers.'], right: ['No worker answers.'] },
  whoever: { path: SYNC, wrong: ['// Whoever closes it'], right: ['// The run that closes it'] },
  'as good as': { path: GUIDE, wrong: ['it is as good as any'], right: ['it is good as it is'] },
  his: {
    path: SYNC,
    wrong: ['a password of his own', '// He is refused.', 'mail to him'],
    right: ['this history', "['he']", 'the', 'a.he', 'he: 1'],
  },
  'set aside': {
    path: SYNC,
    wrong: ['records that are set aside', 'where not f.aside', 'asideRows(trx)', 'const isAside = true', 'set-aside'],
    right: ['written beside its cause', 'besides', 'inside', 'a rejected record'],
  },
  exclusion: {
    path: SYNC,
    wrong: ['type Exclusion = {}', 'exclusions.length', 'error.offenders'],
    right: ['excluded.pass', 'excludeRows', 'mutually exclusive'],
  },
  grant: {
    path: SYNC,
    wrong: ['a grant of five pages', 'GrantToken', 'pacer.grantSize(1)', 'grants += 1'],
    right: [
      'grant select on servers to reader;',
      "grant_type: 'refresh_token'",
      'OAuth: a grant is refused',
      'granted',
      'granting',
    ],
  },
  lot: {
    path: SYNC,
    wrong: ['Asks for one lot of candidates.', 'lot += 1', 'CONFIRM_LOT'],
    right: ['a lot of rows', 'slot', 'allotted', 'one batch'],
  },
  brake: { path: SYNC, wrong: ['the brake', 'BRAKE_MIN_ROWS', 'brake(trx)'], right: ['breaks', 'the prune guard'] },
  'stage (noun)': {
    path: SYNC,
    wrong: ['pages of the stage', 'verifyStage(db)', 'StageSummary', 'from stage p', 'into the\n * stage'],
    right: ['stages a page', 'to stage pages', 'staging', 'stagePages', 'staged_users', 'the stage-name'],
  },
  'apply (the merge)': {
    path: SYNC,
    wrong: ['the apply', 'applyStage(', 'ApplyOutcome', 'APPLY_LOCK', 'AppliedSource'],
    right: ['apply migrations', 'applied_key', 'sync_runs.applied', 'the rule applies', "status: 'applied'"],
  },
  park: {
    path: SYNC,
    wrong: ['park unique values', 'rows are parked', 'parkOnly'],
    right: ['spark', 'a value is released', 'parkour'],
  },
  'mine, foreign': {
    path: SYNC,
    wrong: ["mine: 'true'", 'spec.foreign'],
    right: ['the target of foreign keys', 'foreign key', 'undermine', 'isPanelRow', 'determines'],
  },
  pid: {
    path: SYNC,
    wrong: ["key: 'pid'", 's.pid = t.id', '{ pid: 7 }'],
    right: ['select pg_backend_pid() as pid', 'backend?.pid ?? 0', 'panelId', 'rapid', '[process.pid]'],
  },
  'temporary tables': {
    path: SYNC,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a template is what is looked for
    wrong: ['from s_users s', 'g_${entity}', 'p_<entity>', 'join f_servers'],
    right: ['staged_users', 'targets_users', 'is_users', 'p_value'],
  },
  mail: {
    path: SYNC,
    wrong: [
      'a mail',
      'MailStore',
      'deliverMail',
      'MAIL_UNAVAILABLE',
      'mailId',
      'cli mail preview',
      'mailed token',
      'sendMails',
    ],
    right: [
      'email',
      'emails',
      'EmailStore',
      'EMAIL_FROM',
      'deliverEmail',
      'byEmailAndAddress',
      'GET /__sim/mails',
      'the mail server',
      'a mail-server',
      'mailbox',
      'specsMailboxes',
      'add_e_mails',
      "import nodemailer from 'nodemailer'",
      'e-mail address',
    ],
  },
  holdUser: { path: SYNC, wrong: ['holdUser(trx, id)', 'holdPassword'], right: ['lockUser', 'holds a user'] },
  human: { path: SYNC, wrong: ['error.human', 'human?: string'], right: ['humans', 'a human reader'] },
  shownAs: { path: SYNC, wrong: ["shownAs({ type: 'string' })"], right: ['documentedAs', 'is shown as text'] },
};

test('each rule has samples', () => {
  expect(Object.keys(SAMPLES)).toEqual(RULES.map((rule) => rule.name));
});

describe.each(Object.entries(SAMPLES))('%s', (name, { path, wrong, right }) => {
  const found = (text: string) => findRetired(path, text).filter((finding) => finding.rule === name);

  test.each(wrong)('finds %j', (text) => {
    expect(found(text)).toHaveLength(1);
    expect(found(text)[0]).toMatchObject({ path, line: 1 });
  });

  test.each(right)('lets %j be', (text) => {
    expect(found(text)).toEqual([]);
  });
});

test('a finding says where it is and what to write instead, also across a line break', () => {
  expect(findRetired(SYNC, 'one\n/**\n * bytes at\n * the most.\n */\n')).toEqual([
    { rule: 'at the most', path: SYNC, line: 3, found: 'at the most', use: 'at most, at least' },
  ]);
});

test('a text is allowed only in the paths that its exception names', () => {
  const text = "kind = 'mail.send'";
  expect(findRetired('migrations/20260101002200_email_outbox_kind.ts', text)).toEqual([]);
  expect(findRetired('src/store/outbox-store.ts', text)).toHaveLength(1);
});

test('a rule reads only its own paths', () => {
  const mine = (path: string) => findRetired(path, "mine: 'true', pid: 1").map((finding) => finding.rule);
  expect(mine('src/store/sync/merge/tables.ts')).toEqual(['mine, foreign', 'pid']);
  expect(mine('src/embedded/process.ts')).toEqual([]);
  // What a release changed is named there as it was called then.
  expect(findRetired('CHANGELOG.md', '`cli mail` is `cli email`')).toEqual([]);
  expect(findRetired('docs/glossary.md', '| **email** | | mail |')).toEqual([]);
  expect(findRetired('CHANGELOG.md', 'nobody')).toHaveLength(1);
});
