/** Runs the email catcher as a process: prints its URLs and the API key as one line of JSON. `--help` lists the options. */
import { readOptions, serve } from '../support/command-line.ts';
import { startEmailCatcher } from './simulator.ts';

const catcher = await startEmailCatcher(
  readOptions({
    texts: { host: 'host', 'api-key': 'apiKey' },
    numbers: {
      port: 'port',
      latency: 'latencyMs',
      'smtp-port': 'smtpPort',
      'requests-per-second': 'requestsPerSecond',
    },
  }),
);
const { url, smtpUrl, apiKey } = catcher;
serve({ url, smtpUrl, apiKey }, () => catcher.close());
