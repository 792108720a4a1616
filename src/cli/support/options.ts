/** Options that several commands have. */
import { type Command, InvalidArgumentError } from 'commander';
import { parseWholeNumber } from '../../domain/numbers.ts';

/** Parser of an option whose value is a whole number. */
export const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = parseWholeNumber(text, { min, max });
    if (value === undefined) throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
    return value;
  };

/** Adds `--json`. */
export const withJson = (command: Command): Command =>
  command.option('--json', 'print one JSON document and ask nothing');

/** Adds `--database` and `--json`. */
export const withDatabaseOptions = (command: Command): Command =>
  withJson(command.option('-d, --database <url>', 'postgres://… (default: DATABASE_URL, else the embedded database)'));
