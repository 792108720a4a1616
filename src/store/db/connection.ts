/**
 * What every connection of this service sets at its start: our own settings, and what the URL of the database says
 * about schemas. The driver knows neither `search_path` nor `schema` in a URL, and would let `options` replace ours.
 */

export interface ConnectionSettings {
  connectionString: string;
  /** Settings in the notation of libpq: `-c name=value …`. */
  options: string;
}

/** Parameters of a URL that name the schema, as other tools write them. */
const ONE_SCHEMA = ['schema', 'currentSchema'];
const UNDERSTOOD = ['options', 'search_path', ...ONE_SCHEMA];

/** One schema as an entry of a search path. */
const entryOf = (schema: string): string =>
  /^[a-z_][a-z0-9_]*$/.test(schema) ? schema : `"${schema.replaceAll('"', '""')}"`;

const setting = (name: string, value: string): string => `-c ${name}=${value.replace(/[\\\s]/g, '\\$&')}`;

/**
 * Splits a URL into what the driver understands and the settings of the connection. `search_path` wins over `schema`, and
 * both over `options`. Times are always UTC: plain TIMESTAMP columns hold UTC, also where a column default writes them.
 */
export function connectionSettings(connectionString: string): ConnectionSettings {
  const url = URL.parse(connectionString);
  const ours = ['-c lock_timeout=15000'];
  let rest = connectionString;
  if (url !== null && UNDERSTOOD.some((name) => url.searchParams.has(name))) {
    ours.push(...url.searchParams.getAll('options'));
    for (const name of ONE_SCHEMA) {
      for (const schema of url.searchParams.getAll(name).filter((one) => one !== ''))
        ours.push(setting('search_path', entryOf(schema)));
    }
    for (const path of url.searchParams.getAll('search_path').filter((one) => one !== '')) {
      ours.push(setting('search_path', path));
    }
    for (const name of UNDERSTOOD) url.searchParams.delete(name);
    rest = url.href;
  }
  // A URL that says nothing about schemas stays as it was written.
  return { connectionString: rest, options: [...ours, '-c timezone=UTC'].join(' ') };
}
