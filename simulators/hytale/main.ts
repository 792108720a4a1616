/** Runs the Hytale simulator as a process: prints its hosts as one line of JSON. `--help` lists the options. */
import { readOptions, serve } from '../support/command-line.ts';
import { startHytaleSimulator } from './simulator.ts';

const { accounts = 2, ...options } = readOptions({
  texts: { host: 'host', issuer: 'issuer' },
  numbers: { port: 'port', seed: 'seed', 'session-limit': 'sessionLimit', accounts: 'accounts' },
});
const simulator = await startHytaleSimulator(options);
for (let n = 1; n <= Number(accounts); n += 1) simulator.addAccount();
serve({ ...simulator.hosts, issuer: simulator.issuer }, () => simulator.close());
