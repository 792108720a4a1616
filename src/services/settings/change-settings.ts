/** Changes settings at the request of a person: what counts as a change, who may make it, and what it must bring along. */
import type { Logger } from 'pino';
import { createAddressGuard } from '../../clients/http/address-guard.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError, type ErrorCode, isAppError } from '../../domain/errors.ts';
import { withoutApiPath } from '../../domain/panel/base-url.ts';
import { readRepositories, repositoriesProblem, repositoriesText } from '../../domain/repositories.ts';
import { hasRule, SETTING_RULES } from '../../domain/setting-rules.ts';
import {
  fieldOfSetting,
  isSensitiveSetting,
  isSystemSetting,
  SECRET_MASK,
  SENT_SETTINGS,
  type SentSetting,
  type SettingKey,
  URL_SETTINGS,
} from '../../domain/settings.ts';
import { withoutLogin } from '../../domain/web-address.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { lockSettings } from '../../store/settings/config-store.ts';
import { ROLE_REFUSED } from '../audit/security-events.ts';
import { isKnown, type KnownSettings, originOf, secretFor, urlOf } from './secret-origins.ts';
import type { Settings, SettingValues } from './settings.ts';
import { recordSettings } from './settings-audit.ts';
import { setText, type ValuesInForce, valuesInForce } from './values-in-force.ts';

/** Who changes settings: a caller of the set-up without an account, or an administrator. */
export type SettingsEditor = { kind: 'setup' } | { kind: 'user'; isSystemAdministrator: boolean };

export interface ChangeDeps {
  db: Db;
  settings: Settings;
  log: Logger;
}

export interface SettingsChange {
  editor: SettingsEditor;
  by: AuditOrigin;
  /** The set-up: a default counts as no value, so that a step is done once something is stored. */
  storesDefaults?: boolean;
  /** Secrets to clear: their values cannot say it, because an empty one means "leave unchanged". */
  clear?: readonly SettingKey[];
}

/** The application key of each panel, without which its URL is of no use. */
const KEY_OF_URL = [
  [URL_SETTINGS.pterodactyl, 'pterodactyl_api_key'],
  [URL_SETTINGS.virtfusion, 'virtfusion_api_key'],
] as const satisfies (readonly [SettingKey, SentSetting])[];

/**
 * Stores what really changes of these values; a form sends everything back. A secret that is empty or masked stays as it
 * is. Nothing is stored when one change is refused.
 * @param values texts; '' clears one that is no secret. A function makes them of the values in force, which do not change
 * until they are stored.
 * @returns the keys that changed.
 * @throws {AppError} FORBIDDEN, CONFLICT or VALIDATION_ERROR that names the field.
 */
export async function changeSettings(
  deps: ChangeDeps,
  values: SettingValues | ((present: ValuesInForce) => SettingValues),
  { editor, by, storesDefaults = false, clear = [] }: SettingsChange,
): Promise<SettingKey[]> {
  const changed = await inTransaction(deps.db, async (trx) => {
    await lockSettings(trx);
    const known = await deps.settings.known(trx);
    const inForce = valuesInForce(known);
    const given = typeof values === 'function' ? values(inForce) : values;
    const present = (key: SettingKey): string => (storesDefaults ? (setText(key, known) ?? '') : inForce[key]);
    const cleared = clear.filter((key) => isStored(key, known)).map((key) => [key, ''] as const);
    const changes = { ...withRules(differences(given, known, present), present), ...Object.fromEntries(cleared) };
    for (const key of [...(Object.keys(changes) as SettingKey[]), ...clear]) refuseForEditor(key, editor, known);
    for (const key of Object.values(URL_SETTINGS)) refuseAddress(key, changes[key]);
    refuseUrlWithoutKey(changes, known);
    const { auto_sync_interval: interval } = changes;
    const stored = { ...changes, ...(interval === undefined ? {} : { sync_interval: interval }) };
    await deps.settings.save(stored, { enteredBy: editor.kind, db: trx });
    await recordSettings({ trx, log: deps.log }, by, changes, inForce);
    return Object.keys(changes) as SettingKey[];
  });
  // The cache may have been filled again while the transaction was open.
  deps.settings.forget();
  return changed;
}

/** Whether the database holds a value, also one that cannot be decrypted. */
const isStored = (key: SettingKey, { stored }: KnownSettings): boolean =>
  (stored.values.get(key)?.trim() ?? '') !== '' || stored.unreadable.includes(key);

type Present = (key: SettingKey) => string;

/** The values that differ from those that count now. */
function differences(values: SettingValues, known: KnownSettings, present: Present): SettingValues {
  const given = Object.entries(values) as [SettingKey, string | undefined][];
  return Object.fromEntries(
    given.filter(([key, value]) => value !== undefined && isChange(key, value, { values, known, present })),
  );
}

