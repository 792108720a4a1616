/** The first-run set-up: how far it is, who may go on with it, and saving a step of it. */
import { AppError } from '../../domain/errors.ts';
import type { Secret } from '../../domain/secret.ts';
import type { SettingKey } from '../../domain/settings.ts';
import { systemAdministratorExists } from '../../store/accounts/administrators.ts';
import type { Db } from '../../store/db/db.ts';
import type { Settings } from './settings.ts';

export interface SetupDeps {
  db: Db;
  settings: Settings;
}

/** A panel, from the database or else the environment. */
export interface ConfiguredPanel {
  /** Without a trailing slash. */
  url?: string;
  apiKey?: Secret;
}

export const PANELS = ['pterodactyl', 'virtfusion'] as const;
export type PanelName = (typeof PANELS)[number];
export type ConfiguredPanels = Record<PanelName, ConfiguredPanel>;

/** A panel that can be used has both. */
export const isConfigured = ({ url, apiKey }: ConfiguredPanel): boolean => url !== undefined && apiKey !== undefined;

/** One configured panel is enough. */
const isComplete = (panels: ConfiguredPanels): boolean => PANELS.some((name) => isConfigured(panels[name]));

/** Both panels as processes would use them now. A key that cannot be decrypted counts as not set. */
export async function configuredPanels({
  settings,
}: {
  settings: Pick<Settings, 'runtime'>;
}): Promise<ConfiguredPanels> {
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

/** Whether set-up may be done without signing in: there is no system administrator, and no panel is configured. */
export async function setupOpen(deps: SetupDeps): Promise<boolean> {
  if (await systemAdministratorExists(deps.db)) return false;
  return !isComplete(await configuredPanels(deps));
}

export interface SetupState {
  isComplete: boolean;
  panels: ConfiguredPanels;
  siteName: string | null;
  /** Addresses; null once the set-up needs a sign-in. */
  addresses: {
    siteUrl: string | null;
    faviconUrl: string | null;
    pterodactylUrl: string | null;
    virtfusionUrl: string | null;
  };
}

/** How far the set-up is. */
export async function readSetup(deps: SetupDeps): Promise<SetupState> {
  const [administered, panels, { values }] = await Promise.all([
    systemAdministratorExists(deps.db),
    configuredPanels(deps),
    deps.settings.stored(['site_name', 'site_url', 'favicon_url']),
  ]);
  const complete = isComplete(panels);
  const open = !administered && !complete;
  const whileOpen = (value: string | undefined): string | null => (open ? (value ?? null) : null);
  return {
    isComplete: complete,
    panels,
    siteName: values.get('site_name')?.trim() || null,
    addresses: {
      siteUrl: whileOpen(values.get('site_url')),
      faviconUrl: whileOpen(values.get('favicon_url')),
      pterodactylUrl: whileOpen(panels.pterodactyl.url),
      virtfusionUrl: whileOpen(panels.virtfusion.url),
    },
  };
}

/**
 * Saves a step of the set-up.
 * @param values texts to store; '' clears one.
 * @param options `signedIn`: an administrator saves.
 * @throws {AppError} VALIDATION_ERROR.
 */
export async function saveSetup(
  deps: SetupDeps,
  values: Partial<Record<SettingKey, string>>,
  options: { signedIn: boolean },
): Promise<void> {
  if (!options.signedIn) {
    const known = await configuredPanels(deps);
    for (const name of PANELS) refuseUrlWithoutKey(values, name, known[name]);
  }
  await deps.settings.save(values);
}

/**
 * A stranger who stores a new URL beside a stored key would have the key sent to that URL.
 * @throws {AppError} VALIDATION_ERROR that names the field of the key.
 */
function refuseUrlWithoutKey(
  values: Partial<Record<SettingKey, string>>,
  name: PanelName,
  known: ConfiguredPanel,
): void {
  const url = values[`${name}_url`];
  if (url === undefined || url === '' || values[`${name}_api_key`] !== undefined) return;
  if (known.apiKey === undefined || sameOrigin(url, known.url)) return;
  throw new AppError('VALIDATION_ERROR', {
    publicMessage: `${name}ApiKey: a new URL needs its API key`,
    details: [{ path: `body.${name}ApiKey`, message: 'a new URL needs its API key' }],
  });
}

/** Whether two URLs have one origin. */
export const sameOrigin = (a: string | undefined, b: string | undefined): boolean =>
  a !== undefined && b !== undefined && URL.canParse(a) && URL.canParse(b) && new URL(a).origin === new URL(b).origin;
