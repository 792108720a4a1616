/** The first-run set-up: how far it is, who may go on with it, and saving a step of it. */
import { withoutLogin } from '../../domain/web-address.ts';
import { systemAdministratorExists } from '../../store/accounts/administrators.ts';
import type { Db } from '../../store/db/db.ts';
import { readSetupWindow } from '../../store/settings/setup-window-store.ts';
import { type KnownSettings, urlOf } from './secret-origins.ts';
import type { Settings } from './settings.ts';

export const PANELS = ['pterodactyl', 'virtfusion'] as const;
export type PanelName = (typeof PANELS)[number];

export interface SetupDeps {
  db: Db;
  settings: Settings;
  config: { production: boolean };
}

/** Where a request for the set-up comes from. */
export interface SetupCaller {
  /** The request was made on this machine, whatever a proxy or the caller says. */
  local: boolean;
}

/**
 * Whether the set-up needs no sign-in: there is no system administrator, and it is within an hour of the installation's
 * first start or of `setup open`. Outside production, this machine itself has no time limit.
 */
export async function setupOpen(deps: Omit<SetupDeps, 'settings'>, caller: SetupCaller): Promise<boolean> {
  if (await systemAdministratorExists(deps.db)) return false;
  if (caller.local && !deps.config.production) return true;
  return (await readSetupWindow(deps.db)).open;
}

export interface SetupState {
  /** A panel has both its URL and its key. */
  isComplete: boolean;
  panels: Record<PanelName, boolean>;
  siteName: string | null;
  /** Addresses; null where the set-up needs a sign-in. */
  addresses: {
    siteUrl: string | null;
    faviconUrl: string | null;
    pterodactylUrl: string | null;
    virtfusionUrl: string | null;
  };
}

/** How far the set-up is, as this caller may see it. */
export async function readSetup(deps: SetupDeps, caller: SetupCaller): Promise<SetupState> {
  const [open, runtime, known] = await Promise.all([
    setupOpen(deps, caller),
    deps.settings.runtime(),
    deps.settings.known(),
  ]);
  const { values } = known.stored;
  const whileOpen = (value: string | undefined): string | null =>
    open && value !== undefined ? withoutLogin(value) : null;
  const panels = {
    pterodactyl: runtime.panelUrl !== undefined && runtime.panelApiKey !== undefined,
    virtfusion: runtime.virtfusionUrl !== undefined && runtime.virtfusionApiKey !== undefined,
  };
  return {
    // One panel is enough.
    isComplete: panels.pterodactyl || panels.virtfusion,
    panels,
    siteName: values.get('site_name')?.trim() || null,
    addresses: {
      siteUrl: whileOpen(values.get('site_url') ?? environmentSiteUrl(known)),
      faviconUrl: whileOpen(values.get('favicon_url')),
      pterodactylUrl: whileOpen(urlOf('pterodactyl', known)),
      virtfusionUrl: whileOpen(urlOf('virtfusion', known)),
    },
  };
}

/** The site's URL as the environment sets it. */
function environmentSiteUrl({ config }: KnownSettings): string | undefined {
  const value = config.environment.site_url?.value;
  return typeof value === 'string' ? value : undefined;
}
