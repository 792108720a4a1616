/** Tables of figures. */
import type { AttackRow } from './attack.ts';
import type { ListRow } from './lists.ts';
import type { Figures } from './load.ts';
import type { TimingRow } from './timing.ts';

export interface Row extends Figures {
  name: string;
  what: string;
  concurrency: number;
  /** SQL statements per request. Missing for a floor. */
  statements?: number;
  /** `perSecond` divided by the floor's. Missing for a floor. */
  ofFloor?: number;
}

/** Prints a table: the first column is aligned to the left, the others to the right. */
function print(head: readonly string[], lines: readonly (readonly string[])[]): void {
  const all = [head, ...lines];
  const widths = head.map((_, i) => Math.max(...all.map((cells) => cells[i]?.length ?? 0)));
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0));
  for (const cells of all) process.stdout.write(`${cells.map(pad).join('  ')}\n`);
}

const ms = (value: number): string => value.toFixed(value < 10 ? 2 : 1);
const percent = (share: number | undefined): string => (share === undefined ? '-' : `${(share * 100).toFixed(1)} %`);

/** Processor milliseconds of the process + of the database. */
const cpu = (own: number | undefined, database: number | undefined): string =>
  own === undefined || database === undefined ? '-' : `${own.toFixed(2)} + ${database.toFixed(2)}`;

export function printRows(rows: readonly Row[]): void {
  print(
    ['name', 'at once', 'n', 'req/s', 'p50 ms', 'p99 ms', 'max ms', 'errors', 'statements', 'of floor'],
    rows.map((r) => [
      r.name,
      String(r.concurrency),
      String(r.n),
      r.perSecond.toFixed(1),
      ms(r.p50),
      ms(r.p99),
      ms(r.max),
      String(r.errors.length),
      r.statements === undefined ? '-' : String(r.statements),
      percent(r.ofFloor),
    ]),
  );
}

export function printLists(rows: readonly ListRow[]): void {
  print(
    [
      'size and list',
      'n',
      'req/s',
      'p50 ms',
      'p99 ms',
      'errors',
      'statements',
      'floor',
      'exact',
      'of floor',
      'of M',
      'cpu',
      'floor cpu',
    ],
    rows.map((r) => [
      `${r.size} ${r.name}`,
      String(r.n),
      r.perSecond.toFixed(0),
      ms(r.p50),
      ms(r.p99),
      String(r.errors.length),
      `${r.statements} + ${r.statementsForTotal}`,
      r.floorPerSecond.toFixed(0),
      r.exactFloorPerSecond === undefined ? '-' : r.exactFloorPerSecond.toFixed(0),
      percent(r.perSecond / r.floorPerSecond),
      percent(r.ofM),
      cpu(r.apiCpu, r.databaseCpu),
      cpu(r.floorCpu, r.floorDatabaseCpu),
    ]),
  );
}

export function printTiming(rows: readonly TimingRow[]): void {
  print(
    ['account', 'n', 'mean ms', 'p50 ms', 'p90 ms', 'p99 ms', 'median above the first'],
    rows.map((r) => [
      r.kind,
      String(r.n),
      r.mean.toFixed(2),
      r.p50.toFixed(2),
      r.p90.toFixed(2),
      r.p99.toFixed(2),
      `${r.above >= 0 ? '+' : ''}${r.above.toFixed(2)} ms`,
    ]),
  );
}

export function printAttacks(rows: readonly AttackRow[]): void {
  print(
    ['attack', 'request', 'n', 'p50 ms', 'p99 ms', 'max ms', 'refused'],
    rows.map((r) => [r.attack, r.name, String(r.n), ms(r.p50), ms(r.p99), ms(r.max), String(r.refused)]),
  );
}
