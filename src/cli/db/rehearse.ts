/** `db migrate --dry-run`: what the migrations would do, found out on a copy. */
import { EXIT } from '../../process.ts';
import { type Rehearsal, type RehearsedStep, rehearse } from '../../store/db/rehearsal.ts';
import { schemaWarning } from '../../store/db/schemas.ts';
import { withDb } from '../support/database.ts';
import { reasonOf } from '../support/errors.ts';
import type { Terminal } from '../support/terminal.ts';
import { type Context, gapLines, migrationLabel } from './context.ts';

/** Prints the rehearsal. The exit code is 1 when a migration would fail, or the service could not work afterwards. */
export async function printRehearsal(
  { io, print, terminal }: Context,
  url: URL,
  units: readonly string[] | undefined,
): Promise<void> {
  const rehearsal = await withDb(url.href, async (db) => {
    const warning = await schemaWarning(db);
    if (warning !== undefined) io.stderr.write(`warning: ${warning}\n`);
    return rehearse(db, units);
  });
  const { failed, ...rest } = rehearsal;
  const failure = failed === undefined ? undefined : { name: failed.name, error: reasonOf(failed.error) };
  print({ dryRun: true, ...rest, ...(failure === undefined ? {} : { failed: failure }) }, [
    ...stepLines(rehearsal.steps, terminal),
    ...(failure === undefined ? [] : [`${terminal.bad('fails')}    ${migrationLabel(failure.name)}: ${failure.error}`]),
    ...rehearsal.refusals.map((text) => `${terminal.bad('refused')}  ${text}`),
    ...copyLines(rehearsal),
    ...gapLines(rehearsal.gaps, terminal),
  ]);
  const works = failure === undefined && rehearsal.refusals.length === 0 && rehearsal.gaps.every((gap) => gap.works);
  if (!works) process.exitCode = EXIT.failed;
}

function stepLines(steps: readonly RehearsedStep[], terminal: Terminal): string[] {
  const locked = (step: RehearsedStep, strength: string): string[] =>
    Object.entries(step.locks).flatMap(([table, one]) => (one === strength ? [table] : []));
  return steps.map((step) => {
    const [all, writers] = [locked(step, 'all'), locked(step, 'writers')];
    const rows = Object.entries(step.rows).map(([table, n]) => `${table} ${n}`);
    const details = [
      `${step.seconds.toFixed(1)} s`,
      ...(rows.length === 0 ? [] : [`changes rows: ${rows.join(', ')}`]),
      ...(all.length === 0 ? [] : [`readers and writers wait: ${all.join(', ')}`]),
      ...(writers.length === 0 ? [] : [`writers wait: ${writers.join(', ')}`]),
    ];
    return `${terminal.good('would apply')}  ${migrationLabel(step.name)}  ${terminal.dim(details.join('; '))}`;
  });
}

function copyLines({ steps, copied, lacks, failed }: Rehearsal): string[] {
  if (steps.length === 0 && failed === undefined) return ['nothing to do: up to date'];
  const filled = copied.filter(({ rows }) => rows !== null);
  const rows = filled.reduce((sum, table) => sum + (table.rows ?? 0), 0);
  const megabytes = filled.reduce((sum, table) => sum + table.bytes, 0) / 1e6;
  return [
    `rehearsed on a copy of ${filled.length} tables (${rows} rows, ${megabytes.toFixed(1)} MB), which is gone: nothing was applied`,
    ...lacks.map((text) => `not rehearsed: ${text}`),
  ];
}
