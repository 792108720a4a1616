/** `sync run|status|cancel|logs`: what the API offers administrators, on the command line. */

import { userInfo } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import pino from 'pino';
import { loadConfig } from '../config.ts';
import { AppError, isAppError } from '../domain/errors.ts';
import { ENTITIES, type EntityCounts, SYNC_TARGETS, type SyncTarget } from '../domain/sync/targets.ts';
import { attachServices } from '../embedded/attach.ts';
import { createSyncLauncher, type SyncLauncher } from '../services/sync/launcher.ts';
import { createDb, type Db } from '../store/db/db.ts';
import { activeSyncLog, getSyncLog, listSyncLogs, type SyncLog, syncFailures } from '../store/sync/log-store.ts';
import { createTemporalGateway, type TemporalGateway } from '../temporal/connection.ts';
import { createTerminal, printable, table } from './support/terminal.ts';

interface Services {
  db: Db;
  temporal: TemporalGateway | undefined;
  launcher: () => SyncLauncher;
}

/** Milliseconds between two looks at the log row while a command waits. */
const POLL_MS = 250;
/** Set-aside records shown after a run; the API lists them all. */
const SHOWN_FAILURES = 20;

async function withServices(work: (services: Services) => Promise<void>): Promise<void> {
  const config = loadConfig(process.env);
  const attached = await attachServices(config, (line) => process.stderr.write(`${line}\n`));
  const db = createDb({ connectionString: attached.databaseUrl.reveal(), applicationName: 'nodebyte-cli', max: 3 });
  const address = attached.temporalAddress;
  const temporal = address === undefined ? undefined : createTemporalGateway({ ...config.temporal, address });
  try {
    await work({
      db,
      temporal,
      launcher() {
        if (temporal === undefined) {
          throw new AppError('SERVICE_UNAVAILABLE', {
            detail: 'Temporal is not running: start it with `npm start`, or set TEMPORAL_ADDRESS',
          });
        }
        return createSyncLauncher({ db, temporal, log: pino({ level: 'silent' }) });
      },
    });
  } catch (error) {
    if (!isAppError(error)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  } finally {
    await temporal?.close();
    await db.destroy();
    await attached.release();
  }
}

const json = (value: unknown) => process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
const text = (value: unknown) => (typeof value === 'string' ? printable(value) : '');

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

function printSummary(log: SyncLog): void {
  const terminal = createTerminal(process.stdout);
  const paint = log.status === 'COMPLETED' ? terminal.good : terminal.bad;
  const seconds = typeof log.metadata['duration'] === 'number' ? ` in ${log.metadata['duration'].toFixed(1)} s` : '';
  const preview = log.metadata['dry_run'] === true ? ' (preview, nothing was written)' : '';
  terminal.line(`${paint(log.status)} ${log.type} sync ${log.id}${seconds}${preview}`);
  if (log.error !== null)
    terminal.line(`  ${printable(log.error)} (at ${text(log.metadata['failed_step']) || 'start'})`);
  const counts = log.metadata['counts'] as Record<string, EntityCounts> | undefined;
  if (counts !== undefined) {
    const header = ['', 'created', 'updated', 'unchanged', 'pruned', 'set aside'];
    const lines = ENTITIES.filter((e) => counts[e] !== undefined).map((entity) => {
      const { created = 0, updated = 0, unchanged = 0, pruned = 0, failed = 0 } = counts[entity] ?? {};
      return [entity, created, updated, unchanged, pruned, failed].map(String);
    });
    for (const line of table(header, lines)) terminal.line(`  ${line}`);
  }
  const warnings = Array.isArray(log.metadata['warnings']) ? (log.metadata['warnings'] as { message?: unknown }[]) : [];
  for (const warning of warnings) terminal.line(`  warning: ${text(warning.message)}`);
}

/** Follows a run to its end, with a progress bar on a terminal. */
async function follow(services: Services, id: string, quiet: boolean): Promise<SyncLog> {
  const progress = createTerminal(process.stderr).progress();
  const started = Date.now();
  let toldOfWorker = false;
  for (;;) {
    const log = await getSyncLog(services.db, id);
    if (log === undefined) throw new AppError('NOT_FOUND', { detail: `The sync ${id} was withdrawn` });
    if (log.status !== 'PENDING' && log.status !== 'RUNNING') {
      if (!quiet)
        progress.update(
          log.status === 'COMPLETED' ? 100 : Number(log.metadata['progress'] ?? 0),
          text(log.metadata['lastMessage']),
        );
      progress.done();
      return log;
    }
    if (!quiet) progress.update(Number(log.metadata['progress'] ?? 0), text(log.metadata['lastMessage']) || 'Waiting');
    if (log.status === 'PENDING' && !toldOfWorker && Date.now() - started > 3_000) {
      toldOfWorker = true;
      if ((await services.temporal?.workersPolling()) === false) {
        process.stderr.write('\nno worker is polling: the sync was accepted and runs when one starts (`npm start`)\n');
      }
    }
    await delay(POLL_MS);
  }
}

const count = (least: number, most: number) => (value: string) => {
  const parsed = Number(value);
  if (!Number.isInteger(parsed) || parsed < least || parsed > most) {
    throw new InvalidArgumentError(`a whole number from ${least} to ${most}`);
  }
  return parsed;
};

export function registerSyncCommands(program: Command): void {
  const sync = program.command('sync').description('start, watch and cancel syncs');

  sync
    .command('run')
    .description('start a sync of the panel, or join the same one that runs already')
    .addArgument(new Argument('[target]', 'what to sync').choices([...SYNC_TARGETS]).default('full'))
    .option('--dry-run', 'report what would change, write nothing', false)
    .option('--skip-users', 'leave users out of a full sync', false)
    .option('--wait', 'wait for the end, with progress; the exit code is the result')
    .option('--json', 'machine-readable output', false)
    .action(
      async (target: SyncTarget, options: { dryRun: boolean; skipUsers: boolean; wait?: boolean; json: boolean }) => {
        await withServices(async (services) => {
          const ticket = await services.launcher().requestSync({
            target,
            dryRun: options.dryRun,
            skipUsers: options.skipUsers,
            requestedBy: `cli:${userInfo().username}`,
          });
          if (options.wait !== true) {
            if (options.json)
              json({
                sync_log_id: ticket.syncLogId,
                task_id: ticket.taskId,
                status: ticket.status,
                joined: ticket.joined,
              });
            else process.stdout.write(`${ticket.joined ? 'joined' : 'started'} ${target} sync ${ticket.syncLogId}\n`);
            return;
          }
          const log = await follow(services, ticket.syncLogId, options.json);
          const failures = await syncFailures(services.db, log.id, options.json ? 10_000 : SHOWN_FAILURES + 1);
          if (options.json) {
            json({ ...view(log), failures });
          } else {
            printSummary(log);
            for (const f of failures.slice(0, SHOWN_FAILURES)) {
              process.stdout.write(
                `  set aside: ${f.entity} ${printable(f.panelId)}: ${f.code} ${printable(f.detail)}\n`,
              );
            }
            if (failures.length > SHOWN_FAILURES) process.stdout.write('  … more in the log (--json)\n');
          }
          if (log.status !== 'COMPLETED') process.exitCode = 1;
        });
      },
    );

  sync
    .command('status')
    .description('the running sync, else the last one; or the one named')
    .argument('[id]', 'id of a sync log')
    .option('--json', 'machine-readable output', false)
    .action(async (id: string | undefined, options: { json: boolean }) => {
      await withServices(async ({ db }) => {
        const log =
          id === undefined
            ? ((await activeSyncLog(db)) ?? (await listSyncLogs(db, { limit: 1, offset: 0 }))[0])
            : await getSyncLog(db, id);
        if (log === undefined)
          throw new AppError('NOT_FOUND', { detail: id === undefined ? 'No sync was ever started' : 'No such sync' });
        if (options.json) json(view(log));
        else if (log.status === 'PENDING' || log.status === 'RUNNING') {
          process.stdout.write(
            `${log.status} ${log.type} sync ${log.id}: ${String(log.metadata['progress'] ?? 0)} %, ${text(log.metadata['lastMessage'])}\n`,
          );
        } else printSummary(log);
      });
    });

  sync
    .command('cancel')
    .description('cancel the running sync, or the one named')
    .argument('[id]', 'id of a sync log')
    .option('--json', 'machine-readable output', false)
    .action(async (id: string | undefined, options: { json: boolean }) => {
      await withServices(async (services) => {
        const { syncLogId } = await services.launcher().cancelSync(id);
        const log = await follow(services, syncLogId, true);
        if (options.json) json(view(log));
        else process.stdout.write(`${log.status} ${log.type} sync ${log.id}\n`);
      });
    });

  sync
    .command('logs')
    .description('past syncs, newest first')
    .option('-n, --limit <n>', 'how many', count(1, 500), 20)
    .option('--offset <n>', 'skip so many', count(0, 1_000_000), 0)
    .addOption(program.createOption('--type <target>', 'of one target only').choices([...SYNC_TARGETS]))
    .option('--json', 'machine-readable output', false)
    .action(async (options: { limit: number; offset: number; type?: string; json: boolean }) => {
      await withServices(async ({ db }) => {
        const logs = await listSyncLogs(db, options);
        if (options.json) {
          json(logs.map(view));
          return;
        }
        if (logs.length === 0) {
          process.stdout.write('no syncs yet\n');
          return;
        }
        const lines = logs.map((l) => [
          l.startedAt.toISOString(),
          l.type,
          l.status,
          l.durationSeconds === null ? '' : `${l.durationSeconds} s`,
          `${l.itemsSynced}/${l.itemsTotal}`,
          String(l.itemsFailed),
          l.id,
        ]);
        for (const line of table(['started', 'type', 'status', 'took', 'items', 'set aside', 'id'], lines))
          process.stdout.write(`${line}\n`);
      });
    });
}
