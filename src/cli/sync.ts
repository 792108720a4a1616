/** `sync run|status|cancel|logs`: on the command line what the API offers administrators. */
import { userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Argument, type Command } from 'commander';
import pino from 'pino';
import { AppError } from '../domain/errors.ts';
import { ENTITIES, type EntityCounts, SYNC_TARGETS, type SyncTarget } from '../domain/sync/targets.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import { createSettings } from '../services/settings/settings.ts';
import { createSyncLauncher, type SyncLauncher } from '../services/sync/launcher.ts';
import { type MirrorStatus, mirrorStatus } from '../services/sync/live-mirror.ts';
import type { Db } from '../store/db/db.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { activeSyncLog, getSyncLog, listSyncLogs, rejectedRecords, type SyncLog } from '../store/sync/log-store.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { wholeNumber, withJson } from './support/options.ts';
import { noTemporal, type ServiceRun, withServices } from './support/services.ts';
import { createTerminal, printable, type Terminal, table } from './support/terminal.ts';

interface Flags {
  json?: boolean;
}

interface RunFlags extends Flags {
  dryRun: boolean;
  skipUsers: boolean;
  wait?: boolean;
}

interface LogsFlags extends Flags {
  limit: number;
  offset: number;
  type?: string;
}

/** Milliseconds between two reads of the log row while a command waits. */
const POLL_MS = 250;
/** Milliseconds after which a sync that has not started is explained. */
const UNSTARTED_MS = 3_000;
/** Maximum number of rejected records shown after a run; `--json` and the API show more of those that are stored. */
const SHOWN_FAILURES = 20;
const JSON_FAILURES = 10_000;

/** Adds the `sync` commands. A command that fails prints why and sets the exit code. */
export function registerSyncCommands(program: Command, io: CommandIo = process): void {
  const sync = program.command('sync').description('start, watch and cancel syncs');
  const run = (flags: Flags, work: (run: ServiceRun) => Promise<void>): Promise<void> =>
    runCommand(io, flags, (command) => withServices(command, work));

  withJson(sync.command('run'))
    .description('start a sync of the panel, or join the same one that runs already')
    .addArgument(new Argument('[target]', 'what to sync').choices([...SYNC_TARGETS]).default('full'))
    .option('--dry-run', 'report what would change, write nothing', false)
    .option('--skip-users', 'leave users out of a full sync', false)
    .option('--wait', 'wait for the end, with progress; the exit code is the result')
    .action((target: SyncTarget, flags: RunFlags) => run(flags, (one) => start(one, target, flags)));
  withJson(sync.command('status'))
    .description('the running sync, else the last one; or the one with this id')
    .argument('[id]', 'id of a sync log')
    .action((id: string | undefined, flags: Flags) => run(flags, (one) => status(one, id)));
  withJson(sync.command('cancel'))
    .description('cancel the running sync, or the one with this id')
    .argument('[id]', 'id of a sync log')
    .action((id: string | undefined, flags: Flags) => run(flags, (one) => cancel(one, id)));
  withJson(sync.command('logs'))
    .description('past syncs, newest first')
    .option('-n, --limit <n>', 'maximum number of syncs', wholeNumber(1, 500), 20)
    .option('--offset <n>', 'number of syncs to skip', wholeNumber(0, 1_000_000), 0)
    .addOption(program.createOption('--type <target>', 'only syncs of this target').choices([...SYNC_TARGETS]))
    .action((flags: LogsFlags) => run(flags, (one) => logs(one, flags)));
}

/** @throws {AppError} SERVICE_UNAVAILABLE without Temporal. */
const launcherOf = ({ db, temporal }: ServiceRun): SyncLauncher =>
  createSyncLauncher({ db, temporal: temporal ?? noTemporal(), log: pino({ level: 'silent' }) });

