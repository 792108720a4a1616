/**
 * Runs the panel simulator as its own process: prints the URL and the keys as one line of JSON, then serves until
 * SIGINT or SIGTERM. `--help` lists the options.
 */
import { parseArgs } from 'node:util';
import { type PanelSimulatorOptions, startPanelSimulator } from './simulator.ts';
import { DEFAULT_SIZES } from './sizes.ts';

const NUMBERS = {
  port: 'port',
  seed: 'seed',
  latency: 'latencyMs',
  limit: 'limit',
  'client-limit': 'clientLimit',
  window: 'windowMs',
  'per-page-max': 'perPageMax',
  ...Object.fromEntries(
    Object.keys(DEFAULT_SIZES).map((name) => [name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`), name]),
  ),
};

const { values } = parseArgs({
  options: {
    host: { type: 'string' },
    help: { type: 'boolean' },
    ...Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, { type: 'string' as const }])),
  },
});

if (values['help'] === true) {
  process.stdout.write(
    `options: --host ADDRESS ${Object.keys(NUMBERS)
      .map((name) => `--${name} N`)
      .join(' ')}\n`,
  );
  process.exit(0);
}

const options: PanelSimulatorOptions = { host: typeof values['host'] === 'string' ? values['host'] : '127.0.0.1' };
for (const [flag, name] of Object.entries(NUMBERS)) {
  const given: unknown = Reflect.get(values, flag);
  if (given === undefined) continue;
  const number = Number(given);
  if (!Number.isInteger(number) || number < 0) {
    process.stderr.write(`--${flag} wants a whole number\n`);
    process.exit(2);
  }
  Object.assign(options, { [name]: number });
}

const simulator = await startPanelSimulator(options);
process.stdout.write(`${JSON.stringify({ url: simulator.url, keys: simulator.keys })}\n`);

const stop = async () => {
  await simulator.close();
  process.exit(0);
};
process.once('SIGINT', () => void stop());
process.once('SIGTERM', () => void stop());
