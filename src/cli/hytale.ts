/** `hytale login|accounts|sessions|refresh|renew|end|disconnect|pull`: Hytale accounts, game sessions and consoles on the command line. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import pino from 'pino';
import { createHytaleClient } from '../clients/hytale/client.ts';
import { accountState } from '../domain/hytale/account-state.ts';
import {
  ACCOUNT_STATUSES,
  type AccountStatus,
  SESSION_STATUSES,
  type SessionStatus,
} from '../domain/hytale/lifecycle.ts';
import { readUuid } from '../domain/uuid.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import { createHytale } from '../services/hytale/create-hytale.ts';
import type { Hytale, LoginView, Requester } from '../services/hytale/hytale.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { countAccounts, listAccounts } from '../store/hytale/account-list.ts';
import { countSessionRows, listSessions } from '../store/hytale/session-list.ts';
import { createHytaleEngine } from '../temporal/hytale-engine.ts';
import { triggerMaintenance } from '../temporal/schedules.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { UsageError } from './support/errors.ts';
import { wholeNumber, withJson } from './support/options.ts';
import { noTemporal, type ServiceRun, withServices } from './support/services.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  json?: boolean;
}
interface ListFlags<S> extends Flags {
  status: S | 'all';
  search?: string;
  limit: number;
  page: number;
}

/** Adds the `hytale` commands. A command that fails prints why and sets the exit code. */
export function registerHytaleCommands(program: Command, io: CommandIo = process): void {
  const hytale = program.command('hytale').description('Hytale accounts and game sessions');
  const run = (flags: Flags, work: (run: ServiceRun) => Promise<void>): Promise<void> =>
    runCommand(io, flags, (command) => withServices(command, work));
  const list = (name: string, statuses: readonly string[]): Command =>
    withJson(hytale.command(name))
      .addOption(new Option('--status <status>', 'status').choices(['all', ...statuses]).default('all'))
      .option('--search <text>', 'part of an id or a name')
      .option('-n, --limit <n>', 'rows per page', wholeNumber(1, 500), 25)
      .option('--page <n>', 'page', wholeNumber(1, 1_000_000), 1);

  withJson(hytale.command('login'))
    .description('sign an account in: shows a code and a link, and waits until a person has approved')
    .option('--account <id>', 'the account that must approve; default: whichever does')
    .option('--no-wait', 'show the code and the link only')
    .action((flags: Flags & { account?: string; wait: boolean }) => run(flags, (one) => login(one, flags)));
  list('accounts', ACCOUNT_STATUSES)
    .description('accounts, newest first, and what they wait for')
    .action((flags: ListFlags<AccountStatus>) => run(flags, (one) => accounts(one, flags)));
  list('sessions', SESSION_STATUSES)
    .description('game sessions, newest first, and what they wait for')
    .action((flags: ListFlags<SessionStatus>) => run(flags, (one) => sessions(one, flags)));
  withJson(hytale.command('refresh'))
    .description('renew the tokens of an account now')
    .argument('<account>', 'id of the account')
    .action((id: string, flags: Flags) => run(flags, (one) => refresh(one, id)));
  withJson(hytale.command('renew'))
    .description('get a fresh pair of tokens for a game session, and write it to its server')
    .argument('<session>', 'id of the session')
    .option('--restart', 'restart the server afterwards')
    .action((id: string, flags: Flags & { restart?: boolean }) => run(flags, (one) => renew(one, id, flags)));
  withJson(hytale.command('end'))
    .description('end a game session')
    .argument('<session>', 'id of the session')
    .action((id: string, flags: Flags) => run(flags, (one) => end(one, id)));
  withJson(hytale.command('disconnect'))
    .description('end all game sessions of an account, and delete its tokens')
    .argument('<account>', 'id of the account')
    .action((id: string, flags: Flags) => run(flags, (one) => disconnect(one, id)));
  withJson(hytale.command('pull'))
    .description('read the consoles that are due from the panel now, and not with the next run')
    .action((flags: Flags) => run(flags, pull));
}

const WHO: Requester = { by: OPERATOR, ipAddress: null, userAgent: 'cli' };
const POLL_MS = 1_000;

/** Gives `work` the service, whose effects the workflows carry out. @throws {AppError} SERVICE_UNAVAILABLE without Temporal. */
async function withHytale(run: ServiceRun, work: (hytale: Hytale) => Promise<void>): Promise<void> {
  const { db, temporal = noTemporal(), services } = run;
  const { config, encryptionKey: key } = services;
  const { environment, hosts } = config.hytale;
  const client = createHytaleClient({ hosts });
  const encryption = createEncryption({ key, previousKey: config.encryptionKeyPrevious });
  const engine = createHytaleEngine(temporal);
  const log = pino({ level: 'silent' });
  try {
    await work(createHytale({ db, encryption, environment, client, engine, log, now: Date.now }));
  } finally {
    await client.close();
  }
}

/** @throws {UsageError} */
function uuidOf(text: string): string {
  const id = readUuid(text);
  if (id === undefined) throw new UsageError(`${text} is no UUID`);
  return id;
}