function isChange(
  key: SettingKey,
  value: string,
  { values, known, present }: { values: SettingValues; known: KnownSettings; present: Present },
): boolean {
  if (isSensitiveSetting(key) && isUnchanged(value)) return false;
  // An empty text gives way to the environment: it changes what is stored, or nothing.
  if (value.trim() === '') return isStored(key, known);
  const differs = normal(key, value) !== normal(key, present(key));
  if (!isSent(key)) return differs;
  // An id that a page sends back beside its masked secret is not entered again.
  if (key === 'cf_access_client_id' && isUnchanged(values.cf_access_client_secret)) return differs;
  // The same secret for another origin is a decision, too.
  const url = urlAfter(key, values, known);
  return secretFor(key, url, known)?.reveal() !== value.trim();
}

/** A secret that stays as it is. */
const isUnchanged = (value: string | undefined): boolean => [undefined, '', SECRET_MASK].includes(value?.trim());

const isSent = (key: SettingKey): key is SentSetting => Object.hasOwn(SENT_SETTINGS, key);

/** A text as it is compared: in the form in which it is stored and shown. */
function normal(key: SettingKey, value: string): string {
  if (key === 'github_repositories') return repositoriesText(readRepositories(value));
  const text = key.endsWith('_url') ? withoutLogin(value.trim()) : value.trim();
  if (isPanelUrl(key)) return withoutApiPath(text);
  return text.replace(key === 'site_url' ? /\/+$/ : '', '');
}
const isPanelUrl = (key: SettingKey): boolean => KEY_OF_URL.some(([urlKey]) => urlKey === key);

/**
 * The changes in the form in which they are stored. Only they are judged: what a form sends back as it was may be older than
 * the rules.
 * @throws {AppError} VALIDATION_ERROR that names each field.
 */
function withRules(changes: SettingValues, present: Present): SettingValues {
  const problems: Problem[] = [];
  const checked = Object.entries(changes).map(([name, value]) => {
    const key = name as SettingKey;
    if (key === 'github_repositories') {
      const message = repositoriesProblem(readRepositories(present(key)), readRepositories(value));
      if (message !== undefined) problems.push({ key, message });
    }
    if (!hasRule(key)) return [key, value];
    const result = SETTING_RULES[key].safeParse(value);
    if (result.success) return [key, result.data];
    problems.push({ key, message: result.error.issues[0]?.message ?? 'cannot be used' });
    return [key, value];
  });
  if (problems.length > 0) throw refusal('VALIDATION_ERROR', problems);
  return Object.fromEntries(checked);
}

/** The URL to which the secret would be sent after the change. */
function urlAfter(key: SentSetting, values: SettingValues, known: KnownSettings): string | undefined {
  const upstream = SENT_SETTINGS[key];
  return (upstream === 'resend' ? undefined : values[URL_SETTINGS[upstream]]) || urlOf(upstream, known);
}

/** @throws {AppError} CONFLICT when the environment sets what a stranger would change; FORBIDDEN for an administrator. */
function refuseForEditor(key: SettingKey, editor: SettingsEditor, { config }: KnownSettings): void {
  if (editor.kind === 'setup') {
    const variable = config.environment[key]?.variable;
    if (variable !== undefined) {
      throw refusal('CONFLICT', [{ key, message: `is set by the variable ${variable}: change it there` }]);
    }
  } else if (!editor.isSystemAdministrator && isSystemSetting(key)) {
    throw refusal('FORBIDDEN', [{ key, message: 'only a system administrator may change it' }]);
  }
}

/**
 * Addresses written as numbers that no panel has; names are judged when they are connected to.
 * @throws {AppError} VALIDATION_ERROR that names the field.
 */
function refuseAddress(key: SettingKey, url: string | undefined): void {
  if (url === undefined || !URL.canParse(url)) return;
  try {
    createAddressGuard({ policy: 'private' }).checkHost(new URL(url).hostname);
  } catch (error) {
    if (!isAppError(error, 'ADDRESS_REFUSED')) throw error;
    throw refusal('VALIDATION_ERROR', [{ key, message: 'this address may not be reached' }]);
  }
}

/**
 * A new URL beside a key that was entered for another origin: the key would not be sent there.
 * @throws {AppError} VALIDATION_ERROR that names the field of the key.
 */
function refuseUrlWithoutKey(changes: SettingValues, known: KnownSettings): void {
  for (const [urlKey, key] of KEY_OF_URL) {
    const url = changes[urlKey];
    if (url === undefined || url === '' || changes[key] !== undefined || !isKnown(key, known)) continue;
    if (originOf(url) !== undefined && secretFor(key, url, known) !== undefined) continue;
    throw refusal('VALIDATION_ERROR', [{ key, message: 'a new URL needs its API key' }]);
  }
}

interface Problem {
  key: SettingKey;
  message: string;
}

/** The error of refused changes: its sentence names the first field, its details name all. */
function refusal(code: ErrorCode, problems: readonly Problem[]): AppError {
  const named = problems.map(({ key, message }) => ({ field: fieldOfSetting(key), message }));
  return new AppError(code, {
    ...(named[0] === undefined ? {} : { publicMessage: `${named[0].field}: ${named[0].message}` }),
    // An administrator lacks the role: that is recorded.
    ...(code === 'FORBIDDEN' ? { meta: ROLE_REFUSED } : {}),
    details: named.map(({ field, message }) => ({ path: `body.${field}`, message })),
  });
}