async function start(run: ServiceRun, target: SyncTarget, { dryRun, skipUsers, wait }: RunFlags): Promise<void> {
  const { syncLogId, taskId, status, joined } = await launcherOf(run).requestSync({
    target,
    dryRun,
    skipUsers,
    requestedBy: `cli:${userInfo().username}`,
    requester: 'cli',
    by: OPERATOR,
  });
  if (wait !== true) {
    run.print({ sync_log_id: syncLogId, task_id: taskId, status, joined }, [
      `${joined ? 'joined' : 'started'} ${target} sync ${syncLogId}`,
    ]);
    return;
  }
  const log = await follow(run, syncLogId, !run.json);
  const failures = await rejectedRecords(run.db, log.id, run.json ? JSON_FAILURES : SHOWN_FAILURES + 1);
  run.print({ ...view(log), failures, failuresTotal: log.itemsFailed }, [
    ...summary(log, createTerminal(run.io.stdout)),
    ...failures
      .slice(0, SHOWN_FAILURES)
      .map(({ entity, panelId, code, detail }) => printable(`  rejected: ${entity} ${panelId}: ${code} ${detail}`)),
    ...(failures.length > SHOWN_FAILURES
      ? [`  … the first ${SHOWN_FAILURES} of ${log.itemsFailed}; more in the log (--json)`]
      : []),
  ]);
  if (log.status !== 'COMPLETED') process.exitCode = 1;
}

async function status(run: ServiceRun, id: string | undefined): Promise<void> {
  const { io, db, print } = run;
  const log = id === undefined ? await latestSync(db) : await getSyncLog(db, id);
  if (log === undefined) {
    throw new AppError('NOT_FOUND', { publicMessage: id === undefined ? 'No sync was ever started' : 'No such sync' });
  }
  // The age of the mirror belongs to the present, not to one sync of the past.
  const mirror = id === undefined ? await mirrorOf(run) : undefined;
  const lines = isOpen(log)
    ? [`${log.status} ${log.type} sync ${log.id}: ${progressOf(log)} %, ${text(log.metadata['lastMessage'])}`]
    : summary(log, createTerminal(io.stdout));
  print(mirror === undefined ? view(log) : { ...view(log), mirror }, [
    ...lines,
    ...(mirror === undefined ? [] : [mirrorLine(mirror)]),
  ]);
}

function mirrorOf({ db, services: { config, encryptionKey } }: ServiceRun): Promise<MirrorStatus> {
  const encryption = createEncryption({ key: encryptionKey, previousKey: config.encryptionKeyPrevious });
  const { autoSync } = createSettings({ db, config, encryption, readOnly: true });
  return mirrorStatus({ db, autoSync, requestsPerMinute: config.panel.requestsPerMinute });
}

/** How old the mirror is and when it is renewed, for people. */
function mirrorLine({ ageSeconds, nextRunAt, mode, shareUsed, budgetShare }: MirrorStatus): string {
  const age = ageSeconds === null ? 'The panel was never mirrored whole' : `The mirror is ${ageSeconds} s old`;
  if (nextRunAt === null) return `${age}; automatic syncs are off`;
  const share = shareUsed === null ? '' : `, ${shareUsed} % of the panel's limit`;
  const most = mode === 'auto' ? ` (at most ${budgetShare} %)` : '';
  return `${age}; the next sync is due at ${nextRunAt.toISOString()}${share}${most}`;
}

async function latestSync(db: Db): Promise<SyncLog | undefined> {
  return (await activeSyncLog(db)) ?? (await listSyncLogs(db, { limit: 1, offset: 0 }))[0];
}

async function cancel(run: ServiceRun, id: string | undefined): Promise<void> {
  const { syncLogId } = await launcherOf(run).cancelSync(id, OPERATOR);
  const log = await follow(run, syncLogId, false);
  run.print(view(log), [`${log.status} ${log.type} sync ${log.id}`]);
}

