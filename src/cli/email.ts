/** `mail preview`: what a mail looks like, without sending one. */
import { writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { loadConfig } from '../config.ts';
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

/** Where the commands read and write; the process by default. */
export interface EmailCommandIo {
  stdout: NodeJS.WritableStream;
  stderr: NodeJS.WritableStream;
  env: Record<string, string | undefined>;
}

const FORMATS = ['html', 'text', 'json'] as const;

interface Flags {
  format?: (typeof FORMATS)[number];
  data?: string[];
  subject?: string;
  out?: string;
}

/** A mistake of the caller: its text is the whole message. */
class UsageError extends Error {}

const ACCOUNT = {
  name: 'Ada',
  token: '5d0c7f0e9b1a4c3e8f2d6a7b4c5d9e0f'.repeat(2),
  id: '3f0a1c52-8d5e-4b7a-9c1d-2e6f4a8b0c7d',
};
/** Data of each template that shows all it can say. */
const SAMPLES: Readonly<Record<EmailTemplate, EmailData>> = {
  'email-verification': ACCOUNT,
  'password-reset': ACCOUNT,
  'magic-link': ACCOUNT,
  welcome: ACCOUNT,
  'email-changed': { name: 'Ada', newEmail: 'ada.new@example.com' },
  'sync-complete': { syncType: 'full', status: 'completed', duration: '12.4 s' },
  message: { message: 'Maintenance is planned for Sunday, 02:00 to 04:00 UTC.\nYour servers restart once.' },
};

/** Adds `mail preview`. A command that fails prints why and sets exit code 1. */
export function registerEmailCommands(program: Command, io: EmailCommandIo = process): void {
  program
    .command('mail')
    .description('look at mails')
    .command('preview')
    .description('print a mail made of sample data; without a template, list the templates and their data')
    .argument('[template]', 'name of the template')
    .addOption(new Option('--format <format>', 'default: by the ending of --out, else text').choices(FORMATS))
    .option('--data <key=value...>', 'data instead of the sample; an empty value leaves it out')
    .option('--subject <text>', "subject instead of the template's own")
    .option('--out <file>', 'file to write; default: standard output')
    .action(async (template: string | undefined, flags: Flags) => {
      try {
        const text = template === undefined ? list() : preview(template, flags, io.env);
        if (flags.out === undefined) io.stdout.write(text);
        else await writeFile(flags.out, text);
      } catch (error) {
        if (!(error instanceof UsageError) && !isFileError(error)) throw error;
        io.stderr.write(`error: ${error.message}\n`);
        process.exitCode = 1;
      }
    });
}

function list(): string {
  const blocks = EMAIL_TEMPLATES.map((template) => {
    const others = EMAIL_TEMPLATE_NAMES.filter((name) => name !== template && emailTemplate(name) === template);
    const title = others.length === 0 ? template : `${template} (also ${others.join(', ')})`;
    const fields = EMAIL_FIELDS[template].map(
      ({ key, description, required }) => `  ${key.padEnd(13)} ${description}${required ? ' (required)' : ''}`,
    );
    return [title, ...fields].join('\n');
  });
  return `${blocks.join('\n\n')}\n`;
}

function preview(name: string, flags: Flags, env: EmailCommandIo['env']): string {
  const template = emailTemplate(name);
  if (template === undefined) {
    throw new UsageError(`no such template: ${name} (known: ${EMAIL_TEMPLATE_NAMES.join(', ')})`);
  }
  const data = { ...SAMPLES[template], ...given(template, flags.data ?? []) };
  const problems = checkEmailData(template, data);
  if (problems.length > 0) throw new UsageError(problems.map(({ path, message }) => `${path} ${message}`).join('; '));
  const { siteUrl, paths } = loadConfig(env).email;
  const subject = flags.subject === undefined ? {} : { subject: flags.subject };
  const mail = renderEmail(template, data, { siteUrl, paths, year: new Date().getUTCFullYear(), ...subject });
  switch (flags.format ?? formatOf(flags.out ?? '')) {
    case 'json':
      return `${JSON.stringify({ template, ...mail }, null, 2)}\n`;
    case 'html':
      return mail.html;
    case 'text':
      return `Subject: ${mail.subject}\n\n${mail.text}`;
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

/** The operating system's refusal to write the file says which file and why. */
const isFileError = (error: unknown): error is NodeJS.ErrnoException =>
  error instanceof Error && 'syscall' in error && 'path' in error;
