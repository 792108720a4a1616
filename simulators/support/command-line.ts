/** The command line of a simulator's process: its options, and serving until a signal. */
import { parseArgs } from 'node:util';

/**
 * Reads the options of the command line. `--help` lists them and ends the process; an invalid number ends it with code 2.
 * @param flags names of the options, each with its key in the result.
 */
export function readOptions(flags: {
  texts: Readonly<Record<string, string>>;
  numbers: Readonly<Record<string, string>>;
}): Record<string, string | number> {
  const names = [...Object.keys(flags.texts), ...Object.keys(flags.numbers)];
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean' },
      ...Object.fromEntries(names.map((name) => [name, { type: 'string' as const }])),
    },
  });
  if (values['help'] === true) {
    const shown = names.map((name) => `--${name} ${name in flags.texts ? 'TEXT' : 'N'}`);
    process.stdout.write(`options: ${shown.join(' ')}\n`);
    process.exit(0);
  }
  const options: Record<string, string | number> = {};
  for (const [flag, name] of Object.entries(flags.texts)) {
    const given: unknown = Reflect.get(values, flag);
    if (typeof given === 'string') options[name] = given;
  }
  for (const [flag, name] of Object.entries(flags.numbers)) {
    const given: unknown = Reflect.get(values, flag);
    if (given === undefined) continue;
    const number = Number(given);
    if (!Number.isInteger(number) || number < 0) {
      process.stderr.write(`--${flag} needs a whole number\n`);
      process.exit(2);
    }
    options[name] = number;
  }
  return options;
}

/** Prints `where` as one line of JSON, and serves until SIGINT or SIGTERM. */
export function serve(where: object, close: () => Promise<void>): void {
  process.stdout.write(`${JSON.stringify(where)}\n`);
  const stop = async () => {
    await close();
    process.exit(0);
  };
  process.once('SIGINT', () => void stop());
  process.once('SIGTERM', () => void stop());
}