async function logs({ db, print }: ServiceRun, flags: LogsFlags): Promise<void> {
  const found = await listSyncLogs(db, flags);
  const rows = found.map((log) => [
    log.startedAt.toISOString(),
    log.type,
    log.status,
    log.durationSeconds === null ? '' : `${log.durationSeconds} s`,
    `${log.itemsSynced}/${log.itemsTotal}`,
    String(log.itemsFailed),
    log.id,
  ]);
  const header = ['started', 'type', 'status', 'took', 'items', 'rejected', 'id'];
  print(found.map(view), found.length === 0 ? ['no syncs yet'] : table(header, rows));
}

/** Follows a run to its end. With `shown`, its progress goes to stderr. */
async function follow({ io, db, temporal }: ServiceRun, id: string, shown: boolean): Promise<SyncLog> {
  const progress = createTerminal(io.stderr).progress();
  const startedAt = Date.now();
  let explained = false;
  for (;;) {
    const log = await getSyncLog(db, id);
    if (log === undefined) throw new AppError('NOT_FOUND', { publicMessage: `The sync ${id} was withdrawn` });
    const open = isOpen(log);
    if (shown) {
      const message = text(log.metadata['lastMessage']);
      progress.update(log.status === 'COMPLETED' ? 100 : progressOf(log), open ? message || 'Waiting' : message);
    }
    if (!open) {
      if (shown) progress.done();
      return log;
    }
    if (log.status === 'PENDING' && !explained && Date.now() - startedAt > UNSTARTED_MS) {
      explained = true;
      if ((await temporal?.workersPolling()) === false) {
        io.stderr.write('\nno worker is polling: the sync was accepted and runs when one starts (`npm start`)\n');
      }
    }
    await delay(POLL_MS);
  }
}

const isOpen = (log: SyncLog): boolean => log.status === 'PENDING' || log.status === 'RUNNING';
const progressOf = (log: SyncLog): number => Number(log.metadata['progress'] ?? 0);
const text = (value: unknown): string => (typeof value === 'string' ? printable(value) : '');

const view = (log: SyncLog) => ({
  id: log.id,
  type: log.type,
  status: log.status,
  itemsTotal: log.itemsTotal,
  itemsSynced: log.itemsSynced,
  itemsFailed: log.itemsFailed,
  error: log.error,
  startedAt: log.startedAt,
  completedAt: log.completedAt,
  metadata: log.metadata,
});

/** A run that has ended, for people. */
function summary(log: SyncLog, terminal: Terminal): string[] {
  const paint = log.status === 'COMPLETED' ? terminal.good : terminal.bad;
  const seconds = typeof log.metadata['duration'] === 'number' ? ` in ${log.metadata['duration'].toFixed(1)} s` : '';
  const preview = log.metadata['dry_run'] === true ? ' (preview, nothing was written)' : '';
  const warnings = Array.isArray(log.metadata['warnings']) ? (log.metadata['warnings'] as { message?: unknown }[]) : [];
  return [
    `${paint(log.status)} ${log.type} sync ${log.id}${seconds}${preview}`,
    ...(log.error === null ? [] : [`  ${printable(log.error)} (at ${text(log.metadata['failed_step']) || 'start'})`]),
    ...countLines(log.metadata['counts'] as Record<string, EntityCounts> | undefined),
    ...warnings.map((warning) => `  warning: ${text(warning.message)}`),
  ];
}

function countLines(counts: Record<string, EntityCounts> | undefined): string[] {
  if (counts === undefined) return [];
  const header = ['', 'created', 'updated', 'unchanged', 'pruned', 'rejected'];
  const rows = ENTITIES.filter((entity) => counts[entity] !== undefined).map((entity) => {
    const { created = 0, updated = 0, unchanged = 0, pruned = 0, failed = 0 } = counts[entity] ?? {};
    return [entity, created, updated, unchanged, pruned, failed].map(String);
  });
  return table(header, rows).map((line) => `  ${line}`);
}
