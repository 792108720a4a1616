/** How far the first set-up has come, and whether it may still be done without signing in. */
import { Secret } from '../domain/secret.ts';
import { systemAdministratorExists } from '../store/setup-store.ts';
import type { Services } from './context.ts';

type SetupDeps = Pick<Services, 'db' | 'settings' | 'config'>;

/** What is known of a panel, from the database or else the environment. */
export interface ConfiguredPanel {
  /** Without a trailing slash. */
  url?: string;
  apiKey?: Secret;
}

export interface ConfiguredPanels {
  pterodactyl: ConfiguredPanel;
  virtfusion: ConfiguredPanel;
}

/** A panel can be used when both are there. */
export const isConfigured = ({ url, apiKey }: ConfiguredPanel): boolean => url !== undefined && apiKey !== undefined;

/** One configured panel is enough. */
export const isComplete = (panels: ConfiguredPanels): boolean =>
  isConfigured(panels.pterodactyl) || isConfigured(panels.virtfusion);

/** Both panels as processes would use them now. A key that cannot be decrypted counts as not set. */
export async function configuredPanels({ settings, config }: SetupDeps): Promise<ConfiguredPanels> {
  const [runtime, { values, unreadable }] = await Promise.all([
    settings.runtime(),
    settings.stored(['virtfusion_url', 'virtfusion_api_key']),
  ]);
  const url = values.get('virtfusion_url')?.trim().replace(/\/+$/, '') || config.virtfusion.url;
  const storedKey = values.get('virtfusion_api_key');
  const fallback = unreadable.includes('virtfusion_api_key') ? undefined : config.virtfusion.apiKey;
  const apiKey = storedKey === undefined ? fallback : new Secret(storedKey);
  return {
    pterodactyl: panel(runtime.panelUrl, runtime.panelApiKey),
    virtfusion: panel(url, apiKey),
  };
}

const panel = (url: string | undefined, apiKey: Secret | undefined): ConfiguredPanel => ({
  ...(url === undefined ? {} : { url }),
  ...(apiKey === undefined ? {} : { apiKey }),
});

/** Whether set-up may be done without signing in: nobody administers the system yet, and no panel is configured. */
export async function setupOpen(deps: SetupDeps): Promise<boolean> {
  if (await systemAdministratorExists(deps.db)) return false;
  return !isComplete(await configuredPanels(deps));
}
