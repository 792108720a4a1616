/** The settings that processes act on: a non-empty value of the database wins over the environment, that over a default. */
import { parseSender, type Sender } from '../../domain/email-sender.ts';
import type { Secret } from '../../domain/secret.ts';
import {
  AUTO_SYNC_MODES,
  type AutoSync,
  BUDGET_SHARE,
  DEFAULT_CACHE_TIMEOUT_SECONDS,
  MIN_SYNC_INTERVAL_SECONDS,
  readBoolean,
  readInteger,
  type SentSetting,
  type SettingKey,
  SWITCHES,
} from '../../domain/settings.ts';
import {
  type KnownSettings,
  type SettingsConfig,
  type StoredSettings,
  secretFor,
  secretsForPanel,
  urlOf,
  withheldSecrets,
} from './secret-origins.ts';

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
  /** Secrets that are set, but were entered for another origin than that of the present URL. They are not sent. */
  withheld: SentSetting[];
}

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
  'auto_sync_mode',
  'auto_sync_budget_share',
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
  const known = { config, stored };
  const text: TextOf = (key) => values.get(key)?.trim() || undefined;
  return {
    ...panelSettings(known),
    autoSync: autoSyncOf(config, values),
    email: {
      ...present({ resendApiKey: secretFor('resend_api_key', urlOf('resend', known), known) }),
      notifications: readBoolean(values.get('email_notifications_enabled'), SWITCHES.email_notifications_enabled),
      from: senderOf(config, text),
      siteUrl: siteUrlOf(config, text),
    },
    allowMassPrune: readBoolean(values.get('sync_allow_mass_prune'), SWITCHES.sync_allow_mass_prune),
    cacheTimeoutSeconds: readInteger(values.get('cache_timeout'), 0) ?? DEFAULT_CACHE_TIMEOUT_SECONDS,
    unreadable,
    withheld: withheldSecrets(known),
  };
}

/** A stored text; undefined without one. */
type TextOf = (key: SettingKey) => string | undefined;

/** URL and secrets of both panels. */
function panelSettings(known: KnownSettings) {
  const [panelUrl, virtfusionUrl] = [urlOf('pterodactyl', known), urlOf('virtfusion', known)];
  const panel = panelUrl === undefined ? {} : secretsForPanel('pterodactyl', panelUrl, known);
  const virtfusion = virtfusionUrl === undefined ? {} : secretsForPanel('virtfusion', virtfusionUrl, known);
  return present({
    panelUrl,
    panelApiKey: panel.apiKey,
    panelClientApiKey: panel.clientApiKey,
    cfAccessClientId: panel.cfAccessClientId,
    cfAccessClientSecret: panel.cfAccessClientSecret,
    virtfusionUrl,
    virtfusionApiKey: virtfusion.apiKey,
  });
}

/** The same object without its undefined values. */
function present<T extends Record<string, unknown>>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

function autoSyncOf(config: SettingsConfig, values: StoredSettings['values']): AutoSync {
  const intervalSeconds =
    readInteger(values.get('auto_sync_interval'), 1) ??
    readInteger(values.get('sync_interval'), 1) ??
    config.autoSync.intervalSeconds;
  const share = readInteger(values.get('auto_sync_budget_share'), BUDGET_SHARE.min) ?? config.autoSync.budgetShare;
  const mode = values.get('auto_sync_mode')?.trim();
  return {
    enabled: readBoolean(values.get('auto_sync_enabled'), config.autoSync.enabled),
    mode: AUTO_SYNC_MODES.find((known) => known === mode) ?? config.autoSync.mode,
    budgetShare: Math.min(share, BUDGET_SHARE.max),
    // A row of the existing service may hold less than the minimum: then the sync runs as often as is allowed.
    intervalSeconds: Math.max(intervalSeconds, MIN_SYNC_INTERVAL_SECONDS),
  };
}

/** A stored text that is no sender does not give way to another sender: email waits until a person corrects it. */
function senderOf(config: SettingsConfig, text: TextOf): Sender | undefined {
  const from = text('email_from');
  return from === undefined ? config.email.from : parseSender(from);
}

/** A link in an email must open, so a stored text that is no web address does not count. */
function siteUrlOf(config: SettingsConfig, text: TextOf): string {
  const siteUrl = text('site_url')?.replace(/\/+$/, '');
  return siteUrl !== undefined && /^https?:\/\/\S+$/.test(siteUrl) && URL.canParse(siteUrl)
    ? siteUrl
    : config.email.siteUrl;
}
