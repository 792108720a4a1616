/** The settings page of administrators: the values in force that it shows, and saving it. A page that is saved as it was loaded changes nothing. */
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { distinct, readRepositories, repositoriesText } from '../../domain/repositories.ts';
import { AUTO_SYNC_MODES, type AutoSyncMode, SECRET_MASK, type SettingKey } from '../../domain/settings.ts';
import { withoutLogin } from '../../domain/web-address.ts';
import { type AutoSyncDeps, applySchedule } from './auto-sync.ts';
import { changeSettings, type SettingsEditor } from './change-settings.ts';
import type { KnownSettings } from './secret-origins.ts';
import type { SettingValues } from './settings.ts';
import { isSet, type ValuesInForce, valuesInForce } from './values-in-force.ts';

/** Texts of the page by their field. Those of the second group came later: the web site does not know them. */
const SITE_TEXTS = {
  pterodactylUrl: 'pterodactyl_url',
  pterodactylApi: 'pterodactyl_api',
  virtfusionUrl: 'virtfusion_url',
  virtfusionApi: 'virtfusion_api',
  crowdinProjectId: 'crowdin_project_id',
  adminEmail: 'admin_email',
  siteName: 'site_name',
  siteUrl: 'site_url',
} as const satisfies Record<string, SettingKey>;
export const TEXT_FIELDS = {
  ...SITE_TEXTS,
  emailFrom: 'email_from',
  faviconUrl: 'favicon_url',
  cfAccessClientId: 'cf_access_client_id',
} as const satisfies Record<string, SettingKey>;

/** Secrets, in the order of `sensitiveFields`. */
export const SECRET_FIELDS = {
  pterodactylApiKey: 'pterodactyl_api_key',
  pterodactylClientApiKey: 'pterodactyl_client_api_key',
  virtfusionApiKey: 'virtfusion_api_key',
  crowdinPersonalToken: 'crowdin_personal_token',
  githubToken: 'github_token',
  resendApiKey: 'resend_api_key',
  cfAccessClientSecret: 'cf_access_client_secret',
  scalarApiKey: 'scalar_api_key',
} as const satisfies Record<string, SettingKey>;
export const SENSITIVE_FIELDS = Object.keys(SECRET_FIELDS) as (keyof typeof SECRET_FIELDS)[];

const SITE_SWITCHES = {
  registrationEnabled: 'registration_enabled',
  maintenanceMode: 'maintenance_mode',
  autoSyncEnabled: 'auto_sync_enabled',
  emailNotifications: 'email_notifications_enabled',
  discordNotifications: 'discord_notifications_enabled',
} as const satisfies Record<string, SettingKey>;
export const SWITCH_FIELDS = {
  ...SITE_SWITCHES,
  syncAllowMassPrune: 'sync_allow_mass_prune',
  webhookDispatchAll: 'webhook_dispatch_all',
} as const satisfies Record<string, SettingKey>;

export const NUMBER_FIELDS = {
  cacheTimeout: 'cache_timeout',
  syncInterval: 'auto_sync_interval',
  autoSyncBudgetShare: 'auto_sync_budget_share',
} as const satisfies Record<string, SettingKey>;

/** A word of a list. It has a value on a page that could not load the settings, too, so it is no text of the blank form. */
const CHOICE_FIELDS = { autoSyncMode: 'auto_sync_mode' } as const satisfies Record<string, SettingKey>;

/** What the page shows. Secrets are the mask, or '' where none is set. */
export type ShownSettings = Record<keyof typeof TEXT_FIELDS | keyof typeof SECRET_FIELDS, string> &
  Record<keyof typeof SWITCH_FIELDS, boolean> &
  Record<keyof typeof NUMBER_FIELDS, number> & { githubRepositories: string[]; autoSyncMode: AutoSyncMode };

/** The settings as the page shows them: the values in force. */
export function shownSettings(known: KnownSettings): ShownSettings {
  const values = valuesInForce(known);
  return {
    ...mapFields(TEXT_FIELDS, (key) => (key.endsWith('_url') ? withoutLogin(values[key]) : values[key])),
    ...mapFields(SECRET_FIELDS, (key) => (isSet(key, known) ? SECRET_MASK : '')),
    ...mapFields(SWITCH_FIELDS, (key) => values[key] === 'true'),
    ...mapFields(NUMBER_FIELDS, (key) => Number(values[key])),
    autoSyncMode: AUTO_SYNC_MODES.find((mode) => mode === values.auto_sync_mode) ?? AUTO_SYNC_MODES[0],
    githubRepositories: readRepositories(values.github_repositories),
  };
}

