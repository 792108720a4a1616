/**
 * `npm run words`: finds names and phrases that the project no longer uses. docs/glossary.md has the words that it uses.
 * Each finding is printed as `file:line: found → use`; the exit code is 1 when there is one.
 *
 * A rule is precise rather than complete: a wrong finding costs more than a missed one.
 */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../', import.meta.url));

/** Files that are read, as globs. */
const FILES = [
  '{src,test,simulators,bench,migrations}/**/*.ts',
  '{,.}*.{ts,cjs,md,yml}',
  'package.json',
  'Dockerfile',
  'docs/**/*.md',
  'test/replay/histories/*.json',
];
/** The table of retired words, and the samples of its test. */
const UNREAD = new Set(['test/words.ts', 'test/unit/documents/words.test.ts']);

const CODE = /^(?:src|test|simulators|bench|migrations)\/.*\.ts$|^[\w.-]+\.(?:ts|cjs|yml|json)$|^Dockerfile$/;
const DOCUMENTS = /\.md$/;
/** The changelog names things as they were called when they changed; the glossary says what is not written any more. */
const PRESENT_DOCUMENTS = /^(?!CHANGELOG\.md$|docs\/glossary\.md$).*\.md$/;
const HISTORIES = /^test\/replay\/histories\//;
/** Everything that reads the panel or writes the mirror. */
const SYNC_CODE =
  /^(?:src|test)\/(?:.*\/)?(?:sync|panel|panel-sync)\/|^test\/support\/(?:merge|held-merge|mirror|panel|spoiled)\.ts$|^bench\/sync\/floor\.ts$/;
const SYNC_STORE = /^(?:src|test)\/store\/sync\/|^test\/support\/merge\.ts$/;

export interface Rule {
  name: string;
  /** Regular expression; a space also matches a line break inside a comment. Case counts. */
  find: string;
  /** What is written instead. */
  use: string;
  /** Paths in which it is looked for. */
  in: readonly RegExp[];
  /** Longer texts in which the word is right, each with the reason; `in`: only in these paths. */
  allow?: readonly { text: string; in?: RegExp; why: string }[];
}

export interface Finding {
  rule: string;
  path: string;
  line: number;
  found: string;
  use: string;
}

const EVERYWHERE = [CODE, DOCUMENTS];
const CODE_AND_DOCUMENTS = [CODE, PRESENT_DOCUMENTS];

