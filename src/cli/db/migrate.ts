/** `db init` and `db migrate`: apply migrations, all or by schema unit. */
import { isCancel, multiselect } from '@clack/prompts';
import { migrationRecorder } from '../../services/audit/record-migrations.ts';
import { findUnit, type MigrateStep, migrateLatest, UNITS, withRequired } from '../../store/db/migrations.ts';
import { type SchemaGap, schemaGaps } from '../../store/db/schema-gaps.ts';
import { schemaWarning } from '../../store/db/schemas.ts';
import { withDb } from '../support/database.ts';
import { reasonOf, UsageError } from '../support/errors.ts';
import { ask, type Context, gapLines, isInteractive, migrationLabel, withUrl } from './context.ts';
import { printRehearsal } from './rehearse.ts';

/**
 * Applies the units, or everything, and prints each migration and a summary.
 * @param extra more fields of the JSON document; `reset`: the database was dropped before
 */
export async function applyMigrations(
  { io, json, print, terminal }: Context,
  url: URL,
  units: readonly string[] | undefined,
  extra: { reset?: boolean; database?: string } = {},
): Promise<void> {
  const startedAt = performance.now();
  const { reset = false } = extra;
  let current = '';
  const onStep = ({ name, state }: MigrateStep): void => {
    current = name;
    if (!json && state === 'applied') terminal.line(`${terminal.good('applied')}  ${migrationLabel(name)}`);
  };
  let applied: string[];
  let gaps: SchemaGap[] = [];
  try {
    const record = migrationRecorder({ reset });
    const onWait = (reason: string): void => {
      if (!json) terminal.line(`${terminal.warn('waiting')}  ${migrationLabel(current)}: ${reason}`);
    };
    const options = { ...(units === undefined ? {} : { units }), onStep, onWait, record };
    applied = await withDb(url.href, async (db) => {
      const warning = await schemaWarning(db);
      if (warning !== undefined) io.stderr.write(`warning: ${warning}\n`);
      const done = await migrateLatest(db, options);
      // After one unit, columns of later migrations are missing, which is no difference.
      if (units === undefined) gaps = await schemaGaps(db);
      return done;
    });
  } catch (error) {
    throw current === '' ? error : new Error(`${migrationLabel(current)}: ${reasonOf(error)}`, { cause: error });
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  print({ ...extra, applied, ...(gaps.length === 0 ? {} : { gaps }) }, [
    applied.length === 0 ? 'nothing to do: up to date' : `${applied.length} applied in ${seconds} s`,
    ...gapLines(gaps, terminal),
  ]);
}

const commaList = (text: string): string[] =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');

/** @throws {UsageError} when `--units` is empty; {AppError} BAD_REQUEST for an unknown unit. */
export async function init(context: Context): Promise<void> {
  const { flags, io, print } = context;
  if (flags.units !== undefined && flags.all !== true) {
    const units = commaList(flags.units);
    if (units.length === 0) throw new UsageError('--units names no schema unit');
    withRequired(units);
    return withUrl(context, (url) => applyMigrations(context, url, units));
  }
  return withUrl(context, async (url) => {
    if (flags.all === true || !isInteractive(context)) return applyMigrations(context, url, undefined);
    const chosen = await multiselect({
      message: 'Which schema units? (the units that they need are added)',
      options: UNITS.map((unit) => ({ value: unit.name, label: unit.name, hint: unit.tables.join(', ') })),
      initialValues: UNITS.map((unit) => unit.name),
      required: true,
      input: io.stdin,
      output: io.stdout,
    });
    if (isCancel(chosen)) return print({}, ['nothing done']);
    return applyMigrations(context, url, chosen.length === UNITS.length ? undefined : chosen);
  });
}

/** @throws {AppError} BAD_REQUEST for an unknown unit. */
export async function migrate(context: Context, unit: string | undefined): Promise<void> {
  const selector = unit ?? context.flags.schema;
  if (context.flags.dryRun === true) {
    const units = selector === undefined ? undefined : [findUnit(selector).name];
    return withUrl(context, (url) => printRehearsal(context, url, units));
  }
  if (selector !== undefined) {
    const { name } = findUnit(selector);
    return withUrl(context, (url) => applyMigrations(context, url, [name]));
  }
  return withUrl(context, async (url) => {
    if (!isInteractive(context)) return applyMigrations(context, url, undefined);
    const { print, terminal } = context;
    for (const { number, name } of UNITS) terminal.line(`${String(number).padStart(3)}  ${name}`);
    const answer = await ask(context, 'Numbers separated by commas, Enter = all, 0 = exit: ');
    const { units, invalid } = readMenu(answer ?? '0');
    for (const part of invalid) terminal.line(`${terminal.warn('skipped')}  ${part}: no such number`);
    if (units === 'none') return print({}, ['nothing done']);
    return applyMigrations(context, url, units === 'all' ? undefined : units);
  });
}

/**
 * Reads the answer to the menu: numbers separated by commas; empty = all; a 0 = exit. Parts that are not the number of
 * a unit are returned in `invalid` and skipped.
 */
export function readMenu(answer: string): { units: string[] | 'all' | 'none'; invalid: string[] } {
  const parts = commaList(answer);
  if (parts.length === 0) return { units: 'all', invalid: [] };
  if (parts.includes('0')) return { units: 'none', invalid: [] };
  const known = (part: string): boolean => /^\d+$/.test(part) && UNITS.some((unit) => unit.number === Number(part));
  const units = parts.filter(known);
  return { units: units.length === 0 ? 'none' : units, invalid: parts.filter((part) => !known(part)) };
}
