/** Runs the panel simulator as a process. It prints its URL and keys as one line of JSON. `--help` lists the options. */
import { readOptions, serve } from '../support/command-line.ts';
import { startPanelSimulator } from './simulator.ts';
import { DEFAULT_SIZES } from './world/sizes.ts';

const simulator = await startPanelSimulator({
  host: '127.0.0.1',
  ...readOptions({
    texts: { host: 'host' },
    numbers: {
      port: 'port',
      'daemon-port': 'daemonPort',
      seed: 'seed',
      latency: 'latencyMs',
      limit: 'limit',
      'client-limit': 'clientLimit',
      window: 'windowMs',
      'per-page-max': 'perPageMax',
      ...Object.fromEntries(
        Object.keys(DEFAULT_SIZES).map((name) => [name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`), name]),
      ),
    },
  }),
});
const { url, keys } = simulator;
serve({ url, keys }, () => simulator.close());
