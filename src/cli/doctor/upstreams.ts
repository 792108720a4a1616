/** What `doctor` finds out about the panel. */
import { isAppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import { type Check, probeError } from './check.ts';

const PANEL_TIMEOUT_MS = 10_000;

/** Access to the panel, of the configuration or of the settings. */
export interface PanelAccess {
  url: string | undefined;
  apiKey: Secret | undefined;
  cfAccessClientId: string | undefined;
  cfAccessClientSecret: Secret | undefined;
}

/**
 * Reads one location from the panel.
 * @param environmentUrl the panel URL of the environment, whose address is not judged.
 */
export async function checkPanel(panel: PanelAccess, environmentUrl: string | undefined): Promise<Check> {
  const name = 'Panel';
  const { url, apiKey, cfAccessClientId, cfAccessClientSecret } = panel;
  if (url === undefined || apiKey === undefined) {
    return {
      name,
      state: 'warning',
      detail: 'not configured',
      advice: 'set PTERODACTYL_URL and PTERODACTYL_API_KEY, here or in the settings; `npm run demo` needs neither',
    };
  }
  const { createPanelClient } = await import('../../clients/panel/client.ts');
  const { guardFor } = await import('../../clients/http/address-guard.ts');
  const client = createPanelClient({
    url,
    apiKey,
    guard: guardFor(url, environmentUrl),
    timeoutMs: PANEL_TIMEOUT_MS,
    ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
    ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
  });
  try {
    const page = await client.list('/locations', { perPage: 1 });
    const limit =
      page.throttle.limit === undefined ? 'no throttle headers' : `${page.throttle.limit} requests per minute`;
    return { name, state: 'ok', detail: `${url}, ${page.pagination?.total ?? page.items.length} locations, ${limit}` };
  } catch (error) {
    return { name, state: 'failed', detail: `${url}: ${probeError(error)}`, advice: panelAdvice(error) };
  } finally {
    client.close().catch(() => undefined);
  }
}

/** What to do; the detail says what happened. */
function panelAdvice(error: unknown): string {
  if (isAppError(error, 'PANEL_AUTH')) return 'the key must be an application API key with the right to read locations';
  if (isAppError(error, 'ADDRESS_REFUSED')) return 'correct the panel URL in the settings, or set PTERODACTYL_URL';
  if (isAppError(error, 'PANEL_UNAVAILABLE') && error.meta?.['sender'] !== undefined)
    return 'docs/guide/sync.md, "When the panel cannot be read", says what to do';
  return 'check PTERODACTYL_URL and that the panel runs';
}
