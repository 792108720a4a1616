/** What an audit event tells about changed settings: before and after by field, and of a secret or an address only that it changed. */
import type { Logger } from 'pino';
import type { AuditDetails, AuditOrigin } from '../../domain/audit.ts';
import { readRepositories } from '../../domain/repositories.ts';
import { fieldOfSetting, isSensitiveSetting, type SettingKey } from '../../domain/settings.ts';
import type { Transaction } from '../../store/db/db.ts';
import { recordChange } from '../audit/record-change.ts';
import type { SettingValues } from './settings.ts';
import type { ValuesInForce } from './values-in-force.ts';

/** Maximum characters of a value, and entries of a list, in an event. */
const MAX_CHARACTERS = 200;
const MAX_ENTRIES = 20;

/** Addresses of persons. */
const ADDRESSES: readonly SettingKey[] = ['admin_email', 'email_from'];
const isHidden = (key: SettingKey): boolean => isSensitiveSetting(key) || ADDRESSES.includes(key);

/** Records the changes in their transaction. @param before the values in force before them. */
export async function recordSettings(
  deps: { trx: Transaction; log: Logger | undefined },
  by: AuditOrigin,
  changes: SettingValues,
  before: ValuesInForce,
): Promise<void> {
  const { github_repositories: repositories, ...others } = changes;
  const keys = Object.keys(others) as SettingKey[];
  const cleared = keys.filter((key) => isSensitiveSetting(key) && changes[key] === '');
  const changed = keys.filter((key) => !cleared.includes(key));
  if (changed.length > 0) {
    await recordChange(deps, by, { action: 'settings-changed', details: settingsDetails(changed, changes, before) });
  }
  if (cleared.length > 0) {
    await recordChange(deps, by, { action: 'secrets-cleared', details: { fields: cleared.map(fieldOfSetting) } });
  }
  if (repositories !== undefined) {
    const details = repositoriesDetails(before.github_repositories, repositories);
    await recordChange(deps, by, { action: 'repositories-changed', details });
  }
}

function settingsDetails(keys: readonly SettingKey[], changes: SettingValues, before: ValuesInForce): AuditDetails {
  const field = (key: SettingKey, value: string | null) => [fieldOfSetting(key), value] as const;
  return {
    before: Object.fromEntries(
      keys.map((key) => field(key, shown(key, before[key], before[key] === '' ? '' : '(set)'))),
    ),
    after: Object.fromEntries(
      keys.map((key) => field(key, shown(key, changes[key] ?? '', hint(key, changes, before)))),
    ),
  };
}

function hint(key: SettingKey, changes: SettingValues, before: ValuesInForce): string {
  if (changes[key] === '') return '(cleared)';
  return before[key] === '' ? '(set)' : '(changed)';
}

/** A value as an event shows it; null for none. @param hidden what it says of a value that it must not hold. */
function shown(key: SettingKey, value: string, hidden: string): string | null {
  const text = isHidden(key) ? hidden : withoutSecrets(key, value);
  return text === '' ? null : text.slice(0, MAX_CHARACTERS);
}

/** A URL without what may hold a secret: login, query and fragment. Other texts as they are. */
function withoutSecrets(key: SettingKey, text: string): string {
  if (text === '' || !(key.endsWith('_url') || text.includes('://'))) return text;
  const url = URL.parse(text);
  if (url === null || url.origin === 'null') return '(not a URL)';
  return `${url.origin}${url.pathname.replace(/\/$/, '')}`;
}

function repositoriesDetails(beforeText: string, afterText: string): AuditDetails {
  const [before, after] = [readRepositories(beforeText), readRepositories(afterText)];
  const added = after.filter((one) => !before.includes(one));
  const removed = before.filter((one) => !after.includes(one));
  const few = (list: readonly string[]) => list.slice(0, MAX_ENTRIES).map((one) => one.slice(0, MAX_CHARACTERS));
  return { added: few(added), removed: few(removed), before: { count: before.length }, after: { count: after.length } };
}
