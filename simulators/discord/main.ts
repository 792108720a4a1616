/** Runs the Discord simulator as a process: prints its URL as one line of JSON. `--help` lists the options. */
import { readOptions, serve } from '../support/command-line.ts';
import { startDiscordSimulator } from './simulator.ts';

const { timeScale = 1, ...options } = readOptions({
  texts: { host: 'host', 'time-scale': 'timeScale' },
  numbers: { port: 'port', latency: 'latencyMs' },
});
const simulator = await startDiscordSimulator({ ...options, timeScale: Number(timeScale) });
serve({ url: simulator.url }, () => simulator.close());
