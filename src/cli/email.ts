/** `email preview`: what an email looks like, without sending one. */
import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { type Environment, loadConfig } from '../config.ts';
import {
  checkEmailData,
  EMAIL_FIELDS,
  EMAIL_TEMPLATE_NAMES,
  EMAIL_TEMPLATES,
  type EmailData,
  type EmailTemplate,
  emailTemplate,
} from '../domain/email.ts';
import { renderEmail } from '../messages/email/templates.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { UsageError } from './support/errors.ts';

const FORMATS = ['html', 'text', 'json'] as const;

interface Flags {
  format?: (typeof FORMATS)[number];
  data?: string[];
  subject?: string;
  out?: string;
}

const ACCOUNT = {
  name: 'Ada',
  token: '5d0c7f0e9b1a4c3e8f2d6a7b4c5d9e0f'.repeat(2),
  id: '3f0a1c52-8d5e-4b7a-9c1d-2e6f4a8b0c7d',
};
/** Data of each template that shows all it can say. */
const SAMPLES: Readonly<Record<EmailTemplate, EmailData>> = {
  'email-verification': { ...ACCOUNT, openedOn: '2026-03-01', lapses: 'yes', denialToken: ACCOUNT.token },
  'password-reset': ACCOUNT,
  'set-password': ACCOUNT,
  'magic-link': ACCOUNT,
  welcome: ACCOUNT,
  'email-changed': { name: 'Ada', newEmail: 'ada.new@example.com' },
  'password-changed': { name: 'Ada', when: '2026-03-01 09:30 UTC' },
  'new-network': { name: 'Ada', when: '2026-03-01 09:30 UTC', network: '192.0.2.0/24' },
  'sync-complete': { syncType: 'full', status: 'completed', duration: '12.4 s' },
  message: { message: 'Maintenance is planned for Sunday, 02:00 to 04:00 UTC.\nYour servers restart once.' },
};

type Io = Pick<CommandIo, 'stdout' | 'stderr' | 'env'>;

/** Adds `email preview`. A command that fails prints why and sets the exit code. */
export function registerEmailCommands(program: Command, io: Io = process): void {
  program
    .command('email')
    .description('look at emails')
    .command('preview')
    .description('print an email made from sample data; without a template, list the templates and their data')
    .argument('[template]', 'name of the template')
    .addOption(new Option('--format <format>', 'default: by the ending of --out, else text').choices(FORMATS))
    .option('--data <key=value...>', 'data in place of the sample; an empty value leaves the key out')
    .option('--subject <text>', "subject in place of the template's own")
    .option('--out <file>', 'file to write; default: standard output')
    .action((template: string | undefined, flags: Flags) =>
      runCommand(io, {}, async () => {
        const text = template === undefined ? list() : preview(template, flags, io.env);
        if (flags.out === undefined) io.stdout.write(text);
        else await writeFile(flags.out, text);
      }),
    );
}

function list(): string {
  const blocks = EMAIL_TEMPLATES.map((template) => {
    const others = EMAIL_TEMPLATE_NAMES.filter((name) => name !== template && emailTemplate(name) === template);
    const title = others.length === 0 ? template : `${template} (also ${others.join(', ')})`;
    const fields = EMAIL_FIELDS[template].map(
      ({ key, description, required }) => `  ${key.padEnd(16)} ${description}${required ? ' (required)' : ''}`,
    );
    return [title, ...fields].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}

function preview(name: string, flags: Flags, env: Environment): string {
  const template = emailTemplate(name);
  if (template === undefined) {
    throw new UsageError(`no such template: ${name} (known: ${EMAIL_TEMPLATE_NAMES.join(', ')})`);
  }
  const data = { ...SAMPLES[template], ...given(template, flags.data ?? []) };
  const problems = checkEmailData(template, data);
  if (problems.length > 0) throw new UsageError(problems.map(({ path, message }) => `${path} ${message}`).join('; '));
  const { siteUrl, apiUrl, paths } = loadConfig(env).email;
  const subject = flags.subject === undefined ? {} : { subject: flags.subject };
  const email = renderEmail(template, data, { siteUrl, apiUrl, paths, year: new Date().getUTCFullYear(), ...subject });
  switch (flags.format ?? formatOf(flags.out ?? '')) {
    case 'json':
      return `${JSON.stringify({ template, ...email }, null, 2)}\n`;
    case 'html':
      return email.html;
    case 'text':
      return `Subject: ${email.subject}\n\n${email.text}`;
  }
}

function given(template: EmailTemplate, pairs: readonly string[]): EmailData {
  const known = EMAIL_FIELDS[template].map(({ key }) => key);
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      const key = pair.slice(0, Math.max(at, 0));
      if (at < 0) throw new UsageError(`--data takes key=value, not ${pair}`);
      if (!known.includes(key)) throw new UsageError(`${template} has no ${key} (known: ${known.join(', ')})`);
      return [key, pair.slice(at + 1)];
    }),
  );
}

function formatOf(file: string): (typeof FORMATS)[number] {
  if (/\.html?$/i.test(file)) return 'html';
  return /\.json$/i.test(file) ? 'json' : 'text';
}