async function login(run: ServiceRun, flags: { account?: string; wait: boolean }): Promise<void> {
  const account = flags.account === undefined ? null : uuidOf(flags.account);
  await withHytale(run, async (hytale) => {
    const started = await hytale.startLogin(account, WHO);
    const { loginId, userCode, expiresInSeconds, verificationUri } = started;
    const link = started.verificationUriComplete ?? verificationUri;
    const asked = [`open   ${link}`, `code   ${userCode}`, `within ${Math.ceil(expiresInSeconds / 60)} minutes`];
    const answer = { loginId, userCode, verificationUri, verificationUriComplete: started.verificationUriComplete };
    if (!flags.wait) {
      run.print({ ...answer, status: 'pending' }, [...asked.map(printable), `login  ${loginId}`]);
      return;
    }
    // The document of `--json` comes at the end, so the code goes where it is seen at once.
    const seen = run.json ? run.io.stderr : run.io.stdout;
    seen.write(`${asked.map(printable).join('\n')}\nwaiting for the approval …\n`);
    const ended = await endOf(hytale, loginId);
    if (ended.status !== 'completed') throw new UsageError(`the sign-in ended: ${ended.reason ?? ended.status}`);
    run.print({ ...answer, status: ended.status, accountId: ended.accountId }, [`signed in: ${ended.accountId}`]);
  });
}

/** Waits until a login has ended. The workflow ends it by itself when no approval comes. */
async function endOf(hytale: Hytale, loginId: string): Promise<LoginView> {
  for (;;) {
    const view = await hytale.login(loginId);
    if (!['requested', 'pending', 'approved'].includes(view.status)) return view;
    await sleep(POLL_MS);
  }
}

const time = (at: Date | null): string => at?.toISOString() ?? '';
const more = (flags: { limit: number; page: number }, total: number): string[] =>
  flags.page * flags.limit < total ? [`${total} in all; more: --page ${flags.page + 1}`] : [];

async function accounts(run: ServiceRun, flags: ListFlags<AccountStatus>): Promise<void> {
  const { environment } = run.services.config.hytale;
  const filter = { environment, status: flags.status === 'all' ? undefined : flags.status, search: flags.search };
  const total = await countAccounts(run.db, filter);
  const rows = await listAccounts(run.db, { ...filter, limit: flags.limit, offset: (flags.page - 1) * flags.limit });
  const shown = rows.map((row) => ({ ...row, state: accountState(row) }));
  const header = ['account', 'profiles', 'state', 'sessions', 'next step', 'reason'];
  const cells = shown.map(({ id, profiles, state, sessions: n, nextAt, reason }) =>
    [id, (profiles ?? []).map(({ username }) => username).join(', '), state, String(n), time(nextAt), reason ?? ''].map(
      printable,
    ),
  );
  const lines = cells.length === 0 ? ['no such accounts'] : table(header, cells);
  run.print({ accounts: shown, total }, [...lines, ...more(flags, total)]);
}

async function sessions(run: ServiceRun, flags: ListFlags<SessionStatus>): Promise<void> {
  const { environment } = run.services.config.hytale;
  const filter = { environment, status: flags.status === 'all' ? undefined : flags.status, search: flags.search };
  const total = await countSessionRows(run.db, filter);
  const rows = await listSessions(run.db, { ...filter, limit: flags.limit, offset: (flags.page - 1) * flags.limit });
  const header = ['session', 'profile', 'server', 'status', 'push', 'expires', 'next step', 'reason'];
  const cells = rows.map((row) =>
    [
      row.id,
      row.profileName ?? row.profileUuid,
      row.serverName ?? row.serverId ?? '',
      row.status,
      row.pushStatus,
      time(row.expiresAt),
      time(row.nextAt),
      row.reason ?? row.pushReason ?? '',
    ].map(printable),
  );
  const lines = cells.length === 0 ? ['no such sessions'] : table(header, cells);
  run.print({ sessions: rows, total }, [...lines, ...more(flags, total)]);
}

const refresh = (run: ServiceRun, text: string): Promise<void> =>
  withHytale(run, async (hytale) => {
    const { accountId, expiresInSeconds } = await hytale.refreshAccount(uuidOf(text), WHO);
    run.print({ accountId, expiresInSeconds }, [`renewed, for ${Math.floor(expiresInSeconds / 60)} minutes`]);
  });

const renew = (run: ServiceRun, text: string, flags: { restart?: boolean }): Promise<void> =>
  withHytale(run, async (hytale) => {
    const sessionId = uuidOf(text);
    const restart = flags.restart === true;
    await hytale.renewSession(sessionId, { restart }, WHO);
    run.print({ sessionId, restart }, [
      `${sessionId} has a fresh pair; \`hytale sessions\` shows whether its server has it`,
    ]);
  });

async function pull(run: ServiceRun): Promise<void> {
  await triggerMaintenance(run.temporal ?? noTemporal(), 'hytale-logs');
  run.print({ started: true }, ['the consoles are being read; `doctor` says of how many that fails']);
}

const end = (run: ServiceRun, text: string): Promise<void> =>
  withHytale(run, async (hytale) => {
    const sessionId = uuidOf(text);
    await hytale.endSessionById(sessionId, WHO);
    run.print({ sessionId, ended: true }, [`ended: ${sessionId}`]);
  });

const disconnect = (run: ServiceRun, text: string): Promise<void> =>
  withHytale(run, async (hytale) => {
    const accountId = uuidOf(text);
    await hytale.disconnect(accountId, WHO);
    run.print({ accountId, disconnecting: true }, [`being disconnected: ${accountId}`]);
  });