export const RULES: readonly Rule[] = [
  // Phrases: plain English for readers whose first language is another one.
  { name: 'at the most', find: String.raw`\b[Aa]t the (?:most|least)\b`, use: 'at most, at least', in: EVERYWHERE },
  { name: 'anew', find: String.raw`\b[Aa]new\b`, use: 'again', in: EVERYWHERE },
  {
    name: 'the wire',
    find: String.raw`\b[Tt]he wire\b`,
    use: 'the HTTP API, or the name of the protocol',
    in: EVERYWHERE,
  },
  {
    name: 'per',
    find: String.raw`\b(?:[Oo]ne|two|three|\d[\d,]*) (?:[a-z]+ ){0,2}?(?:requests?|objects?|rows?|workflows?|files?|statements?|attempts?|calls?|activity|activities|pages?|tokens?|tries|bytes|ms|schemas?|tests?|e?mails?|installation|transactions?|records?|lines?) an? (?!second|minute|hour|day|week|month|year)[a-z]+(?=[,.;:)]| (?:and|or)\b)`,
    use: 'per, as in "one workflow per email"',
    in: EVERYWHERE,
  },
  { name: 'told', find: String.raw`\b[Tt]old\b`, use: 'notified, or what exactly happens', in: EVERYWHERE },
  {
    name: 'nobody',
    find: String.raw`\b[Nn]obody\b`,
    use: 'the thing that does not act',
    in: EVERYWHERE,
    allow: [
      { text: String.raw`\bnobody\b`, in: /^src\/embedded\/postgres\/service-user\.ts$/, why: 'a system account' },
    ],
  },
  { name: 'whoever', find: String.raw`\b[Ww]hoever\b`, use: 'the thing that acts', in: EVERYWHERE },
  { name: 'as good as', find: String.raw`\b[Aa]s good as\b`, use: 'what exactly is true', in: EVERYWHERE },
  {
    name: 'his',
    find: String.raw`(?<![\w.$'])(?:[Hh]is|[Hh]im|[Hh]imself|[Hh]e)(?![\w.:=(\[\]])\b`,
    use: 'their, them, or the name of the thing',
    in: EVERYWHERE,
  },

  // One word for one thing: the table of docs/glossary.md.
  {
    name: 'set aside',
    find: String.raw`\b\w*(?<![a-z])aside(?:[A-Z_]\w*)?\b|\b\w+Aside\w*\b`,
    use: 'rejected record, reject',
    in: CODE_AND_DOCUMENTS,
  },
  {
    name: 'exclusion',
    find: String.raw`\b(?:[Ee]xclusions?|[Oo]ffenders?)\b`,
    use: 'rejected record',
    in: [SYNC_CODE, PRESENT_DOCUMENTS],
  },
  {
    name: 'grant',
    find: String.raw`\b(?:[Gg]rants?|GrantToken|grantSize|MAX_GRANT)\b`,
    use: 'batch',
    in: CODE_AND_DOCUMENTS,
    allow: [
      { text: String.raw`\b(?:grant|GRANT)\b[^;\n]*? (?:on|to) `, why: 'SQL' },
      { text: String.raw`OAuth[^\n]*|grant_types?|[^\n]*device_code[^\n]*`, why: 'OAuth' },
    ],
  },
  {
    name: 'lot',
    find: String.raw`\b(?:[Ll]ots?|confirmLot|CONFIRM_LOT)\b`,
    use: 'batch',
    in: CODE_AND_DOCUMENTS,
    allow: [{ text: String.raw`\b(?:a lot|lots of)\b`, why: 'much, in English' }],
  },
  { name: 'brake', find: String.raw`\b(?:[Bb]rakes?|BRAKE\w*)\b`, use: 'prune guard', in: CODE_AND_DOCUMENTS },
  {
    name: 'stage (noun)',
    find: String.raw`\b(?:[Tt]he|[Aa]n|[Aa]|[Ii]ts|[Ee]mpty|[Ww]hole|[Oo]f|[Ff]rom|[Ii]nto|[Jj]oin) stage\b(?!-)|\b\w*(?:verify|expand)Stage\w*\b|\b[Ss]tageSummary\b|\bcreate temp table stage\b`,
    use: 'staging, staged pages',
    in: [...CODE_AND_DOCUMENTS, HISTORIES],
  },
  {
    name: 'apply (the merge)',
    find: String.raw`\b(?:[Tt]he|[Aa]n|[Oo]f|[Ee]ach|[Tt]wo) (?:apply|applies)\b|\b(?:[Aa]pply|[Aa]pplied)(?:Run|Once|Stage|Input|Scope|Outcome|Hooks|Acts|Sources?)\b|\bAPPLY_LOCK\b|\breadAndApply\b`,
    use: 'merge',
    in: [...CODE_AND_DOCUMENTS, HISTORIES],
  },
  {
    name: 'park',
    find: String.raw`\b(?:[Pp]ark(?:ed|ing|s|Only)?)\b`,
    use: 'release (releaseUniqueValues), or postpone',
    in: CODE_AND_DOCUMENTS,
  },
  {
    name: 'mine, foreign',
    find: String.raw`\bmine\b|\bforeign\b(?! keys?\b)`,
    use: 'isPanelRow, isOtherPanelRow',
    in: [SYNC_STORE],
  },
  {
    name: 'pid',
    find: String.raw`\bpid\b`,
    use: 'panelId',
    in: [SYNC_CODE],
    allow: [
      {
        text: String.raw`[^\n]*pg_(?:backend_pid|stat_activity|cancel_backend|terminate_backend|locks)[^\n]*`,
        why: 'a PostgreSQL process',
      },
      { text: String.raw`\b(?:backend|process|child|worker)\??\.pid\b`, why: 'an operating system process' },
    ],
  },
  {
    name: 'temporary tables',
    find: String.raw`\b[sfpg]_(?:\$\{|<entity>|(?:locations|nodes|nests|eggs|egg_variables|users|servers|links|allocations|databases|subusers)\b)`,
    use: 'staged_x, target_x, change_x, deleted_x',
    in: CODE_AND_DOCUMENTS,
  },
  {
    name: 'mail',
    find: String.raw`\b(?:\w*(?:(?<!\b[Ee]-)(?<![Ee])mail|(?<!e)Mail)\w*|\w*(?<!E)MAIL\w*)\b`,
    use: 'email',
    in: CODE_AND_DOCUMENTS,
    allow: [
      { text: String.raw`(?:/__sim)?/mails\b|\{ mails: `, why: 'paths and JSON of the email simulator' },
      { text: String.raw`\bmail(?:-| )(?:servers?|programs?|clients?|exchangers?)\b`, why: 'standard words' },
      { text: String.raw`\b\w*[Mm]ailbox\w*\b|\bMAILBOX\w*\b`, why: 'standard word' },
      { text: String.raw`\b\w*e_mails?\b`, why: 'e-mail, in snake case' },
      {
        text: String.raw`\bmail\.send\b|\bmailId\b`,
        in: /email_outbox_kind\.ts$|^test\/store\/outbox\/email-kind\.test\.ts$/,
        why: 'what the migration renames',
      },
      {
        text: String.raw`\b(?:nodemailer(?:/lib/mail-composer)?|MailComposer|onMailFrom|mailFrom|xMailer|X-Mailer|mailto|MAIL FROM)\b`,
        why: 'names of SMTP and of libraries',
      },
      { text: String.raw`\bMAIL_\w+\b(?=[^\n]*env)`, why: 'environment' },
    ],
  },
  { name: 'holdUser', find: String.raw`\bhold(?:User|Password\w*)\b`, use: 'lockUser, lockPasswordHash', in: [CODE] },
  {
    name: 'human',
    find: String.raw`\.human\b|\bhuman\??:`,
    use: 'publicMessage',
    in: [/^src\//, /^test\/(?:api|unit)\//],
  },
  { name: 'shownAs', find: String.raw`\bshownAs\b`, use: 'documentedAs', in: [CODE] },
];

/** A space of a pattern: blanks, or the line break of a comment or a paragraph. */
const GAP = String.raw`(?:[ \t]+|[ \t]*\r?\n[ \t]*(?:\*(?!/)|//|#|>)?[ \t]*)`;
const compile = (pattern: string): RegExp => new RegExp(pattern.replaceAll(' ', GAP), 'g');
const COMPILED = RULES.map((rule) => ({
  rule,
  find: compile(rule.find),
  allow: (rule.allow ?? []).map(({ text, in: paths = /^/ }) => ({ pattern: compile(text), paths })),
}));

/** Findings in one file; lines count from 1. */
export function findRetired(path: string, text: string): Finding[] {
  return COMPILED.filter(({ rule }) => rule.in.some((area) => area.test(path))).flatMap(({ rule, find, allow }) => {
    const allowed = allow
      .filter(({ paths }) => paths.test(path))
      .flatMap(({ pattern }) => [...text.matchAll(pattern)])
      .map((match) => ({ from: match.index, to: match.index + match[0].length }));
    return [...text.matchAll(find)]
      .filter(({ index, 0: { length } }) => !allowed.some(({ from, to }) => from <= index && index + length <= to))
      .map(({ index, 0: found }) => ({
        rule: rule.name,
        path,
        line: text.slice(0, index).split('\n').length,
        found: found.replaceAll(/\s+(?:\*|\/\/|#|>)?\s*/g, ' '),
        use: rule.use,
      }));
  });
}

if (import.meta.main) {
  const paths = globSync(FILES, { cwd: ROOT }).filter((path) => !UNREAD.has(path));
  const findings = paths.toSorted().flatMap((path) => findRetired(path, readFileSync(join(ROOT, path), 'utf8')));
  if (process.argv.includes('--count')) {
    for (const { name } of RULES) console.log(`${findings.filter((f) => f.rule === name).length}\t${name}`);
  } else {
    for (const { path, line, found, use } of findings) console.error(`${path}:${line}: ${found} → ${use}`);
  }
  console.log(`words: ${paths.length} files, ${findings.length} findings`);
  process.exitCode = findings.length > 0 || paths.length === 0 ? 1 : 0;
}
