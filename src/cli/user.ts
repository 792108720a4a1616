/** `user create|list|roles|disable|enable|reset-password`: accounts, above all the first administrator. */
import type { Command } from 'commander';
import { isEmail, normalizeEmail } from '../domain/accounts/account.ts';
import { ROLES, type Role, type RoleChange } from '../domain/accounts/roles.ts';
import { replacePassword } from '../services/accounts/passwords.ts';
import { createUser } from '../services/accounts/register.ts';
import { setActive, setRoles } from '../services/accounts/roles.ts';
import { signOutUser } from '../services/accounts/sessions.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import { confirmStored, dropStored, storedWithoutSignIn } from '../services/settings/setup-window.ts';
import { countUsers, findUserId, type ListedUser, listUsers, type UserFilter } from '../store/accounts/user-list.ts';
import type { Db } from '../store/db/db.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { createEmailStore } from '../store/email/email-store.ts';
import { storedLines } from './setup.ts';
import { type CommandIo, type CommandRun, runCommand } from './support/command.ts';
import { withCommandDb } from './support/database.ts';
import { UsageError } from './support/errors.ts';
import { wholeNumber, withDatabaseOptions } from './support/options.ts';
import { choosePassword, type PasswordFlags, withPasswordOptions } from './support/password.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  database?: string;
  json?: boolean;
}