/** The same fields, with what is made of their keys. */
function mapFields<F extends string, V>(fields: Record<F, SettingKey>, make: (key: SettingKey) => V): Record<F, V> {
  const entries = Object.entries<SettingKey>(fields).map(([field, key]) => [field, make(key)]);
  return Object.fromEntries(entries) as Record<F, V>;
}

/** Fields of a secret whose stored value cannot be decrypted. */
export const unreadableFields = ({ stored }: KnownSettings): (keyof typeof SECRET_FIELDS)[] =>
  SENSITIVE_FIELDS.filter((field) => stored.unreadable.includes(SECRET_FIELDS[field]));

type Given<F extends string, V> = { [K in F]?: V | undefined };
/** What the page sends. Absent fields stay as they are; a text that is null or blank is cleared, and a secret is not. */
export type SettingsForm = Given<
  keyof typeof TEXT_FIELDS | keyof typeof SECRET_FIELDS | keyof typeof CHOICE_FIELDS,
  string | null
> &
  Given<keyof typeof SWITCH_FIELDS, boolean> &
  Given<keyof typeof NUMBER_FIELDS | 'autoSyncInterval', number> & {
    /** No entries: the list stays as it is. */
    githubRepositories?: readonly string[] | undefined;
    /** The entries are added to the list; otherwise they replace it. */
    githubRepositoriesMerge?: boolean;
  };

export interface SettingsPageChange {
  editor: SettingsEditor;
  by: AuditOrigin;
}

/**
 * Stores what differs from the values in force, and applies a changed schedule.
 * @throws {AppError} VALIDATION_ERROR or FORBIDDEN that names the field; VALIDATION_ERROR for a blank form.
 */
export async function saveSettingsPage(
  deps: AutoSyncDeps,
  form: SettingsForm,
  change: SettingsPageChange,
): Promise<void> {
  refuseBlankForm(form);
  const changed = await changeSettings(deps, (present) => valuesOf(form, present), change);
  if (changed.some((key) => key.startsWith('auto_sync_'))) await applySchedule(deps);
}

/**
 * The page shows an empty form when it could not load the settings. Taken at its word, that form would clear the
 * installation and close registration.
 */
function refuseBlankForm(form: SettingsForm): void {
  const blank = (value: string | null | undefined): boolean => (value ?? '').trim() === '';
  const complete = [...Object.keys(SITE_TEXTS), ...Object.keys(SITE_SWITCHES)].every(
    (field) => form[field as keyof SettingsForm] !== undefined,
  );
  const texts = [...Object.keys(TEXT_FIELDS), ...SENSITIVE_FIELDS] as (keyof typeof TEXT_FIELDS)[];
  const switches = Object.keys(SITE_SWITCHES) as (keyof typeof SITE_SWITCHES)[];
  if (!complete || texts.some((field) => !blank(form[field])) || switches.some((field) => form[field])) return;
  throw new AppError('VALIDATION_ERROR', {
    publicMessage: 'The form is blank, so nothing was saved: load the settings again',
  });
}

/** The texts to store. */
function valuesOf(form: SettingsForm, present: ValuesInForce): SettingValues {
  const { syncInterval, autoSyncInterval } = form;
  // Of two spellings, the one that was edited counts.
  const interval = [syncInterval, autoSyncInterval].find(
    (value) => value !== undefined && String(value) !== present.auto_sync_interval,
  );
  const values: SettingValues = {};
  const { syncInterval: _, ...numbers } = NUMBER_FIELDS;
  const fields = { ...TEXT_FIELDS, ...SECRET_FIELDS, ...SWITCH_FIELDS, ...numbers, ...CHOICE_FIELDS };
  for (const [field, key] of Object.entries(fields) as [keyof typeof fields, SettingKey][]) {
    const value = form[field];
    if (value !== undefined) values[key] = String(value ?? '');
  }
  if (interval !== undefined) values.auto_sync_interval = String(interval);
  const listed = distinct(form.githubRepositories ?? []);
  if (listed.length > 0) {
    const before = form.githubRepositoriesMerge === true ? readRepositories(present.github_repositories) : [];
    values.github_repositories = repositoriesText(distinct([...before, ...listed]));
  }
  return values;
}

/**
 * Clears these secrets; other names are ignored, and a secret that is not stored stays as it is.
 * @throws {AppError} FORBIDDEN that names the field.
 */
export async function clearSecrets(
  deps: AutoSyncDeps,
  fields: readonly string[],
  change: SettingsPageChange,
): Promise<void> {
  const keys = SENSITIVE_FIELDS.filter((field) => fields.includes(field)).map((field) => SECRET_FIELDS[field]);
  await changeSettings(deps, {}, { ...change, clear: keys });
}
