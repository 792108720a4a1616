/** How far the first set-up has come, and whether it may still be done without signing in. */

import type { Secret } from '../../../domain/secret.ts';
import { systemAdministratorExists } from '../../../store/accounts/administrators.ts';
import type { Services } from '../../context.ts';

type SetupDeps = Pick<Services, 'db' | 'settings'>;

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
export async function configuredPanels({ settings }: Pick<SetupDeps, 'settings'>): Promise<ConfiguredPanels> {
  const runtime = await settings.runtime();
  return {
    pterodactyl: panel(runtime.panelUrl, runtime.panelApiKey),
    virtfusion: panel(runtime.virtfusionUrl, runtime.virtfusionApiKey),
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
