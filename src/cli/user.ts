/** `user create|list|roles|disable|enable|reset-password`: accounts from the command line, above all the first administrator. */

import { randomInt } from 'node:crypto';
import { type Command, InvalidArgumentError } from 'commander';
import { loadConfig } from '../config.ts';
import { isEmail, normalizeEmail } from '../domain/accounts/account.ts';
import { passwordProblem } from '../domain/accounts/password-policy.ts';
import { ROLES, type Role, type RoleChange } from '../domain/accounts/roles.ts';
import { isAppError } from '../domain/errors.ts';
import { replacePassword } from '../services/accounts/passwords.ts';
import { createUser } from '../services/accounts/register.ts';
import { setActive, setRoles } from '../services/accounts/roles.ts';
import { findUserId, type ListedUser, listUsers } from '../store/accounts/user-list.ts';
import type { Db } from '../store/db/db.ts';
import { sqlState } from '../store/db/sql-errors.ts';
import { withDatabase } from '../store/db/with-database.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  database?: string;
  json?: boolean;
}

interface PasswordFlags extends Flags {
  password?: string;
  passwordStdin?: boolean;
}

interface CreateFlags extends PasswordFlags {
  email: string;
  username?: string;
  admin?: boolean;
}

interface ListFlags extends Flags {
  search?: string;
  role?: string;
  admins?: boolean;
  disabled?: boolean;
  limit: number;
  page: number;
}

interface RolesFlags extends Flags {
  add?: string;
  remove?: string;
  set?: string;
}

interface ResetFlags extends PasswordFlags {
  verify?: boolean;
}

/** A mistake of the caller: its text is the whole message. */
class UsageError extends Error {}

/** Adds the `user` commands. A command that fails prints why and sets exit code 1. */
export function registerUserCommands(program: Command): void {
  const user = program.command('user').description('accounts');
  const common = (command: Command): Command =>
    command
      .option('-d, --database <url>', 'postgres://… (default: DATABASE_URL, else the embedded database)')
      .option('--json', 'print one JSON document');
  const withPassword = (command: Command): Command =>
    command
      .option('--password <text>', 'password; visible to other users of this machine, so rather use --password-stdin')
      .option('--password-stdin', 'read the password from standard input');
  const onOne = (name: string): Command => user.command(name).argument('<user>', 'e-mail address or id');

  common(
    withPassword(
      user
        .command('create')
        .description('create a user whose address counts as verified')
        .requiredOption('--email <address>', 'e-mail address, the name to sign in with'),
    )
      .option('--username <name>', 'shown name (default: the part before the @)')
      .option('--admin', 'make it a system administrator'),
  ).action((flags: CreateFlags) => attempt(flags, () => create(flags)));
  common(
    user
      .command('list')
      .description('users, newest first')
      .option('--search <text>', 'part of the e-mail address or of the user name')
      .option('--role <role>', 'only holders of this role')
      .option('--admins', 'only those who may use the administration')
      .option('--disabled', 'only disabled ones')
      .option('-n, --limit <n>', 'how many on a page', whole(1, 500), 20)
      .option('--page <n>', 'which page', whole(1, 1_000_000), 1),
  ).action((flags: ListFlags) => attempt(flags, () => list(flags)));
  common(
    onOne('roles')
      .description(`give and take roles: ${ROLES.join(', ')}`)
      .option('--add <roles>', 'give these, e.g. PARTNER,SPONSOR')
      .option('--remove <roles>', 'take these away')
      .option('--set <roles>', 'these and no others'),
  ).action((who: string, flags: RolesFlags) => attempt(flags, () => roles(who, flags)));
  common(onOne('disable').description('end all sessions and let nobody sign in')).action((who: string, flags: Flags) =>
    attempt(flags, () => activate(who, flags, false)),
  );
  common(onOne('enable').description('let a disabled user sign in again')).action((who: string, flags: Flags) =>
    attempt(flags, () => activate(who, flags, true)),
  );
  common(
    withPassword(
      onOne('reset-password').description('set a password (made and printed when none is given) and end all sessions'),
    ).option('--verify', 'from now on the address counts as verified'),
  ).action((who: string, flags: ResetFlags) => attempt(flags, () => resetPassword(who, flags)));
}

async function attempt(flags: Flags, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const message = describe(error);
    if (flags.json === true) process.stdout.write(`${JSON.stringify({ error: message })}\n`);
    process.stderr.write(`error: ${message}\n`);
    process.exitCode = 1;
  }
}

function print(flags: Flags, json: unknown, lines: readonly string[]): void {
  process.stdout.write(flags.json === true ? `${JSON.stringify(json)}\n` : lines.map((line) => `${line}\n`).join(''));
}

async function create(flags: CreateFlags): Promise<void> {
  if (!isEmail(flags.email.trim())) throw new UsageError('this is no e-mail address');
  const email = normalizeEmail(flags.email);
  const { password, made } = await choosePassword(flags);
  await withDb(flags, async (db) => {
    const admin = flags.admin === true;
    const { id } = await createUser(db, {
      email,
      password,
      ...(flags.username === undefined ? {} : { username: flags.username }),
      roles: [admin ? 'SUPER_ADMIN' : 'MEMBER'],
      isSystemAdmin: admin,
      emailVerified: true,
    });
    print(flags, { id, email, admin, ...(made ? { password } : {}) }, [
      `created ${admin ? 'administrator' : 'user'} ${email} (${id})`,
      ...(made ? [`password: ${password}`] : []),
    ]);
  });
}

