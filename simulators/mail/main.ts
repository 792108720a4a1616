/**
 * Runs the mail catcher as its own process: prints the URLs and the key as one line of JSON, then serves until SIGINT or
 * SIGTERM. `--help` lists the options.
 */
import { parseArgs } from 'node:util';
import { type MailCatcherOptions, startMailCatcher } from './simulator.ts';

const NUMBERS = { port: 'port', latency: 'latencyMs', 'smtp-port': 'smtpPort' };

const { values } = parseArgs({
  options: {
    host: { type: 'string' },
    'api-key': { type: 'string' },
    help: { type: 'boolean' },
    ...Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, { type: 'string' as const }])),
  },
});

if (values['help'] === true) {
  process.stdout.write('options: --host ADDRESS --api-key KEY --port N --smtp-port N --latency N\n');
  process.exit(0);
}

const options: MailCatcherOptions = {};
if (typeof values['host'] === 'string') options.host = values['host'];
if (typeof values['api-key'] === 'string') options.apiKey = values['api-key'];
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

const catcher = await startMailCatcher(options);
process.stdout.write(`${JSON.stringify({ url: catcher.url, smtpUrl: catcher.smtpUrl, apiKey: catcher.apiKey })}\n`);

const stop = async () => {
  await catcher.close();
  process.exit(0);
};
process.once('SIGINT', () => void stop());
process.once('SIGTERM', () => void stop());
