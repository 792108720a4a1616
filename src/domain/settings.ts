/** Settings that live in the `config` table: their keys, which of them are secrets, how texts become values. */
import { parseWholeNumber } from './numbers.ts';

/** Keys whose values are encrypted at rest and masked in answers of the HTTP API. */
export const SENSITIVE_SETTINGS = [
  'pterodactyl_api_key',
  'pterodactyl_client_api_key',
  'virtfusion_api_key',
  'crowdin_personal_token',
  'github_token',
  'resend_api_key',
  'cf_access_client_secret',
  'scalar_api_key',
] as const;

/** Every key the backend reads or writes. */
export const SETTING_KEYS = [
  ...SENSITIVE_SETTINGS,
  'pterodactyl_url',
  'pterodactyl_api',
  'virtfusion_url',
  'virtfusion_api',
  'crowdin_project_id',
  'github_repositories',
  'registration_enabled',
  'maintenance_mode',
  'auto_sync_enabled',
  'auto_sync_interval',
  'auto_sync_mode',
  'auto_sync_budget_share',
  'sync_interval',
  'email_notifications_enabled',
  'email_from',
  'discord_notifications_enabled',
  'cache_timeout',
  'admin_email',
  'site_name',
  'site_url',
  'favicon_url',
  'sync_allow_mass_prune',
  'webhook_dispatch_all',
  'sync_batch_size',
  'cf_access_client_id',
] as const;
export type SettingKey = (typeof SETTING_KEYS)[number];

/** Servers of others that a setting is sent to. */
export type Upstream = 'pterodactyl' | 'virtfusion' | 'resend';

/** Settings that are sent to a server: each goes only to the origin that it was entered for. */
export const SENT_SETTINGS = {
  pterodactyl_api_key: 'pterodactyl',
  pterodactyl_client_api_key: 'pterodactyl',
  cf_access_client_id: 'pterodactyl',
  cf_access_client_secret: 'pterodactyl',
  virtfusion_api_key: 'virtfusion',
  resend_api_key: 'resend',
} as const satisfies Partial<Record<SettingKey, Upstream>>;
export type SentSetting = keyof typeof SENT_SETTINGS;
export const SENT_SETTING_KEYS = Object.keys(SENT_SETTINGS) as SentSetting[];

/** The setting that holds the URL of a server. That of Resend is a variable only. */
export const URL_SETTINGS = {
  pterodactyl: 'pterodactyl_url',
  virtfusion: 'virtfusion_url',
} as const satisfies Partial<Record<Upstream, SettingKey>>;

/**
 * Settings that carry secrets, email or links. A change of one decides where a secret or the link of an email goes, so it
 * needs a system administrator.
 */
const SYSTEM_SETTINGS: ReadonlySet<string> = new Set<SettingKey>([
  ...SENSITIVE_SETTINGS,
  'pterodactyl_url',
  'virtfusion_url',
  'cf_access_client_id',
  'email_from',
  'site_url',
]);
export const isSystemSetting = (key: string): boolean => SYSTEM_SETTINGS.has(key);

/** Switches, and what they are without a value. */
export const SWITCHES = {
  registration_enabled: true,
  maintenance_mode: false,
  auto_sync_enabled: false,
  email_notifications_enabled: true,
  discord_notifications_enabled: true,
  sync_allow_mass_prune: false,
  webhook_dispatch_all: true,
} as const satisfies Partial<Record<SettingKey, boolean>>;
export type Switch = keyof typeof SWITCHES;
export const isSwitch = (key: string): key is Switch => Object.hasOwn(SWITCHES, key);

/** The name of the site when none is stored. */
export const DEFAULT_SITE_NAME = 'NodeByte Hosting';

/** Fields whose name does not follow from the key. The interval is stored under both of its keys. */
const FIELD_NAMES: Partial<Record<SettingKey, string>> = {
  email_notifications_enabled: 'emailNotifications',
  discord_notifications_enabled: 'discordNotifications',
  auto_sync_interval: 'syncInterval',
};

/** The field of a request that holds a setting, such as `pterodactylUrl`. */
export const fieldOfSetting = (key: SettingKey): string =>
  FIELD_NAMES[key] ?? key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** Who entered a stored value: the set-up without sign-in, an administrator, another program; or it was there before the upgrade. */
export type EnteredBy = 'setup' | 'user' | 'elsewhere' | 'upgrade';

const sensitive: ReadonlySet<string> = new Set(SENSITIVE_SETTINGS);
export const isSensitiveSetting = (key: string): boolean => sensitive.has(key);

/** What a secret that is set looks like in the HTTP API: exactly 20 × U+2022. Sent back, it means "leave unchanged". */
export const SECRET_MASK = '•'.repeat(20);

/** `interval`: a full sync by schedule. `auto`: the live mirror, a full sync as often as a share of the panel's limit allows. */
export const AUTO_SYNC_MODES = ['interval', 'auto'] as const;
export type AutoSyncMode = (typeof AUTO_SYNC_MODES)[number];

/** When automatic syncs run. */
export interface AutoSync {
  enabled: boolean;
  mode: AutoSyncMode;
  /** Of mode `interval`; in mode `auto` the longest pause after failures. */
  intervalSeconds: number;
  /** Percent of the panel's requests per minute that mode `auto` spends at most. */
  budgetShare: number;
}

/** Whether the live mirror is to run. */
export const isLive = ({ enabled, mode }: AutoSync): boolean => enabled && mode === 'auto';

/** Minimum number of seconds between scheduled syncs; a setting below it is refused. */
export const MIN_SYNC_INTERVAL_SECONDS = 60;
/** The share of the live mirror in percent: what it may be, and without a value. */
export const BUDGET_SHARE = { min: 1, max: 90, fallback: 25 } as const;
/** Maximum age of a statistic in seconds when `cache_timeout` is not set. */
export const DEFAULT_CACHE_TIMEOUT_SECONDS = 60;

/** `true`, `1`, `yes` are true, any other text is false; absent or empty gives the fallback. */
export function readBoolean(text: string | undefined, fallback: boolean): boolean {
  const value = text?.trim().toLowerCase();
  return value === undefined || value === '' ? fallback : ['true', '1', 'yes'].includes(value);
}

/** A whole number of at least `min`: the digits at the start count. Anything else gives undefined. */
export function readInteger(text: string | undefined, min: number): number | undefined {
  return text === undefined ? undefined : parseWholeNumber(text, { min, ignoreRest: true });
}
