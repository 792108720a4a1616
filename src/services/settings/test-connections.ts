/** Tests the connection to a panel. A connection that fails is a result, with a sentence of our own, not an error. */
import type { Logger } from 'pino';
import { guardFor, type Resolver } from '../../clients/http/address-guard.ts';
import type { HttpClientOptions } from '../../clients/http/http.ts';
import { createPanelClient } from '../../clients/panel/client.ts';
import { testConnection } from '../../clients/virtfusion.ts';
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { URL_SETTINGS } from '../../domain/settings.ts';
import { environmentUrl, type KnownSettings, originOf, type PanelSecrets, secretsForPanel } from './secret-origins.ts';
import type { PanelName } from './setup.ts';

/** Maximum bytes of a panel's answer: one server with nothing included has less than 4 KB. */
const TEST_BODY_BYTES = 256 * 1024;

/** Who tests, and so what this machine may connect to. */
export interface Tester {
  isSystemAdministrator: boolean;
  /** The caller is on this machine, outside production: this machine may be reached, too. */
  loopback: boolean;
}

export interface ConnectionDeps {
  log: Logger;
  known: KnownSettings;
  tester: Tester;
  timeoutMs: number;
  /** Resolves the names of panels; default the operating system's. */
  resolve?: Resolver | undefined;
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
 * A system administrator may reach the operator's own networks, everybody else the public internet. The stored URL was
 * judged when it was entered, unless it was entered without an account.
 */
function guardOf({ known, tester, resolve }: ConnectionDeps, { name, url }: PanelToTest): HttpClientOptions['guard'] {
  const { values, entries } = known.stored;
  const key = URL_SETTINGS[name];
  const unchanged = originOf(url) === originOf(values.get(key)) && entries.get(key)?.enteredBy !== 'setup';
  const { isSystemAdministrator, loopback } = tester;
  return guardFor(url, environmentUrl(name, known.config), {
    ...(unchanged || isSystemAdministrator ? { policy: 'private' } : { policy: 'public', loopback }),
    ...(resolve === undefined ? {} : { resolve }),
  });
}

/**
 * Tests one panel. A secret that is known goes to the origin it was entered for only.
 * @throws errors that are not the connection's.
 */
export async function testPanel(deps: ConnectionDeps, panel: PanelToTest): Promise<ConnectionResult> {
  const known = secretsForPanel(panel.name, panel.url, deps.known);
  const apiKey = panel.apiKey ?? known.apiKey;
  if (apiKey === undefined) return untested('Enter the API key to test this URL');
  const begun = performance.now();
  const latency = () => Math.round(performance.now() - begun);
  try {
    const query = panel.name === 'pterodactyl' ? queryPterodactyl : queryVirtfusion;
    const target = { url: panel.url, guard: guardOf(deps, panel), timeoutMs: deps.timeoutMs };
    const serverCount = await query(target, { ...known, apiKey });
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

/** What is called, and within which limits. */
type Target = Pick<HttpClientOptions, 'guard' | 'timeoutMs'> & { url: string };
type TestSecrets = PanelSecrets & { apiKey: Secret };

/** Lists one server: that needs the URL, the key and its most used right. @returns the number of servers. */
async function queryPterodactyl(target: Target, secrets: TestSecrets): Promise<number | null> {
  const { apiKey, cfAccessClientId, cfAccessClientSecret } = secrets;
  const client = createPanelClient({
    ...target,
    apiKey,
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

async function queryVirtfusion({ url, ...options }: Target, { apiKey }: TestSecrets): Promise<null> {
  await testConnection({ url, apiKey }, options);
  return null;
}
