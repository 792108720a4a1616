/** Reads and writes settings: texts of the `config` table, with secrets encrypted, over the environment. */
import { parseSender, SENDER_FORM } from '../../domain/email-sender.ts';
import { AppError } from '../../domain/errors.ts';
import type { AutoSync, SettingKey } from '../../domain/settings.ts';
import { isSensitiveSetting } from '../../domain/settings.ts';
import type { Db } from '../../store/db/db.ts';
import type { Encryption } from '../../store/db/encryption.ts';
import { readConfig, writeConfig } from '../../store/settings/config-store.ts';
import {
  RUNTIME_KEYS,
  type RuntimeSettings,
  resolveSettings,
  type SettingsConfig,
  type StoredSettings,
} from './runtime-settings.ts';

export interface Settings {
  /** What processes act on. At most 2 s old. */
  runtime(): Promise<RuntimeSettings>;
  /** Clear text of the stored values, read now. A caller must not let secrets of it leave the process. */
  stored(keys: readonly SettingKey[]): Promise<StoredSettings>;
  /** The schedule, read now. */
  autoSync(): Promise<AutoSync>;
  /**
   * Writes texts (secrets encrypted) in one transaction and notifies every process (`settings_changed`).
   * @throws {AppError} VALIDATION_ERROR if `email_from` is not a sender; nothing is written then.
   */
  save(values: Partial<Record<SettingKey, string>>, db?: Db): Promise<void>;
  /** Drops the cache: for a `settings_changed` notification. */
  forget(): void;
}

interface SettingsDeps {
  db: Db;
  config: SettingsConfig;
  encryption: Encryption;
}

const CACHE_MS = 2000;

/** Makes the reader and writer of one process. */
export function createSettings(deps: SettingsDeps): Settings {
  const read = async () => resolveSettings(deps.config, await readStored(deps, RUNTIME_KEYS));
  const cache = cached(read, CACHE_MS);
  return {
    runtime: cache.get,
    stored: (keys) => readStored(deps, keys),
    autoSync: async () => (await read()).autoSync,
    async save(values, db = deps.db) {
      await writeStored({ ...deps, db }, values);
      cache.forget();
    },
    forget: cache.forget,
  };
}

async function readStored({ db, encryption }: SettingsDeps, keys: readonly SettingKey[]): Promise<StoredSettings> {
  const values = new Map<string, string>();
  const unreadable: string[] = [];
  for (const { key, value } of await readConfig(db, keys)) {
    if (!isSensitiveSetting(key)) {
      values.set(key, value);
      continue;
    }
    const clear = encryption.decrypt(value);
    if ('unreadable' in clear) unreadable.push(key);
    else if (clear.value !== '') values.set(key, clear.value);
  }
  return { values, unreadable };
}

async function writeStored(
  { db, encryption }: SettingsDeps,
  values: Partial<Record<SettingKey, string>>,
): Promise<void> {
  const { email_from: from } = values;
  if (from !== undefined && from.trim() !== '' && parseSender(from) === undefined) {
    const details = [{ path: 'email_from', message: `must be one sender: ${SENDER_FORM}` }];
    throw new AppError('VALIDATION_ERROR', { publicMessage: 'The setting email_from is not a sender', details });
  }
  const rows = Object.entries(values)
    .filter((entry): entry is [string, string] => entry[1] !== undefined)
    .map(([key, value]) => ({ key, value: isSensitiveSetting(key) ? encryption.encrypt(value) : value }));
  await writeConfig(db, rows);
}

/** Keeps an answer for a time; concurrent callers share one read, and a failed read is not kept. */
function cached<T>(read: () => Promise<T>, keepMs: number): { get(): Promise<T>; forget(): void } {
  let kept: { until: number; value: Promise<T> } | undefined;
  return {
    get() {
      const now = performance.now();
      if (kept !== undefined && kept.until > now) return kept.value;
      const entry = { until: now + keepMs, value: read() };
      kept = entry;
      entry.value.catch(() => {
        if (kept === entry) kept = undefined;
      });
      return entry.value;
    },
    forget() {
      kept = undefined;
    },
  };
}
