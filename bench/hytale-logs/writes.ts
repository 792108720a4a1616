/** What storing costs: lines per second, and how long a push takes while the retention deletes a day. */
import { appendPushed } from '../../src/services/hytale/append-lines.ts';
import { query } from '../../src/store/db/query.ts';
import { type DeletedLines, purgeServerLogs } from '../../src/store/hytale/server-log-retention.ts';
import { openTestDb, type TestDb } from '../../test/support/database.ts';
import { drive, type Figures, figuresOf, type Lane } from '../api/load.ts';
import { type Stack, say } from '../api/stack.ts';
import { DAYS, serversOf } from './lines.ts';

const WRITERS = 4;

export interface Pushes extends Figures {
  lines: number;
  linesPerSecond: number;
}

/** Writers that each push batches of `lines` lines, to one server after the other. */
async function writersOf(db: TestDb, lines: number): Promise<Lane[]> {
  const uuids = await serversOf(db);
  let serial = 0;
  return Array.from({ length: WRITERS }, (_, writer) => async () => {
    serial += 1;
    const serverUuid = uuids[(serial * 7919 + writer) % uuids.length] ?? '';
    const now = Date.now();
    const batch = Array.from({ length: lines }, (_, n) => ({
      line: `[World|default] Player${serial % 5000} placed block ${serial}-${n} of the tower beside the market of spawn`,
      at: new Date(now + n),
    }));
    const at = performance.now();
    await appendPushed(db, { serverUuid, accountId: 'bench', lines: batch });
    return performance.now() - at;
  });
}

const withLines = (figures: Figures, lines: number): Pushes => ({
  ...figures,
  lines,
  linesPerSecond: figures.perSecond * lines,
});

/** Pushes for some seconds. @param lines of one push */
export async function measurePushes(stack: Stack, lines: number, seconds: number): Promise<Pushes> {
  const db = openTestDb({
    connectionString: stack.env['DATABASE_URL'] ?? '',
    applicationName: 'bench-push',
    max: WRITERS,
  });
  try {
    const writers = await writersOf(db, lines);
    await drive(writers, 1);
    return withLines(await drive(writers, seconds), lines);
  } finally {
    await db.destroy();
  }
}

export interface Deletion {
  batch: number;
  rows: number;
  seconds: number;
  /** Milliseconds of one batch. */
  statements: Figures;
  /** Pushes of 20 lines meanwhile. */
  pushes: Pushes;
}

/**
 * Deletes the oldest day in batches, while writers push.
 * @param held a transaction of another program is open all the time, so that no deleted row can be forgotten
 */
export async function measureDeletion(stack: Stack, batch: number, held = false): Promise<Deletion> {
  const connectionString = stack.env['DATABASE_URL'] ?? '';
  const [db, writing] = [1, WRITERS].map((max) =>
    openTestDb({ connectionString, applicationName: 'bench-purge', max }),
  );
  if (db === undefined || writing === undefined) throw new Error('no connection');
  const other = held ? await stack.db.transaction({ isolationLevel: 'repeatable read' }) : undefined;
  try {
    await other?.raw('select count(*) from servers');
    const [oldest] = await query<{ age: number }>(
      db,
      'select extract(epoch from now() - min(created_at))::float8 / 86400 as age from hytale_server_logs',
    );
    const days = Math.round(oldest?.age ?? DAYS) - 1;
    const times: number[] = [];
    let rows = 0;
    let ended = false;
    const startedAt = performance.now();
    const purge = (async () => {
      let from: Date | null = null;
      for (let deleted = batch; deleted === batch; ) {
        const at = performance.now();
        const done: DeletedLines = await purgeServerLogs(db, { days, batch, from });
        times.push(performance.now() - at);
        from = done.reached;
        deleted = done.rows;
        rows += deleted;
      }
      ended = true;
      return performance.now() - startedAt;
    })();
    const writers = (await writersOf(writing, 20)).map((write) => async () => {
      if (ended) throw new Error('the day is deleted');
      return write();
    });
    const [ms, figures] = await Promise.all([purge, drive(writers, 3600)]);
    const errors = figures.errors.filter((text) => text !== 'the day is deleted');
    const result = {
      batch,
      rows,
      seconds: ms / 1000,
      statements: figuresOf(times, ms, []),
      pushes: withLines({ ...figures, errors }, 20),
    };
    say(describeDeletion(result));
    return result;
  } finally {
    await other?.rollback();
    await Promise.all([db.destroy(), writing.destroy()]);
  }
}

const describeDeletion = ({ batch, rows, seconds, statements, pushes }: Deletion): string =>
  `a day in batches of ${batch}: ${rows} lines in ${seconds.toFixed(1)} s, a batch p50 ${statements.p50.toFixed(1)} p99 ${statements.p99.toFixed(1)} max ${statements.max.toFixed(0)} ms; ` +
  `${pushes.n} pushes meanwhile p50 ${pushes.p50.toFixed(1)} p99 ${pushes.p99.toFixed(1)} max ${pushes.max.toFixed(0)} ms ${pushes.errors[0] ?? ''}`;
