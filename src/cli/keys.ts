/** `keys rotate|check`: the key with which secrets are stored. */
import type { Command } from 'commander';
import { type Environment, loadKeysConfig } from '../config.ts';
import { EXIT } from '../process.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import {
  inspectKeys,
  type KeyProblem,
  type KeyReport,
  type RotationKeys,
  rotateKeys,
} from '../services/settings/rotate-keys.ts';
import type { Db } from '../store/db/db.ts';
import { keyId } from '../store/db/encryption.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { withCommandDb } from './support/database.ts';
import { UsageError } from './support/errors.ts';
import { withDatabaseOptions } from './support/options.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  database?: string;
  json?: boolean;
}
interface RotateFlags extends Flags {
  dryRun?: boolean;
  force?: boolean;
}

/** Adds the `keys` commands. A command that fails, or finds a problem, prints why and sets the exit code. */
export function registerKeysCommands(program: Command, io: CommandIo = process): void {
  const keys = program.command('keys').description('the key of stored secrets');
  withDatabaseOptions(keys.command('check'))
    .description('with which key every stored secret is encrypted, and which key the running processes have')
    .action((flags: Flags) =>
      run(io, flags, async (deps) => ({ ...(await inspectKeys(deps)), changed: false }), check),
    );
  withDatabaseOptions(keys.command('rotate'))
    .description('store every secret again with ENCRYPTION_KEY; ENCRYPTION_KEY_PREVIOUS is the key before')
    .option('--dry-run', 'show what would be done')
    .option('--force', 'also when the keys look swapped or a running process has another key')
    .action((flags: RotateFlags) =>
      flags.dryRun === true
        ? run(io, flags, async (deps) => ({ ...(await inspectKeys(deps)), changed: false }), preview)
        : run(io, flags, (deps) => rotateKeys(deps, OPERATOR, { force: flags.force === true }), rotated),
    );
}

type Outcome = KeyReport & { changed: boolean };
/** One line that says how it ended. */
type Summary = (outcome: Outcome) => string;

async function run(
  io: CommandIo,
  flags: Flags,
  act: (deps: { db: Db; keys: RotationKeys }) => Promise<Outcome>,
  summary: Summary,
): Promise<void> {
  await runCommand(io, flags, async ({ print }) => {
    const keys = requireKeys(io.env);
    const outcome = await withCommandDb(flags.database, io, (db) => act({ db, keys }));
    const problem = outcome.problem && PROBLEMS[outcome.problem](outcome);
    print({ ...wire(outcome), ...(problem === undefined ? {} : { error: problem }) }, [
      ...lines(outcome),
      printable(summary(outcome)),
    ]);
    if (problem === undefined) return;
    io.stderr.write(`error: ${printable(problem)}\n`);
    process.exitCode = EXIT.failed;
  });
}

/** @throws {UsageError} without the new key, or with the same key twice. */
function requireKeys(env: Environment): RotationKeys {
  const { key, previousKey } = loadKeysConfig(env);
  if (key === undefined) {
    throw new UsageError(
      'ENCRYPTION_KEY is not set: it is the new key, and ENCRYPTION_KEY_PREVIOUS the key before ' +
        '(that of an embedded database is encryptionKey in secrets.json of DATA_DIR)',
    );
  }
  if (previousKey !== undefined && keyId(key) === keyId(previousKey)) {
    throw new UsageError('ENCRYPTION_KEY and ENCRYPTION_KEY_PREVIOUS are the same key');
  }
  return { key, previousKey };
}

const check: Summary = ({ totals, previousKeyId }) => {
  if (totals.previous > 0)
    return `ENCRYPTION_KEY_PREVIOUS is needed by ${values(totals.previous)}: run \`keys rotate\``;
  if (totals.clear > 0) return `${values(totals.clear)} in clear: run \`keys rotate\``;
  if (totals.unreadable > 0) return 'not every value can be read';
  return previousKeyId === undefined
    ? 'every value is stored with ENCRYPTION_KEY'
    : 'every value is stored with ENCRYPTION_KEY; ENCRYPTION_KEY_PREVIOUS is not needed any more';
};

const preview: Summary = ({ totals }) =>
  totals.previous + totals.clear === 0
    ? 'nothing to rotate'
    : `would rotate ${values(totals.previous)} and encrypt ${values(totals.clear)}; nothing was changed`;

const rotated: Summary = ({ totals, changed }) => {
  if (changed) return `rotated ${values(totals.previous)}, encrypted ${values(totals.clear)} that stood in clear`;
  return totals.previous + totals.clear === 0 ? 'nothing to rotate' : 'nothing was changed';
};

const values = (count: number): string => `${count} value${count === 1 ? '' : 's'}`;

/** What is wrong, and what to do. */
const PROBLEMS: Record<KeyProblem, (report: KeyReport) => string> = {
  'other-key-runs': ({ otherKeyRuns, previousKeyId }) => {
    const which = otherKeyRuns.map(({ process, keyId, count }) => {
      const key = keyId === null ? 'no key' : keyId === previousKeyId ? 'ENCRYPTION_KEY_PREVIOUS' : 'another key';
      return `${count} × ${process} with ${key}`;
    });
    return (
      `a running process encrypts with another key than ENCRYPTION_KEY (${which.join(', ')}): ` +
      'restart it with both keys first, or swap the two keys here if they are the wrong way round; --force rotates all the same'
    );
  },
  'key-was-replaced': ({ history }) =>
    `ENCRYPTION_KEY was replaced on ${history.rotatedFrom?.toISOString()}: the two keys are swapped; --force rotates back`,
  'no-value-readable': ({ totals, previousKeyId }) =>
    `${values(totals.unreadable)}, and ${
      previousKeyId === undefined ? 'ENCRYPTION_KEY opens none: set ENCRYPTION_KEY_PREVIOUS' : 'neither key opens one'
    }: check the keys`,
  unreadable: ({ totals, previousKeyId }) => {
    const neither = `cannot be read with ENCRYPTION_KEY${previousKeyId === undefined ? '' : ' or ENCRYPTION_KEY_PREVIOUS'}`;
    const unused = previousKeyId === undefined || totals.previous > 0 ? '' : ', which opens no value';
    return `${values(totals.unreadable)} ${neither}${unused}: check the keys, or enter these secrets again`;
  },
  'previous-unused': () =>
    'every value is stored with ENCRYPTION_KEY, and no rotation to it is on record: are the two keys swapped? ' +
    'If they are right, ENCRYPTION_KEY_PREVIOUS is not needed',
};

function lines({ columns, unreadable, totals, changed }: Outcome): string[] {
  const cells = columns.map(({ column, ...n }) =>
    [column, n.previous, n.clear, n.current, n.unreadable, n.empty].map(String),
  );
  const states = changed ? ['rotated', 'encrypted', 'already current'] : ['previous key', 'in clear', 'current key'];
  const more = totals.unreadable - unreadable.length;
  return [
    ...table(['column', ...states, 'unreadable', 'empty'], cells),
    ...unreadable.map(({ column, key }) => printable(`unreadable: ${column} of ${key}`)),
    ...(more > 0 ? [`and ${more} more`] : []),
  ];
}

/** The report as JSON. */
function wire({ columns, totals, unreadable, keyId, previousKeyId, otherKeyRuns, problem, changed }: Outcome) {
  return {
    changed,
    problem: problem ?? null,
    keyId,
    previousKeyId: previousKeyId ?? null,
    totals,
    columns,
    unreadable,
    otherKeyRuns,
  };
}
