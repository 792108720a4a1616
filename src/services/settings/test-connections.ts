/** Tests the connection to a panel. A connection that fails is a result, with a sentence of our own, not an error. */
import type { Logger } from 'pino';
import { guardFor, type Resolver } from '../../clients/http/address-guard.ts';
import type { HttpClientOptions } from '../../clients/http/http.ts';
import { createPanelClient, type PanelClient } from '../../clients/panel/client.ts';
import { testConnection } from '../../clients/virtfusion.ts';
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { URL_SETTINGS } from '../../domain/settings.ts';
import {
  type ClientKeyFinding,
  keysProblem,
  type PanelFindings,
  type RightFinding,
  readPanelRights,
} from './panel-rights.ts';
import { environmentUrl, type KnownSettings, originOf, type PanelSecrets, secretsForPanel } from './secret-origins.ts';
import type { PanelName } from './setup.ts';

/** Maximum bytes of a panel's answer: one nest with all its eggs and their install scripts can have a megabyte. */
const TEST_BODY_BYTES = 4 * 1024 * 1024;

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
  /** Find out what the keys may read, too: that takes more requests. */
  rights?: boolean;
}

export interface ConnectionResult {
  success: boolean;
  /** Milliseconds; null when nothing was sent. */
  latency: number | null;
  /** Null when the panel does not say. */
  serverCount: number | null;
  error: string | null;
  /** What the key may read; absent where that was not asked. */
  rights?: RightFinding[];
  /** Absent like the rights; null without a client key. */
  clientKey?: ClientKeyFinding | null;
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
    const target = { url: panel.url, guard: guardOf(deps, panel), timeoutMs: deps.timeoutMs };
    if (panel.name === 'pterodactyl') return await testPterodactyl(target, { ...known, apiKey }, panel.rights === true);
    await testConnection({ url: panel.url, apiKey }, target);
    return { success: true, serverCount: null, latency: latency(), error: null };
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

/** A right of the keys that a sync needs is as much as the connection. */
function resultOf(findings: PanelFindings): ConnectionResult {
  const { latency, servers: serverCount, rights, clientKey } = findings;
  const error = keysProblem(findings) ?? null;
  return { success: error === null, latency, serverCount, error, rights, clientKey };
}

/** Part of the time limit that is spent on rights; what is not known then stays unknown, and the rest is answered. */
const SHARE = 0.8;

async function testPterodactyl(target: Target, secrets: TestSecrets, rights: boolean): Promise<ConnectionResult> {
  const { clientApiKey, cfAccessClientId, cfAccessClientSecret } = secrets;
  const client = createPanelClient({
    ...target,
    apiKey: secrets.apiKey,
    maxBodyBytes: TEST_BODY_BYTES,
    ...(clientApiKey === undefined ? {} : { clientApiKey }),
    ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
    ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
  });
  try {
    if (!rights) return await listOneServer(client);
    const timeoutMs = target.timeoutMs * SHARE;
    return resultOf(await readPanelRights(client, { clientKey: clientApiKey !== undefined, timeoutMs }));
  } finally {
    // Not awaited: the answer is known.
    client.close().catch(() => undefined);
  }
}

/** That needs the URL, the key and its most used right. */
async function listOneServer(client: PanelClient): Promise<ConnectionResult> {
  const begun = performance.now();
  const { pagination } = await client.list('/servers', { page: 1, perPage: 1 });
  const latency = Math.round(performance.now() - begun);
  return { success: true, latency, serverCount: pagination?.total ?? null, error: null };
}
