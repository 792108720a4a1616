/** How `doctor` shows its report to people. */
import { existsSync } from 'node:fs';
import { printable, type Terminal } from '../support/terminal.ts';
import type { Check } from './check.ts';
import type { ConfigRow } from './config.ts';

/** The variables by section with their origin, then the checks with advice. */
export function reportLines(
  { configuration, checks }: { configuration: readonly ConfigRow[]; checks: readonly Check[] },
  terminal: Terminal,
): string[] {
  const sections = Map.groupBy(configuration, (row) => row.section);
  return [
    ...[...sections].flatMap(([section, rows]) => [
      terminal.strong(section),
      ...rows.map((row) => configLine(row, terminal)),
      '',
    ]),
    terminal.strong('Checks'),
    ...checks.flatMap((check) => checkLines(check, terminal)),
    ...(existsSync('.env') ? [] : ['', terminal.dim('No .env file here; .env.example lists what can be set.')]),
  ];
}

function configLine({ name, origin, value }: ConfigRow, terminal: Terminal): string {
  return `  ${name.padEnd(26)} ${terminal.dim(origin.padEnd(11))}${value === '' ? '' : `  ${printable(value)}`}`;
}

function checkLines({ name, state, detail, advice }: Check, terminal: Terminal): string[] {
  const mark = {
    ok: terminal.good('ok     '),
    idle: terminal.dim('idle   '),
    warning: terminal.warn('warning'),
    failed: terminal.bad('failed '),
  }[state];
  return [`  ${mark}  ${name}: ${detail}`, ...(advice === undefined ? [] : [`           → ${advice}`])];
}
