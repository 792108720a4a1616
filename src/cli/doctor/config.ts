/** Where each configuration value comes from: database, environment, `.env`, default. */
import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { configVariables, type Environment } from '../../config.ts';
import { SECRET_MASK } from '../../domain/settings.ts';

export type ConfigOrigin = 'database' | 'environment' | '.env' | 'data folder' | 'default' | 'not set';

export interface ConfigRow {
  name: string;
  section: string;
  origin: ConfigOrigin;
  /** As it is shown: a secret is masked. */
  value: string;
}

/** Values of the `.env` file in the working directory; empty without one. */
export function readDotEnv(path = '.env'): Environment {
  try {
    return parseEnv(readFileSync(path, 'utf8'));
  } catch {
    return {};
  }
}

/** A URL without its user name and password. */
const withoutPassword = (value: string): string => value.replace(/\/\/([^/@\s]*)@/, '//…@');

/**
 * One row per variable that the processes read.
 * @param stored clear values of the `config` table by key; empty ones do not count
 * @param generated names of secrets that were generated and are kept in the data folder
 */
export function configRows(
  env: Environment,
  dotEnv: Environment,
  stored: ReadonlyMap<string, string>,
  generated: ReadonlySet<string>,
): ConfigRow[] {
  return configVariables().map((variable) => {
    const given = env[variable.name] ?? '';
    const inDatabase = variable.databaseKey === undefined ? '' : (stored.get(variable.databaseKey) ?? '');
    const show = (value: string): string => (variable.secret === true ? SECRET_MASK : withoutPassword(value));
    const row = (origin: ConfigOrigin, value: string): ConfigRow => ({
      name: variable.name,
      section: variable.section,
      origin,
      value,
    });
    if (inDatabase !== '') return row('database', show(inDatabase));
    // Node's --env-file does not override the environment, so an equal value comes from the file.
    if (given !== '') return row(dotEnv[variable.name] === given ? '.env' : 'environment', show(given));
    if (generated.has(variable.name)) return row('data folder', SECRET_MASK);
    return variable.defaultText === undefined ? row('not set', '') : row('default', variable.defaultText);
  });
}
