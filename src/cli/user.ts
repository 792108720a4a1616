/** `user create`: accounts from the command line, above all the first administrator. */
import { randomInt } from 'node:crypto';
import type { Command } from 'commander';
import { loadConfig } from '../config.ts';
import { EMAIL_PATTERN, normalizeEmail, passwordProblem } from '../domain/account.ts';
import { isAppError } from '../domain/errors.ts';
import { createUser } from '../store/account-store.ts';
import { createDb, sqlState } from '../store/db.ts';

interface Flags {
  email: string;
  password?: string;
  passwordStdin?: boolean;
  username?: string;
  admin?: boolean;
  database?: string;
  json?: boolean;
}

/** A mistake of the caller: its text is the whole message. */
class UsageError extends Error {}

/** Adds `user create`. A command that fails prints why and sets exit code 1. */
export function registerUserCommands(program: Command): void {
  program
    .command('user')
    .description('accounts')
    .command('create')
    .description('create a user whose address counts as verified')
    .requiredOption('--email <address>', 'e-mail address, the name to sign in with')
    .option('--password <text>', 'password; visible to other users of this machine, so rather use --password-stdin')
    .option('--password-stdin', 'read the password from standard input')
    .option('--username <name>', 'shown name (default: the part before the @)')
    .option('--admin', 'make it a system administrator')
    .option('-d, --database <url>', 'postgres://… (default: DATABASE_URL, else the embedded database)')
    .option('--json', 'print one JSON document')
    .action(async (flags: Flags) => {
      try {
        await create(flags);
      } catch (error) {
        const message = describe(error);
        if (flags.json === true) process.stdout.write(`${JSON.stringify({ error: message })}\n`);
        process.stderr.write(`error: ${message}\n`);
        process.exitCode = 1;
      }
    });
}

async function create(flags: Flags): Promise<void> {
  const email = normalizeEmail(flags.email);
  if (!EMAIL_PATTERN.test(email)) throw new UsageError('this is no e-mail address');
  const given = await givenPassword(flags);
  const password = given ?? generatePassword();
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new UsageError(problem.message);
  const { url, release } = await database(flags.database);
  const db = createDb({ connectionString: url, applicationName: 'nodebyte-cli', max: 1 });
  try {
    const { id } = await createUser(db, {
      email,
      password,
      ...(flags.username === undefined ? {} : { username: flags.username }),
      roles: [flags.admin === true ? 'SUPER_ADMIN' : 'MEMBER'],
      isSystemAdmin: flags.admin === true,
      emailVerified: true,
    });
    const made = given === undefined ? { password } : {};
    if (flags.json === true) {
      process.stdout.write(`${JSON.stringify({ id, email, admin: flags.admin === true, ...made })}\n`);
      return;
    }
    process.stdout.write(`created ${flags.admin === true ? 'administrator' : 'user'} ${email} (${id})\n`);
    if (given === undefined) process.stdout.write(`password: ${password}\n`);
  } finally {
    await db.destroy();
    await release();
  }
}

async function givenPassword(flags: Flags): Promise<string | undefined> {
  if (flags.passwordStdin !== true) return flags.password;
  if (flags.password !== undefined) throw new UsageError('give --password or --password-stdin, not both');
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += String(chunk);
  return text.replace(/\r?\n$/, '');
}

async function database(given: string | undefined): Promise<{ url: string; release: () => Promise<void> }> {
  if (given !== undefined) return { url: given, release: async () => {} };
  const config = loadConfig(process.env);
  if (config.databaseUrl !== undefined) return { url: config.databaseUrl.reveal(), release: async () => {} };
  const { attachServices } = await import('../embedded/attach.ts');
  const services = await attachServices(config, (line) => console.error(line));
  return { url: services.databaseUrl.reveal(), release: () => services.release() };
}

/** 20 characters without those that look alike, of every class the password rules ask for. */
function generatePassword(): string {
  const classes = ['ABCDEFGHJKLMNPQRSTUVWXYZ', 'abcdefghijkmnopqrstuvwxyz', '23456789'];
  const all = classes.join('');
  for (;;) {
    const password = Array.from({ length: 20 }, () => all[randomInt(all.length)]).join('');
    if (passwordProblem(password) === undefined) return password;
  }
}

function describe(error: unknown): string {
  if (isAppError(error)) return error.message;
  if (sqlState(error) === '42P01' || sqlState(error) === '42703') {
    return 'the database is not set up: run `npm run db:migrate`';
  }
  if (error instanceof AggregateError && error.message === '') return error.errors.map(describe).join('; ');
  // The driver puts the whole statement, and with it what was to be stored, in front of the reason.
  if (error instanceof Error && sqlState(error) !== undefined) return error.message.split(' - ').at(-1) ?? '';
  return error instanceof Error ? error.message : String(error);
}
