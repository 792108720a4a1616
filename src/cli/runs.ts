/** `runs list|retry`: on the command line what the API offers administrators. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import pino from 'pino';
import { RUN_KINDS, RUN_STATUSES, type Run, type RunCursor, type RunKind, type RunStatus } from '../domain/runs.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import { readCursor, writeCursor } from '../services/runs/cursor.ts';
import { createRuns, type Runs } from '../services/runs/runs.ts';
import { createSyncLauncher } from '../services/sync/launcher.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { createEmailStore } from '../store/email/email-store.ts';
import { createEngineRuns, type EngineRuns } from '../temporal/engine-runs.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { wholeNumber, withJson } from './support/options.ts';
import { noTemporal, type ServiceRun, withServices } from './support/services.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  json?: boolean;
}
interface ListFlags extends Flags {
  kind?: RunKind;
  status: RunStatus | 'all';
  limit: number;
  cursor?: RunCursor;
}

/** Adds the `runs` commands. A command that fails prints why and sets the exit code. */
export function registerRunCommands(program: Command, io: CommandIo = process): void {
  const runs = program.command('runs').description('runs of every kind, and retries of failed ones');
  const run = (flags: Flags, work: (run: ServiceRun) => Promise<void>): Promise<void> =>
    runCommand(io, flags, (command) => withServices(command, work));

  withJson(runs.command('list'))
    .description('failed runs, newest first, with the reason')
    .addOption(new Option('--kind <kind>', 'only runs of this kind').choices([...RUN_KINDS]))
    .addOption(new Option('--status <status>', 'status').choices(['all', ...RUN_STATUSES]).default('failed'))
    .option('-n, --limit <n>', 'number of runs', wholeNumber(1, 500), 25)
    .option('--cursor <text>', 'go on where a list ended', cursorOf)
    .action((flags: ListFlags) => run(flags, (one) => list(one, flags)));
  withJson(runs.command('retry'))
    .description('do a failed run again, in the way of its kind')
    .addArgument(new Argument('<kind>', 'kind of the run').choices([...RUN_KINDS]))
    .argument('<id>', 'id of the run')
    .action((kind: RunKind, id: string, flags: Flags) => run(flags, (one) => retry(one, kind, id)));
}

function cursorOf(text: string): RunCursor {
  const cursor = readCursor(text);
  if (cursor === undefined) throw new InvalidArgumentError('It must be the cursor that a list ended with.');
  return cursor;
}

/** Without Temporal the rows of the database are still listed. */
const NO_ENGINE: EngineRuns = {
  list: async () => noTemporal(),
  find: async () => noTemporal(),
  trigger: async () => noTemporal(),
};

function runsOf({ db, temporal, services }: ServiceRun): Runs {
  const { config, encryptionKey: key, temporalUiUrl: url } = services;
  const log = pino({ level: 'silent' });
  return createRuns({
    db,
    emails: createEmailStore(createEncryption({ key, previousKey: config.encryptionKeyPrevious })),
    launcher:
      temporal === undefined ? { requestSync: async () => noTemporal() } : createSyncLauncher({ db, temporal, log }),
    engine: temporal === undefined ? NO_ENGINE : createEngineRuns(temporal),
    ui: { url, namespace: config.temporal.namespace },
    log,
  });
}

async function list(run: ServiceRun, { kind, status, limit, cursor }: ListFlags): Promise<void> {
  const service = runsOf(run);
  const filter = { kind, status: status === 'all' ? undefined : status, after: cursor, limit };
  const page = await service.list(filter);
  const next = page.next === undefined ? null : writeCursor(page.next);
  if (!page.complete) {
    run.io.stderr.write('Temporal cannot be reached: scheduled syncs and maintenance are not listed\n');
  }
  const shown = page.runs.map(({ at: _at, ...one }) => ({ ...one, link: service.linkOf(one) }));
  const header = ['ended', 'kind', 'name', 'status', 'retry', 'id', 'reason'];
  run.print({ runs: shown, nextCursor: next, complete: page.complete }, [
    ...(page.runs.length === 0 ? ['no such runs'] : table(header, page.runs.map(cells))),
    ...(next === null ? [] : [`more: --cursor ${next}`]),
  ]);
}

const cells = ({ kind, name, status, endedAt, startedAt, retry: { possible, as }, id, reason }: Run): string[] =>
  [
    (endedAt ?? startedAt)?.toISOString() ?? '',
    kind,
    name,
    status,
    possible ? 'possible' : as === null ? '' : `done: ${as}`,
    id,
    reason ?? '',
  ].map(printable);

async function retry(run: ServiceRun, kind: RunKind, id: string): Promise<void> {
  const ticket = await runsOf(run).retry(kind, id, OPERATOR);
  const as = ticket.id === null ? 'its schedule starts it in a moment' : ticket.id;
  run.print(ticket, [`${ticket.repeated ? 'retried before' : 'retried'}: ${kind} ${as}`]);
}
