/** Changes settings at the request of a person: what counts as a change, who may make it, and what it must bring along. */
import { createAddressGuard } from '../../clients/http/address-guard.ts';
import { AppError, type ErrorCode, isAppError } from '../../domain/errors.ts';
import { withoutApiPath } from '../../domain/panel/base-url.ts';
import { Secret } from '../../domain/secret.ts';
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
import { webAddressProblem } from '../../domain/web-address.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { lockSettings } from '../../store/settings/config-store.ts';
import { ROLE_REFUSED } from '../audit/security-events.ts';
import { isKnown, type KnownSettings, originOf, secretFor, urlOf } from './secret-origins.ts';
import type { Settings, SettingValues } from './settings.ts';

/** Who changes settings: a caller of the set-up without an account, or an administrator. */
export type SettingsEditor = { kind: 'setup' } | { kind: 'user'; isSystemAdministrator: boolean };

/** The application key of each panel, without which its URL is of no use. */
const KEY_OF_URL = [
  [URL_SETTINGS.pterodactyl, 'pterodactyl_api_key'],
  [URL_SETTINGS.virtfusion, 'virtfusion_api_key'],
] as const satisfies (readonly [SettingKey, SentSetting])[];

/**
 * Stores what really changes of these values; a form sends everything back. A secret that is empty or masked stays as it
 * is. Nothing is stored when one change is refused.
 * @param values texts; '' clears one that is no secret.
 * @throws {AppError} FORBIDDEN, CONFLICT or VALIDATION_ERROR that names the field.
 */
export async function changeSettings(
  deps: { db: Db; settings: Settings },
  values: SettingValues,
  editor: SettingsEditor,
): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    await lockSettings(trx);
    const known = await deps.settings.known(trx);
    const changes = changesOf(values, known);
    for (const key of Object.keys(changes) as SettingKey[]) refuseForEditor(key, editor, known);
    refuseUnusableUrl(changes);
    for (const key of Object.values(URL_SETTINGS)) refuseAddress(key, changes[key]);
    refuseUrlWithoutKey(changes, known);
    await deps.settings.save(changes, { enteredBy: editor.kind, db: trx });
  });
  // The cache may have been filled again while the transaction was open.
  deps.settings.forget();
}

/** The values that differ from what is in force. */
function changesOf(values: SettingValues, known: KnownSettings): SettingValues {
  const given = Object.entries(values) as [SettingKey, string | undefined][];
  return Object.fromEntries(given.filter(([key, value]) => value !== undefined && isChange(key, value, values, known)));
}

function isChange(key: SettingKey, value: string, values: SettingValues, known: KnownSettings): boolean {
  if (isSensitiveSetting(key) && (value === '' || value === SECRET_MASK)) return false;
  // An empty text gives way to the environment: it changes what is stored, or nothing.
  if (value === '') return known.stored.values.has(key);
  if (!isSent(key)) return normal(key, value) !== normal(key, present(key, known));
  // The same secret for another origin is a decision, too.
  const url = urlAfter(key, values, known);
  return secretFor(key, url, known)?.reveal() !== value;
}

const isSent = (key: SettingKey): key is SentSetting => Object.hasOwn(SENT_SETTINGS, key);

/** The value in force: of the database, else of the environment, else ''. */
function present(key: SettingKey, { config, stored }: KnownSettings): string {
  const environment = config.environment[key]?.value;
  return stored.values.get(key) || (environment instanceof Secret ? environment.reveal() : environment) || '';
}

/** A text as it is compared. */
const normal = (key: SettingKey, value: string): string =>
  isPanelUrl(key) ? withoutApiPath(value.trim()) : value.trim().replace(key === 'site_url' ? /\/+$/ : '', '');
const isPanelUrl = (key: SettingKey): boolean => KEY_OF_URL.some(([urlKey]) => urlKey === key);

/** The URL to which the secret would be sent after the change. */
function urlAfter(key: SentSetting, values: SettingValues, known: KnownSettings): string | undefined {
  const upstream = SENT_SETTINGS[key];
  return (upstream === 'resend' ? undefined : values[URL_SETTINGS[upstream]]) || urlOf(upstream, known);
}

/** @throws {AppError} CONFLICT when the environment sets what a stranger would change; FORBIDDEN for an administrator. */
function refuseForEditor(key: SettingKey, editor: SettingsEditor, { config }: KnownSettings): void {
  if (editor.kind === 'setup') {
    const variable = config.environment[key]?.variable;
    if (variable !== undefined) throw refusal('CONFLICT', key, `is set by the variable ${variable}: change it there`);
  } else if (!editor.isSystemAdministrator && isSystemSetting(key)) {
    throw refusal('FORBIDDEN', key, 'only a system administrator may change it');
  }
}

/** @throws {AppError} VALIDATION_ERROR for a URL that cannot be used. */
function refuseUnusableUrl(changes: SettingValues): void {
  for (const key of ['site_url', 'favicon_url', ...Object.values(URL_SETTINGS)] as const) {
    const url = changes[key] ?? '';
    const problem = url === '' ? undefined : webAddressProblem(url, { base: key !== 'favicon_url' });
    if (problem !== undefined) throw refusal('VALIDATION_ERROR', key, problem);
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
    throw refusal('VALIDATION_ERROR', key, 'this address may not be reached');
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
    throw refusal('VALIDATION_ERROR', key, 'a new URL needs its API key');
  }
}

function refusal(code: ErrorCode, key: SettingKey, message: string): AppError {
  const field = fieldOfSetting(key);
  return new AppError(code, {
    publicMessage: `${field}: ${message}`,
    // An administrator lacks the role: that is recorded.
    ...(code === 'FORBIDDEN' ? { meta: ROLE_REFUSED } : {}),
    details: [{ path: `body.${field}`, message }],
  });
}
