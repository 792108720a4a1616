/** What the audit and a report say about changed settings: before and after by field, and of a secret or an address only that it changed. */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { AuditDetails, AuditOrigin } from '../../domain/audit.ts';
import { readRepositories } from '../../domain/repositories.ts';
import { fieldOfSetting, isSensitiveSetting, type SettingKey } from '../../domain/settings.ts';
import type { Transaction } from '../../store/db/db.ts';
import { nameOfUser } from '../../store/webhooks/event-reads.ts';
import { emitEvents } from '../../store/webhooks/event-store.ts';
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
  await reportSettings(deps.trx, by, changes, before);
}

/**
 * One event for administrators. What the set-up stores without sign-in is reported, too: an older database can have webhooks
 * and no administrator.
 */
async function reportSettings(trx: Transaction, by: AuditOrigin, changes: SettingValues, before: ValuesInForce) {
  const keys = Object.keys(changes) as SettingKey[];
  if (keys.length === 0) return;
  const changed = keys.map((key) => ({ key: fieldOfSetting(key), ...reported(key, before[key], changes[key] ?? '') }));
  const data = { by: await editorOf(trx, by), changes: changed };
  await emitEvents(trx, [{ event: 'settings.updated', key: randomUUID(), data }]);
}

/** How the person or program that changed settings is called. */
async function editorOf(trx: Transaction, { actor }: AuditOrigin): Promise<string> {
  if (actor.type === 'user') return (await nameOfUser(trx, actor.id)) ?? actor.id;
  return { apiKey: 'API', cli: 'operator', system: 'the service', anonymous: 'the set-up' }[actor.type];
}

/** The values as a message shows them; '' for none. */
function reported(key: SettingKey, before: string, after: string): { before: string; after: string } {
  if (key === 'github_repositories') return reportedRepositories(before, after);
  return {
    before: shown(key, before, before === '' ? '' : '(set)') ?? '',
    after: shown(key, after, after === '' ? '' : '(updated)') ?? '',
  };
}

/** The numbers of repositories, and which of them came and went: a message has no room for two lists. */
function reportedRepositories(beforeText: string, afterText: string): { before: string; after: string } {
  const { added, removed, count } = repositoriesChange(beforeText, afterText);
  const names = [...few(added).map((one) => `+${one}`), ...few(removed).map((one) => `-${one}`)];
  return {
    before: count.before === 0 ? '' : String(count.before),
    after: count.after === 0 ? '' : [count.after, ...names].join(' '),
  };
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
  return text === '' ? null : storable(text);
}

/** Cut to its maximum. PostgreSQL refuses halves of surrogate pairs in JSON. */
const storable = (text: string): string => text.slice(0, MAX_CHARACTERS).toWellFormed();

/** A URL without what may hold a secret: login, query and fragment. Other texts as they are. */
function withoutSecrets(key: SettingKey, text: string): string {
  if (text === '' || !(key.endsWith('_url') || text.includes('://'))) return text;
  const url = URL.parse(text);
  if (url === null || url.origin === 'null') return '(not a URL)';
  return `${url.origin}${url.pathname.replace(/\/$/, '')}`;
}

function repositoriesDetails(beforeText: string, afterText: string): AuditDetails {
  const { added, removed, count } = repositoriesChange(beforeText, afterText);
  return { added: few(added), removed: few(removed), before: { count: count.before }, after: { count: count.after } };
}

const few = (list: readonly string[]): string[] => list.slice(0, MAX_ENTRIES).map(storable);

function repositoriesChange(beforeText: string, afterText: string) {
  const [before, after] = [readRepositories(beforeText), readRepositories(afterText)];
  return {
    added: after.filter((one) => !before.includes(one)),
    removed: before.filter((one) => !after.includes(one)),
    count: { before: before.length, after: after.length },
  };
}
