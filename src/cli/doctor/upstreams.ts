/** What `doctor` finds out about the panel. */
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import type { ClientKeyFinding, PanelFindings, RightFinding } from '../../services/settings/panel-rights.ts';
import { type Check, probeError } from './check.ts';

const PANEL_TIMEOUT_MS = 10_000;

/** Access to the panel, of the configuration or of the settings. */
export interface PanelAccess {
  url: string | undefined;
  apiKey: Secret | undefined;
  clientApiKey: Secret | undefined;
  cfAccessClientId: string | undefined;
  cfAccessClientSecret: Secret | undefined;
}

/**
 * Asks the panel what its keys may read.
 * @param environmentUrl the panel URL of the environment, whose address is not judged.
 */
export async function checkPanel(panel: PanelAccess, environmentUrl: string | undefined): Promise<Check[]> {
  const name = 'Panel';
  const { url, apiKey, clientApiKey, cfAccessClientId, cfAccessClientSecret } = panel;
  if (url === undefined || apiKey === undefined) {
    const advice = 'set PTERODACTYL_URL and PTERODACTYL_API_KEY, here or in the settings; `npm run demo` needs neither';
    return [{ name, state: 'warning', detail: 'not configured', advice }];
  }
  const { createPanelClient } = await import('../../clients/panel/client.ts');
  const { guardFor } = await import('../../clients/http/address-guard.ts');
  const { readPanelRights } = await import('../../services/settings/panel-rights.ts');
  const client = createPanelClient({
    url,
    apiKey,
    guard: guardFor(url, environmentUrl),
    timeoutMs: PANEL_TIMEOUT_MS,
    ...(clientApiKey === undefined ? {} : { clientApiKey }),
    ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
    ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
  });
  try {
    const request = { clientKey: clientApiKey !== undefined, timeoutMs: PANEL_TIMEOUT_MS };
    return findings(url, await readPanelRights(client, request));
  } catch (error) {
    return [{ name, state: 'failed', detail: `${url}: ${probeError(error)}`, advice: panelAdvice(error) }];
  } finally {
    client.close().catch(() => undefined);
  }
}

function findings(url: string, { servers, limit, rights, clientKey }: PanelFindings): Check[] {
  const allowed = limit === null ? 'no throttle headers' : `${limit} requests per minute`;
  const counted = servers === null ? '' : `${servers} servers, `;
  return [
    { name: 'Panel', state: 'ok', detail: `${url}, ${counted}${allowed}` },
    checkRights(rights),
    ...(clientKey === null ? [] : [checkClientKey(clientKey)]),
  ];
}

/** Each right that lacks is named, with what it is for. */
function checkRights(rights: readonly RightFinding[]): Check {
  const name = 'Panel rights';
  const missing = rights.filter(({ state }) => state === 'missing');
  const unknown = rights.filter(({ state }) => state === 'unknown');
  const detail = [
    ...missing.map(({ label, purpose, needed }) => `${label} is missing${needed ? '' : ' (optional)'}: ${purpose}`),
    ...unknown.map(({ label, reason }) => `${label} is not known: ${reason}`),
  ].join('; ');
  if (missing.length === 0) {
    return {
      name,
      state: 'ok',
      detail: detail || `the API key may read ${rights.map(({ label }) => label).join(', ')}`,
    };
  }
  const advice = `make a key in the panel (Admin, Application API) with "Read" for ${missing.map(({ label }) => label).join(', ')}`;
  return { name, state: missing.some(({ needed }) => needed) ? 'failed' : 'warning', detail, advice };
}

function checkClientKey({ state, message }: ClientKeyFinding): Check {
  const name = 'Panel client key';
  if (state === 'administrator') return { name, state: 'ok', detail: "an administrator's" };
  const advice =
    'make it in the panel as an administrator (Account, API Credentials), or leave PTERODACTYL_CLIENT_API_KEY empty';
  return { name, state: 'warning', detail: message ?? state, ...(state === 'unknown' ? {} : { advice }) };
}

/** What to do; the detail says what happened. */
function panelAdvice(error: unknown): string {
  if (isAppError(error, 'PANEL_AUTH'))
    return 'the key must be an application API key with the rights of docs/guide/sync.md';
  if (isAppError(error, 'ADDRESS_REFUSED')) return 'correct the panel URL in the settings, or set PTERODACTYL_URL';
  if (isAppError(error, 'PANEL_UNAVAILABLE') && error.meta?.['sender'] !== undefined)
    return 'docs/guide/sync.md, "When the panel cannot be read", says what to do';
  return 'check PTERODACTYL_URL and that the panel runs';
}