async function list(flags: ListFlags): Promise<void> {
  const { limit, page, search } = flags;
  const role = flags.role === undefined ? undefined : oneRole(flags.role);
  await withDb(flags, async (db) => {
    const { users, total } = await listUsers(db, {
      ...(search === undefined ? {} : { search }),
      ...(role === undefined ? {} : { role }),
      ...(flags.disabled === true ? { active: false } : {}),
      admins: flags.admins === true,
      limit,
      offset: (page - 1) * limit,
    });
    const pages = Math.ceil(total / limit);
    const header = ['email', 'username', 'roles', 'admin', 'active', 'verified', 'last sign-in', 'created'];
    print(flags, { users, total, page, limit }, [
      ...(users.length === 0 ? [] : table(header, users.map(cells))),
      total === 0 ? 'no users' : `${users.length} of ${total} users, page ${page} of ${pages}`,
    ]);
  });
}

function cells(user: ListedUser): string[] {
  const yes = (value: boolean): string => (value ? 'yes' : 'no');
  return [
    user.email,
    user.username ?? '',
    user.roles.join(','),
    yes(user.isSystemAdmin),
    yes(user.isActive),
    yes(user.emailVerified !== null),
    user.lastLoginAt?.toISOString() ?? 'never',
    user.createdAt.toISOString(),
  ].map(printable);
}

async function roles(who: string, flags: RolesFlags): Promise<void> {
  const change = roleChange(flags);
  await withDb(flags, async (db) => {
    const changed = await setRoles(db, await findUserId(db, who), change);
    const { id, email, isSystemAdmin: admin } = changed;
    print(flags, { id, email, roles: changed.roles, admin }, [
      printable(`${email} (${id}): ${changed.roles.join(', ') || 'no roles'}`),
    ]);
  });
}

function roleChange({ add, remove, set }: RolesFlags): RoleChange {
  if (set !== undefined) {
    if (add !== undefined || remove !== undefined) {
      throw new UsageError('give --set, or --add and --remove, not both');
    }
    return { set: someRoles(set) };
  }
  if (add === undefined && remove === undefined) throw new UsageError('give --add, --remove or --set');
  const given = add === undefined ? [] : someRoles(add);
  const taken = remove === undefined ? [] : someRoles(remove);
  const both = given.find((role) => taken.includes(role));
  if (both !== undefined) throw new UsageError(`${both} cannot be both given and taken away`);
  return { add: given, remove: taken };
}

function someRoles(text: string): Role[] {
  const names = text.split(',').filter((name) => name.trim() !== '');
  if (names.length === 0) throw new UsageError(`no role given; known are ${ROLES.join(', ')}`);
  return names.map(oneRole);
}

function oneRole(name: string): Role {
  const role = ROLES.find((known) => known === name.trim().toUpperCase());
  if (role === undefined) throw new UsageError(`no role "${name.trim()}"; known are ${ROLES.join(', ')}`);
  return role;
}

async function activate(who: string, flags: Flags, active: boolean): Promise<void> {
  await withDb(flags, async (db) => {
    const { id, email, changed } = await setActive(db, await findUserId(db, who), active);
    const state = active ? 'enabled' : 'disabled';
    print(flags, { id, email, active, changed }, [
      printable(changed ? `${state} ${email} (${id})` : `${email} (${id}) was already ${state}`),
    ]);
  });
}

async function resetPassword(who: string, flags: ResetFlags): Promise<void> {
  const { password, made } = await choosePassword(flags);
  await withDb(flags, async (db) => {
    const changed = await replacePassword(db, await findUserId(db, who), password, { verify: flags.verify === true });
    const { id, email, isActive: active } = changed;
    const verified = changed.emailVerified !== null;
    print(flags, { id, email, active, verified, ...(made ? { password } : {}) }, [
      printable(`new password for ${email} (${id}), all sessions ended`),
      ...(made ? [`password: ${password}`] : []),
      ...(active ? [] : ['the user is disabled: `user enable` lets it sign in']),
      ...(verified ? [] : ['the address is not verified, so nobody can sign in with it: --verify changes that']),
    ]);
  });
}

const whole = (least: number, most: number) => (value: string) => {
  const parsed = Number(value);
  if (!Number.isInteger(parsed) || parsed < least || parsed > most) {
    throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
  }
  return parsed;
};

/** The given password, or a `made` one, which then has to be shown. */
async function choosePassword(flags: PasswordFlags): Promise<{ password: string; made: boolean }> {
  const given = await givenPassword(flags);
  const password = given ?? generatePassword();
  const problem = passwordProblem(password);
  if (problem !== undefined) throw new UsageError(problem.message);
  return { password, made: given === undefined };
}

async function givenPassword(flags: PasswordFlags): Promise<string | undefined> {
  if (flags.passwordStdin !== true) return flags.password;
  if (flags.password !== undefined) throw new UsageError('give --password or --password-stdin, not both');
  let text = '';
  process.stdin.setEncoding('utf8');
  for await (const chunk of process.stdin) text += String(chunk);
  return text.replace(/\r?\n$/, '');
}

async function withDb(flags: Flags, work: (db: Db) => Promise<void>): Promise<void> {
  const { url, release } = await database(flags.database);
  try {
    await withDatabase({ connectionString: url, applicationName: 'nodebyte-cli', max: 1 }, work);
  } finally {
    await release();
  }
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
  if (isAppError(error)) return error.human ?? error.message;
  if (sqlState(error) === '42P01' || sqlState(error) === '42703') {
    return 'the database is not set up: run `npm run db:migrate`';
  }
  if (error instanceof AggregateError && error.message === '') return error.errors.map(describe).join('; ');
  // The driver puts the whole statement, and with it what was to be stored, in front of the reason.
  if (error instanceof Error && sqlState(error) !== undefined) return error.message.split(' - ').at(-1) ?? '';
  return error instanceof Error ? error.message : String(error);
}
