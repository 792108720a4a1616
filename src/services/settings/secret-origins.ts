/**
 * Which secret may be sent where. A secret goes only to the origin that it was entered for, so a change of the URL alone
 * never makes it leave:
 * - A secret of the database goes to the origin of the URL that was stored or entered together with it.
 * - A secret of the environment goes to the origin of the environment's URL. It also goes on to a URL of the database from
 *   before this rule, as long as that URL is stored.
 */
import { createHash } from 'node:crypto';
import type { Config } from '../../config.ts';
import { Secret } from '../../domain/secret.ts';
import {
  SENT_SETTING_KEYS,
  SENT_SETTINGS,
  type SentSetting,
  type Upstream,
  URL_SETTINGS,
} from '../../domain/settings.ts';
import type { SettingEntry } from '../../store/settings/config-store.ts';
/** Clear values by key; keys without a row or with an empty value are absent. */
export interface StoredSettings {
  values: ReadonlyMap<string, string>;
  unreadable: string[];
  /** How the values were entered. For a secret the entry is about the stored value. */
  entries: ReadonlyMap<string, SettingEntry>;
}

/** Part of the environment that settings can override. */
export type SettingsConfig = Pick<Config, 'panel' | 'virtfusion' | 'autoSync' | 'email' | 'environment'>;

/** The stored settings, and those of the environment. */
export interface KnownSettings {
  config: SettingsConfig;
  stored: StoredSettings;
}

/** Origin of a URL; undefined for a text that is none. */
export function originOf(url: string | undefined): string | undefined {
  const parsed = URL.parse(url?.trim() ?? '');
  return parsed === null || parsed.origin === 'null' ? undefined : parsed.origin;
}

/** The URL of a server: of the database, else of the environment. Without a trailing slash. */
export function urlOf(upstream: Upstream, { config, stored }: KnownSettings): string | undefined {
  if (upstream === 'resend') return config.email.resendBaseUrl;
  const url = stored.values.get(URL_SETTINGS[upstream])?.trim() || environmentUrl(upstream, config);
  return url?.replace(/\/+$/, '');
}

/** The URL that the environment sets for a server. */
export const environmentUrl = (upstream: Upstream, config: SettingsConfig): string | undefined =>
  ({ pterodactyl: config.panel.url, virtfusion: config.virtfusion.url, resend: config.email.resendBaseUrl })[upstream];

const FROM_ENVIRONMENT: Record<SentSetting, (config: SettingsConfig) => Secret | string | undefined> = {
  pterodactyl_api_key: ({ panel }) => panel.apiKey,
  pterodactyl_client_api_key: ({ panel }) => panel.clientApiKey,
  cf_access_client_id: ({ panel }) => panel.cfAccessClientId,
  cf_access_client_secret: ({ panel }) => panel.cfAccessClientSecret,
  virtfusion_api_key: ({ virtfusion }) => virtfusion.apiKey,
  resend_api_key: ({ email }) => email.resendApiKey,
};

/** The secret that may be sent to this URL: the stored one, else that of the environment; undefined when neither may. */
export function secretFor(key: SentSetting, url: string | undefined, known: KnownSettings): Secret | undefined {
  const { values, unreadable, entries } = known.stored;
  const origin = originOf(url);
  // An unreadable secret is one that somebody entered: that of the environment does not take its place unseen.
  if (origin === undefined || unreadable.includes(key)) return undefined;
  const stored = values.get(key);
  if (stored !== undefined && entries.get(key)?.origin === origin) return new Secret(stored);
  if (!environmentOrigins(SENT_SETTINGS[key], known).includes(origin)) return undefined;
  const value = FROM_ENVIRONMENT[key](known.config);
  return typeof value === 'string' ? new Secret(value) : value;
}

/** Origins to which secrets of the environment go. */
function environmentOrigins(upstream: Upstream, known: KnownSettings): (string | undefined)[] {
  return [originOf(environmentUrl(upstream, known.config)), originOfUpgrade(upstream, known)];
}

/** The origin of a URL that was stored before secrets were bound to origins, while it still is. */
export function originOfUpgrade(upstream: Upstream, { stored }: KnownSettings): string | undefined {
  if (upstream === 'resend') return undefined;
  const entry = stored.entries.get(URL_SETTINGS[upstream]);
  const present = originOf(stored.values.get(URL_SETTINGS[upstream]));
  return entry?.enteredBy === 'upgrade' && entry.origin === present ? present : undefined;
}

/** Whether there is such a secret, wherever it may be sent. */
export const isKnown = (key: SentSetting, { config, stored }: KnownSettings): boolean =>
  stored.values.has(key) || FROM_ENVIRONMENT[key](config) !== undefined;

/** Secrets that are set and are not sent to the present URL, because they were entered for another origin. */
export function withheldSecrets(known: KnownSettings): SentSetting[] {
  return SENT_SETTING_KEYS.filter((key) => {
    const url = urlOf(SENT_SETTINGS[key], known);
    if (url === undefined || known.stored.unreadable.includes(key)) return false;
    return isKnown(key, known) && secretFor(key, url, known) === undefined;
  });
}

/** What is sent to a panel beside the request. */
export interface PanelSecrets {
  apiKey?: Secret;
  clientApiKey?: Secret;
  cfAccessClientId?: string;
  cfAccessClientSecret?: Secret;
}

/** The secrets that may be sent to this URL of a panel. The two of Cloudflare Access go together or not at all. */
export function secretsForPanel(name: 'pterodactyl' | 'virtfusion', url: string, known: KnownSettings): PanelSecrets {
  const secret = (key: SentSetting): Secret | undefined => secretFor(key, url, known);
  if (name === 'virtfusion') {
    const apiKey = secret('virtfusion_api_key');
    return apiKey === undefined ? {} : { apiKey };
  }
  const apiKey = secret('pterodactyl_api_key');
  const clientApiKey = secret('pterodactyl_client_api_key');
  const id = secret('cf_access_client_id');
  const cfAccessClientSecret = secret('cf_access_client_secret');
  return {
    ...(apiKey === undefined ? {} : { apiKey }),
    ...(clientApiKey === undefined ? {} : { clientApiKey }),
    ...(id === undefined || cfAccessClientSecret === undefined
      ? {}
      : { cfAccessClientId: id.reveal(), cfAccessClientSecret }),
  };
}

/** Tells one secret from another without holding it. */
export const fingerprintOf = (key: string, value: string): string =>
  createHash('sha256').update(`${key}\n${value}`).digest('hex');

/** The entry of a secret that is stored now: it belongs to the URL that is stored, or else configured, at the same time. */
export const entryOfSecret = (
  key: SentSetting,
  value: string,
  enteredBy: SettingEntry['enteredBy'],
  known: KnownSettings,
): SettingEntry => ({
  key,
  enteredBy,
  origin: originOf(urlOf(SENT_SETTINGS[key], known)) ?? '',
  fingerprint: fingerprintOf(key, value),
});