interface CreateFlags extends Flags, PasswordFlags {
  email: string;
  username?: string;
  admin?: boolean;
  dropStored?: boolean;
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

interface ResetFlags extends Flags, PasswordFlags {
  verify?: boolean;
}

/** One run of a `user` command, on its database. */
interface Run extends CommandRun<CommandIo> {
  withDb(work: (db: Db) => Promise<void>): Promise<void>;
}

/** Adds the `user` commands. A command that fails prints why and sets the exit code. */
export function registerUserCommands(program: Command, io: CommandIo = process): void {
  const user = program.command('user').description('accounts');
  const onUser = (name: string): Command => user.command(name).argument('<user>', 'email address or id');
  const run = (flags: Flags, work: (run: Run) => Promise<void>): Promise<void> =>
    runCommand(io, flags, (command) => work({ ...command, withDb: (onDb) => withCommandDb(flags.database, io, onDb) }));

  withDatabaseOptions(withPasswordOptions(user.command('create')))
    .description('create a user whose address counts as verified')
    .requiredOption('--email <address>', 'email address, with which the user signs in')
    .option('--username <name>', 'displayed name (default: the part before the @)')
    .option('--admin', 'make the user a system administrator, which closes the first-run set-up')
    .option(
      '--drop-stored',
      'with --admin: remove the settings that were stored without sign-in; default: ask, or keep them',
    )
    .action((flags: CreateFlags) => run(flags, (one) => create(one, flags)));
  withDatabaseOptions(user.command('list'))
    .description('users, newest first')
    .option('--search <text>', 'part of the email address or of the user name')
    .option('--role <role>', 'only users with this role')
    .option('--admins', 'only users who may use the administration')
    .option('--disabled', 'only disabled users')
    .option('-n, --limit <n>', 'users per page', wholeNumber(1, 500), 20)
    .option('--page <n>', 'which page', wholeNumber(1, 1_000_000), 1)
    .action((flags: ListFlags) => run(flags, (one) => list(one, flags)));
  withDatabaseOptions(onUser('roles'))
    .description(`add and remove roles: ${ROLES.join(', ')}`)
    .option('--add <roles>', 'add these, e.g. PARTNER,SPONSOR')
    .option('--remove <roles>', 'remove these')
    .option('--set <roles>', 'these and no others')
    .action((who: string, flags: RolesFlags) => run(flags, (one) => changeRoles(one, who, flags)));
  withDatabaseOptions(onUser('disable'))
    .description('end all sessions and refuse sign-in')
    .action((who: string, flags: Flags) => run(flags, (one) => activate(one, who, false)));
  withDatabaseOptions(onUser('enable'))
    .description('let a disabled user sign in again')
    .action((who: string, flags: Flags) => run(flags, (one) => activate(one, who, true)));
  withDatabaseOptions(onUser('sign-out'))
    .description('end all sessions, and the open links that sign in or set a password')
    .action((who: string, flags: Flags) => run(flags, (one) => signOut(one, who)));
  withDatabaseOptions(withPasswordOptions(onUser('reset-password')))
    .description('set a password and end all sessions; without a password, generate and print one')
    .option('--verify', 'also count the address as verified')
    .action((who: string, flags: ResetFlags) => run(flags, (one) => resetPassword(one, who, flags)));
}

async function create(run: Run, flags: CreateFlags): Promise<void> {
  if (!isEmail(flags.email.trim())) throw new UsageError('this is not an email address');
  const email = normalizeEmail(flags.email);
  const admin = flags.admin === true;
  if (flags.dropStored === true && !admin) throw new UsageError('--drop-stored needs --admin');
  const { password, generated } = await choosePassword(flags, run.io);
  await run.withDb(async (db) => {
    const { id } = await createUser(db, {
      email,
      password,
      ...(flags.username === undefined ? {} : { username: flags.username }),
      roles: [admin ? 'SUPER_ADMIN' : 'MEMBER'],
      isSystemAdmin: admin,
      emailVerified: true,
    });
    // A person sees the password before the question about the settings.
    if (!run.json) {
      run.print({}, [
        `created ${admin ? 'administrator' : 'user'} ${email} (${id})`,
        ...(generated ? [`password: ${password}`] : []),
      ]);
    }
    const { result, lines } = admin
      ? await reviewStored(run, db, flags.dropStored === true)
      : { result: {}, lines: [] };
    run.print({ id, email, admin, ...(generated ? { password } : {}), ...result }, lines);
  });
}

/**
 * Lets the operator decide about what was stored without sign-in. Without a person to ask it is kept and listed.
 * @returns fields of the JSON document, and lines for people.
 */
async function reviewStored({ io, json }: Run, db: Db, drop: boolean): Promise<{ result: object; lines: string[] }> {
  const stored = await storedWithoutSignIn(db);
  const done = (dropped: boolean, lines: string[]) => ({ result: { storedWithoutSignIn: stored, dropped }, lines });
  if (stored.length === 0) return done(false, []);
  const listed = storedLines(stored);
  if (drop) {
    await dropStored(db, OPERATOR);
    return done(true, [...listed, 'removed']);
  }
  if (json || io.stdin.isTTY !== true || io.stdout.isTTY !== true) {
    return done(false, [...listed, 'kept: if they are not yours, clear them in the settings']);
  }
  io.stdout.write(`${listed.join('\n')}\n`);
  const { confirm } = await import('@clack/prompts');
  const keep = await confirm({ message: 'Keep these settings?', input: io.stdin, output: io.stdout });
  if (keep === true) await confirmStored(db, OPERATOR);
  if (keep === false) await dropStored(db, OPERATOR);
  return done(keep === false, [keep === false ? 'removed' : 'kept']);
}

async function list({ print, withDb }: Run, flags: ListFlags): Promise<void> {
  const { limit, page, search } = flags;
  const role = flags.role === undefined ? undefined : readRole(flags.role);
  await withDb(async (db) => {
    const state = flags.disabled === true ? 'inactive' : undefined;
    const filter: UserFilter = { search, role, state, admins: flags.admins === true };
    const rows = { limit, offset: (page - 1) * limit };
    const users = await listUsers(db, filter, { sort: 'createdAt', order: 'desc', ...rows });
    const total = await countUsers(db, filter);
    const pages = Math.ceil(total / limit);
    const header = ['email', 'username', 'roles', 'admin', 'active', 'verified', 'last sign-in', 'created'];
    print({ users, total, page, limit }, [
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

async function changeRoles({ print, withDb }: Run, who: string, flags: RolesFlags): Promise<void> {
  const change = readRoleChange(flags);
  await withDb(async (db) => {
    const { id, email, roles, isSystemAdmin: admin } = await setRoles(db, await findUserId(db, who), change, OPERATOR);
    print({ id, email, roles, admin }, [printable(`${email} (${id}): ${roles.join(', ') || 'no roles'}`)]);
  });
}

function readRoleChange({ add, remove, set }: RolesFlags): RoleChange {
  if (set !== undefined) {
    if (add !== undefined || remove !== undefined) {
      throw new UsageError('give --set, or --add and --remove, not both');
    }
    return { set: readRoles(set) };
  }
  if (add === undefined && remove === undefined) throw new UsageError('give --add, --remove or --set');
  const added = add === undefined ? [] : readRoles(add);
  const removed = remove === undefined ? [] : readRoles(remove);
  const both = added.find((role) => removed.includes(role));
  if (both !== undefined) throw new UsageError(`${both} cannot be both added and removed`);
  return { add: added, remove: removed };
}

function readRoles(text: string): Role[] {
  const names = text.split(',').filter((name) => name.trim() !== '');
  if (names.length === 0) throw new UsageError(`no role given; the roles are ${ROLES.join(', ')}`);
  return names.map(readRole);
}

function readRole(name: string): Role {
  const role = ROLES.find((known) => known === name.trim().toUpperCase());
  if (role === undefined) throw new UsageError(`no role "${name.trim()}"; the roles are ${ROLES.join(', ')}`);
  return role;
}

async function activate({ print, withDb }: Run, who: string, active: boolean): Promise<void> {
  await withDb(async (db) => {
    const { id, email, changed } = await setActive(db, await findUserId(db, who), active, OPERATOR);
    const state = active ? 'enabled' : 'disabled';
    print({ id, email, active, changed }, [
      printable(changed ? `${state} ${email} (${id})` : `${email} (${id}) was already ${state}`),
    ]);
  });
}

async function signOut({ print, withDb }: Run, who: string): Promise<void> {
  await withDb(async (db) => {
    const id = await findUserId(db, who);
    const sessions = await signOutUser({ db }, id, OPERATOR);
    print({ id, sessions }, [`signed out ${id}: ${sessions} sessions ended`]);
  });
}

async function resetPassword({ io, print, withDb }: Run, who: string, flags: ResetFlags): Promise<void> {
  const { password, generated } = await choosePassword(flags, io);
  await withDb(async (db) => {
    // The notice to the owner holds no secret, so the command needs no key.
    const deps = { db, emails: createEmailStore(createEncryption({})) };
    const changed = await replacePassword(deps, await findUserId(db, who), password, { verify: flags.verify === true });
    const { id, email, isActive: active } = changed;
    const verified = changed.emailVerified !== null;
    print({ id, email, active, verified, ...(generated ? { password } : {}) }, [
      printable(`new password for ${email} (${id}), all sessions ended`),
      ...(generated ? [`password: ${password}`] : []),
      ...(active ? [] : ['the user is disabled: `user enable` allows sign-in again']),
      ...(verified ? [] : ['the address is not verified, so the user cannot sign in: --verify changes that']),
    ]);
  });
}
