/** The value of each setting that counts now, as a text: of the database, else of the environment, else the default. */
import { senderText } from '../../domain/email-sender.ts';
import { readRepositories, repositoriesText } from '../../domain/repositories.ts';
import { Secret } from '../../domain/secret.ts';
import {
  DEFAULT_SITE_NAME,
  isSwitch,
  readBoolean,
  SETTING_KEYS,
  type SettingKey,
  SWITCHES,
} from '../../domain/settings.ts';
import { resolveSettings } from './runtime-settings.ts';
import { type KnownSettings, urlOf } from './secret-origins.ts';

export type ValuesInForce = Readonly<Record<SettingKey, string>>;

/** All values. Secrets are in clear: they must not leave the process. */
export function valuesInForce(known: KnownSettings): ValuesInForce {
  const ofProcesses = valuesOfProcesses(known);
  const values = SETTING_KEYS.map((key) => [key, ofProcesses[key] ?? setText(key, known) ?? ''] as const);
  return Object.fromEntries(values) as Record<SettingKey, string>;
}

/** Settings that a process reads in its own way: what it makes of them is what counts. */
function valuesOfProcesses(known: KnownSettings): Partial<Record<SettingKey, string>> {
  const { config, stored } = known;
  const runtime = resolveSettings(config, stored);
  const { autoSync } = runtime;
  const interval = String(autoSync.intervalSeconds);
  const { from } = config.email;
  return {
    ...switchesOf(known),
    auto_sync_enabled: String(autoSync.enabled),
    auto_sync_mode: autoSync.mode,
    auto_sync_budget_share: String(autoSync.budgetShare),
    auto_sync_interval: interval,
    sync_interval: interval,
    cache_timeout: String(runtime.cacheTimeoutSeconds),
    pterodactyl_url: urlOf('pterodactyl', known) ?? '',
    virtfusion_url: urlOf('virtfusion', known) ?? '',
    site_url: runtime.email.siteUrl,
    // A stored text that is no sender counts, too: email waits until it is corrected.
    email_from: setText('email_from', known) ?? (from === undefined ? '' : senderText(from)),
    site_name: setText('site_name', known) ?? DEFAULT_SITE_NAME,
    github_repositories: repositoriesText(readRepositories(stored.values.get('github_repositories'))),
  };
}

function switchesOf({ stored }: KnownSettings): Partial<Record<SettingKey, string>> {
  const switches = SETTING_KEYS.filter(isSwitch);
  return Object.fromEntries(switches.map((key) => [key, String(readBoolean(stored.values.get(key), SWITCHES[key]))]));
}

/** The text of the database, else of the environment. */
export function setText(key: SettingKey, { config, stored }: KnownSettings): string | undefined {
  const environment = config.environment[key]?.value;
  const text = environment instanceof Secret ? environment.reveal() : environment;
  return stored.values.get(key)?.trim() || text || undefined;
}

/** Whether there is a value, also one that cannot be decrypted. */
export const isSet = (key: SettingKey, known: KnownSettings): boolean =>
  known.stored.unreadable.includes(key) || setText(key, known) !== undefined;
