/** The settings that processes act on: a non-empty value of the database wins over the environment, that over a default. */
import type { Config } from '../../config.ts';
import { parseSender, type Sender } from '../../domain/email-sender.ts';
import { Secret } from '../../domain/secret.ts';
import {
  type AutoSync,
  DEFAULT_CACHE_TIMEOUT_SECONDS,
  MIN_SYNC_INTERVAL_SECONDS,
  readBoolean,
  readInteger,
  type SettingKey,
} from '../../domain/settings.ts';

export interface RuntimeSettings {
  panelUrl?: string;
  panelApiKey?: Secret;
  panelClientApiKey?: Secret;
  cfAccessClientId?: string;
  cfAccessClientSecret?: Secret;
  virtfusionUrl?: string;
  virtfusionApiKey?: Secret;
  autoSync: AutoSync;
  allowMassPrune: boolean;
  email: {
    resendApiKey?: Secret;
    /** Undefined: the stored setting is not a sender. */
    from: Sender | undefined;
    /** Whether emails that no user asked for (sync-complete) are sent. */
    notifications: boolean;
    /** Origin of the site that links in emails open, without a trailing slash. */
    siteUrl: string;
  };
  /** Maximum age of a statistic in seconds; 0 = never cached. */
  cacheTimeoutSeconds: number;
  /** Keys whose stored value was encrypted with an unknown key. They count as not set, never as clear text. */
  unreadable: string[];
}

/** Clear values by key; keys without a row or with an empty value are absent. */
export interface StoredSettings {
  values: ReadonlyMap<string, string>;
  unreadable: string[];
}

/** Part of the environment that settings can override. */
export type SettingsConfig = Pick<Config, 'panel' | 'virtfusion' | 'autoSync' | 'email'>;

/** Every key that {@link resolveSettings} reads. */
export const RUNTIME_KEYS = [
  'pterodactyl_url',
  'pterodactyl_api_key',
  'pterodactyl_client_api_key',
  'cf_access_client_id',
  'cf_access_client_secret',
  'virtfusion_url',
  'virtfusion_api_key',
  'auto_sync_enabled',
  'auto_sync_interval',
  'sync_interval',
  'sync_allow_mass_prune',
  'cache_timeout',
  'resend_api_key',
  'email_from',
  'email_notifications_enabled',
  'site_url',
] as const satisfies readonly SettingKey[];

/** Applies the precedence to stored values. */
export function resolveSettings(config: SettingsConfig, stored: StoredSettings): RuntimeSettings {
  const { values, unreadable } = stored;
  const { panel } = config;
  const source: Source = {
    text: (key, fallback) => values.get(key)?.trim() || fallback,
    secret(key, fallback) {
      const value = values.get(key);
      if (value !== undefined) return new Secret(value);
      return unreadable.includes(key) ? undefined : fallback;
    },
  };
  return {
    ...present({
      panelUrl: withoutSlash(source.text('pterodactyl_url', panel.url)),
      panelApiKey: source.secret('pterodactyl_api_key', panel.apiKey),
      panelClientApiKey: source.secret('pterodactyl_client_api_key', panel.clientApiKey),
      cfAccessClientId: source.text('cf_access_client_id', panel.cfAccessClientId),
      cfAccessClientSecret: source.secret('cf_access_client_secret', panel.cfAccessClientSecret),
      virtfusionUrl: withoutSlash(source.text('virtfusion_url', config.virtfusion.url)),
      virtfusionApiKey: source.secret('virtfusion_api_key', config.virtfusion.apiKey),
    }),
    autoSync: autoSyncOf(config, values),
    email: {
      ...present({ resendApiKey: source.secret('resend_api_key', config.email.resendApiKey) }),
      notifications: readBoolean(values.get('email_notifications_enabled'), true),
      from: senderOf(config, source),
      siteUrl: siteUrlOf(config, source),
    },
    allowMassPrune: readBoolean(values.get('sync_allow_mass_prune'), false),
    cacheTimeoutSeconds: readInteger(values.get('cache_timeout'), 0) ?? DEFAULT_CACHE_TIMEOUT_SECONDS,
    unreadable,
  };
}

interface Source {
  text(key: SettingKey, fallback: string | undefined): string | undefined;
  secret(key: SettingKey, fallback: Secret | undefined): Secret | undefined;
}

/** The same object without its undefined values. */
function present<T extends Record<string, unknown>>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

const withoutSlash = (url: string | undefined): string | undefined => url?.replace(/\/+$/, '');

function autoSyncOf(config: SettingsConfig, values: StoredSettings['values']): AutoSync {
  const intervalSeconds =
    readInteger(values.get('auto_sync_interval'), 1) ??
    readInteger(values.get('sync_interval'), 1) ??
    config.autoSync.intervalSeconds;
  return {
    enabled: readBoolean(values.get('auto_sync_enabled'), config.autoSync.enabled),
    // A row of the existing service may hold less than the minimum: then the sync runs as often as is allowed.
    intervalSeconds: Math.max(intervalSeconds, MIN_SYNC_INTERVAL_SECONDS),
  };
}

/** A stored text that is no sender does not give way to another sender: email waits until a person corrects it. */
function senderOf(config: SettingsConfig, source: Source): Sender | undefined {
  const text = source.text('email_from', undefined);
  return text === undefined ? config.email.from : parseSender(text);
}

/** A link in an email must open, so a stored text that is no web address does not count. */
function siteUrlOf(config: SettingsConfig, source: Source): string {
  const siteUrl = withoutSlash(source.text('site_url', undefined));
  return siteUrl !== undefined && /^https?:\/\/\S+$/.test(siteUrl) ? siteUrl : config.email.siteUrl;
}
