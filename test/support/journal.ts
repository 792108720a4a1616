/** The disturbances of each run, printed as a table at the end of a file of life tests. */
import { afterEach } from 'vitest';
import { query } from '../../src/store/db/query.ts';
import type { Installation } from './processes.ts';

export interface Journal {
  /** Numbers from 0 to 1, the same for the same seed. */
  random(): number;
  /** Where the running sync is: status, step, staged pages. */
  peek(installation: Installation): Promise<string>;
  add(what: string, when: string, where: string, tookMs: number): void;
  print(): void;
}

/** LIFE_SEED repeats the moments of an earlier run. */
export function createJournal(): Journal {
  const seed = Number(process.env['LIFE_SEED'] ?? Date.now() % 1_000_000);
  const lines: string[][] = [];
  let state = seed;
  return {
    random() {
      // mulberry32
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
    },
    async peek({ db }) {
      const [row] = await query<{ status: string; message: string | null; pages: number }>(
        db,
        `select l.status, l.metadata->>'lastMessage' as message, (select count(*) from sync_pages p where p.log_id = l.id)::int as pages
         from sync_logs l order by l."startedAt" desc limit 1`,
      );
      return row === undefined ? 'no row' : `${row.status}, ${row.pages} staged, "${row.message ?? ''}"`;
    },
    add: (...[what, when, where, tookMs]) => {
      lines.push([what, when, where, `${(tookMs / 1_000).toFixed(1)} s`]);
    },
    print() {
      const table = [['what', 'when', 'where the sync was', 'until its end'], ...lines];
      const widths = [0, 1, 2, 3].map((i) => Math.max(...table.map((line) => line[i]?.length ?? 0)));
      const text = table.map((line) =>
        line
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join('  ')
          .trimEnd(),
      );
      console.info(`seed ${seed} (LIFE_SEED=${seed} repeats it)\n${text.join('\n')}`);
    },
  };
}

/** Prints what the installation was doing when a test of the file fails. */
export function onFailure(installation: () => Installation | undefined): void {
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(`${task.name}:\n${await installation()?.diagnosis()}`);
  });
}
