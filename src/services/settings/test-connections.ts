/** Tests the connection to a panel. A connection that fails is a result, with a sentence of our own, not an error. */
import type { Logger } from 'pino';
import type { AddressGuard } from '../../clients/http/address-guard.ts';
import { createPanelClient } from '../../clients/panel/client.ts';
import { testConnection } from '../../clients/virtfusion.ts';
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import type { PanelSecrets } from './secret-origins.ts';
import type { PanelName } from './setup.ts';

/** Maximum bytes of a panel's answer: one server with nothing included has less than 4 KB. */
const TEST_BODY_BYTES = 256 * 1024;

export interface ConnectionDeps {
  log: Logger;
  /** Refuses addresses that the caller may not make this machine connect to. */
  guard: AddressGuard;
  timeoutMs: number;
}

export interface PanelToTest {
  name: PanelName;
  url: string;
  /** Absent: the known key, if it may be sent to this URL. */
  apiKey: Secret | undefined;
}

export interface ConnectionResult {
  success: boolean;
  /** Milliseconds; null when nothing was sent. */
  latency: number | null;
  /** Null when the panel does not say. */
  serverCount: number | null;
  error: string | null;
}

/** The result of a test that sent nothing, for this reason. */
export const untested = (error: string): ConnectionResult => ({
  success: false,
  latency: null,
  serverCount: null,
  error,
});

/**
 * Tests one panel.
 * @param known the secrets that may be sent to this URL.
 * @throws errors that are not the connection's.
 */
export async function testPanel(
  deps: ConnectionDeps,
  panel: PanelToTest,
  known: PanelSecrets,
): Promise<ConnectionResult> {
  const apiKey = panel.apiKey ?? known.apiKey;
  if (apiKey === undefined) return untested('Enter the API key to test this URL');
  const begun = performance.now();
  const latency = () => Math.round(performance.now() - begun);
  try {
    const query = panel.name === 'pterodactyl' ? queryPterodactyl : queryVirtfusion;
    const serverCount = await query(deps, panel.url, { ...known, apiKey });
    return { success: true, serverCount, latency: latency(), error: null };
  } catch (error) {
    if (!isAppError(error)) throw error;
    deps.log.info({ panel: panel.name, code: error.code, meta: error.meta }, 'connection test failed');
    return {
      success: false,
      latency: error.code === 'ADDRESS_REFUSED' ? null : latency(),
      serverCount: null,
      error: error.message,
    };
  }
}

type TestSecrets = PanelSecrets & { apiKey: Secret };

/** Lists one server: that needs the URL, the key and its most used right. @returns the number of servers. */
async function queryPterodactyl(deps: ConnectionDeps, url: string, secrets: TestSecrets): Promise<number | null> {
  const { apiKey, cfAccessClientId, cfAccessClientSecret } = secrets;
  const client = createPanelClient({
    url,
    apiKey,
    guard: deps.guard,
    timeoutMs: deps.timeoutMs,
    maxBodyBytes: TEST_BODY_BYTES,
    ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
    ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
  });
  try {
    const { pagination } = await client.list('/servers', { page: 1, perPage: 1 });
    return pagination?.total ?? null;
  } finally {
    // Not awaited: the answer is known.
    client.close().catch(() => undefined);
  }
}

async function queryVirtfusion(deps: ConnectionDeps, url: string, { apiKey }: TestSecrets): Promise<null> {
  await testConnection({ url, apiKey }, { guard: deps.guard, timeoutMs: deps.timeoutMs });
  return null;
}
