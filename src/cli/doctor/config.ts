/** Where each configuration value comes from: database, environment, `.env`, default. */
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { configVariables } from '../../config.ts';

export type ConfigOrigin = 'database' | 'environment' | '.env' | 'data folder' | 'default' | 'not set';

export interface ConfigRow {
  name: string;
  section: string;
  origin: ConfigOrigin;
  /** What is shown: secrets as dots. */
  value: string;
}

/** The mask of secrets on the wire, too: 20 × U+2022. */
const MASK = '•'.repeat(20);

/** Values of the `.env` file in the working directory; empty without one. */
export function readDotEnv(path = '.env'): Record<string, string | undefined> {
  try {
    return parseEnv(readFileSync(path, 'utf8'));
  } catch {
    return {};
  }
}

/** An address that may carry a password, without it. */
const withoutPassword = (value: string): string => value.replace(/\/\/([^/@\s]*)@/, '//…@');

/**
 * One row per variable that the processes read.
 * @param stored clear values of the `config` table by key; empty ones do not count
 * @param made names of secrets that were made and lie in the data folder
 */
export function configRows(
  env: Record<string, string | undefined>,
  dotEnv: Record<string, string | undefined>,
  stored: ReadonlyMap<string, string>,
  made: ReadonlySet<string>,
): ConfigRow[] {
  return configVariables().map((variable) => {
    const given = env[variable.name] ?? '';
    const inDatabase = variable.databaseKey === undefined ? '' : (stored.get(variable.databaseKey) ?? '');
    const show = (value: string): string => (variable.secret === true ? MASK : withoutPassword(value));
    const row = (origin: ConfigOrigin, value: string): ConfigRow => ({
      name: variable.name,
      section: variable.section,
      origin,
      value,
    });
    if (inDatabase !== '') return row('database', show(inDatabase));
    // --env-file never overrides: an equal value in the file is the file's.
    if (given !== '') return row(dotEnv[variable.name] === given ? '.env' : 'environment', show(given));
    if (made.has(variable.name)) return row('data folder', MASK);
    return variable.defaultText === undefined ? row('not set', '') : row('default', variable.defaultText);
  });
}
