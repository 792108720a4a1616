/** Reads and writes settings: texts of the `config` table, with secrets encrypted, over the environment. */
import { parseSender, SENDER_FORM } from '../../domain/email-sender.ts';
import { AppError } from '../../domain/errors.ts';
import {
  type AutoSync,
  type EnteredBy,
  isSensitiveSetting,
  SENT_SETTING_KEYS,
  SENT_SETTINGS,
  SETTING_KEYS,
  type SentSetting,
  type SettingKey,
  URL_SETTINGS,
} from '../../domain/settings.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { type Decrypted, type Encryption, looksEncrypted } from '../../store/db/encryption.ts';
import {
  lockSettings,
  readConfig,
  type SettingEntry,
  type StoredRow,
  writeConfig,
  writeEntries,
} from '../../store/settings/config-store.ts';
import { RUNTIME_KEYS, type RuntimeSettings, resolveSettings } from './runtime-settings.ts';
import {
  entryOfSecret,
  fingerprintOf,
  type KnownSettings,
  type SettingsConfig,
  type StoredSettings,
} from './secret-origins.ts';

export interface Settings {
  /** What processes act on. At most 2 s old. */
  runtime(): Promise<RuntimeSettings>;
  /** Clear text of the stored values, read now. A caller must not let secrets of it leave the process. */
  stored(keys: readonly SettingKey[]): Promise<StoredSettings>;
  /** Every setting, read now, with what decides to which origin a secret may go. */
  known(db?: Db): Promise<KnownSettings>;
  /** The schedule, read now. */
  autoSync(): Promise<AutoSync>;
  /**
   * Writes texts (secrets encrypted) in one transaction and notifies every process (`settings_changed`). A secret is bound
   * to the origin of the URL that is stored with it or was stored before.
   * @throws {AppError} VALIDATION_ERROR if `email_from` is not a sender; nothing is written then.
   */
  save(values: SettingValues, options: { enteredBy: EnteredBy; db?: Db }): Promise<void>;
  /** Drops the cache: for a `settings_changed` notification. */
  forget(): void;
}

/** Texts to store; '' clears one. */
export type SettingValues = Partial<Record<SettingKey, string>>;

interface SettingsDeps {
  db: Db;
  config: SettingsConfig;
  encryption: Encryption;
  /** Writes nothing: for a look from outside. */
  readOnly?: boolean;
}

const CACHE_MS = 2000;

/** Makes the reader and writer of one process. */
export function createSettings(deps: SettingsDeps): Settings {
  const read = async () => resolveSettings(deps.config, await readStored(deps, RUNTIME_KEYS));
  const cache = cached(read, CACHE_MS);
  return {
    runtime: cache.get,
    stored: (keys) => readStored(deps, keys),
    known: async (db = deps.db) => ({ config: deps.config, stored: await readStored({ ...deps, db }, SETTING_KEYS) }),
    autoSync: async () => (await read()).autoSync,
    async save(values, { enteredBy, db = deps.db }) {
      await writeStored({ ...deps, db }, values, enteredBy);
      cache.forget();
    },
    forget: cache.forget,
  };
}

/** Keys that decide to which origin a secret goes. */
const BINDING_KEYS: readonly SettingKey[] = [...SENT_SETTING_KEYS, ...Object.values(URL_SETTINGS)];
const isSent = (key: string): key is SentSetting => Object.hasOwn(SENT_SETTINGS, key);

async function readStored(deps: SettingsDeps, keys: readonly SettingKey[]): Promise<StoredSettings> {
  const stored = decode(deps, await readConfig(deps.db, keys));
  if (stored.unbound.length === 0) return stored;
  if (deps.readOnly === true) return bound(deps, stored);
  await bindNewSecrets(deps);
  return decode(deps, await readConfig(deps.db, keys));
}

interface DecodedSettings extends StoredSettings {
  /** Secrets that another program stored, or that are older than this rule: they have no entry of their own. */
  unbound: SentSetting[];
}

function decode({ encryption }: SettingsDeps, rows: readonly StoredRow[]): DecodedSettings {
  const values = new Map<string, string>();
  const entries = new Map<string, SettingEntry>();
  const unreadable: string[] = [];
  const unbound: SentSetting[] = [];
  for (const { key, value, enteredBy, origin, fingerprint } of rows) {
    const clear = isSensitiveSetting(key) ? readSecret(encryption, { key, value, fingerprint }) : { value };
    if ('unreadable' in clear) unreadable.push(key);
    else if (clear.value !== '') values.set(key, clear.value);
    const about = 'unreadable' in clear ? undefined : clear.value;
    if (isSent(key) && about !== undefined && about !== '' && fingerprint !== fingerprintOf(key, about)) {
      unbound.push(key);
    } else if (enteredBy !== null) {
      entries.set(key, { key, enteredBy, origin, fingerprint });
    }
  }
  return { values, unreadable, entries, unbound };
}

/** Without a key, what looks encrypted is clear text only when it was entered so: else it would be sent as a secret. */
function readSecret(encryption: Encryption, row: Pick<StoredRow, 'key' | 'value' | 'fingerprint'>): Decrypted {
  const { key, value, fingerprint } = row;
  if (!encryption.enabled && isSent(key) && looksEncrypted(value) && fingerprint !== fingerprintOf(key, value)) {
    return { unreadable: true };
  }
  return encryption.decrypt(value);
}

/** The settings as they are once their new secrets are bound: each to the URL that stands beside it. */
function bound({ config }: SettingsDeps, stored: DecodedSettings): StoredSettings {
  const entries = new Map(stored.entries);
  for (const key of stored.unbound) {
    entries.set(key, entryOfSecret(key, stored.values.get(key) ?? '', 'elsewhere', { config, stored }));
  }
  return { ...stored, entries };
}

/** Binds secrets that were stored without an entry. From then on a change of the URL alone does not move them. */
async function bindNewSecrets(deps: SettingsDeps): Promise<void> {
  await inTransaction(deps.db, async (trx) => {
    await lockSettings(trx);
    const stored = decode(deps, await readConfig(trx, BINDING_KEYS));
    const { entries } = bound(deps, stored);
    await writeEntries(
      trx,
      stored.unbound.flatMap((key) => entries.get(key) ?? []),
    );
  });
}

async function writeStored(deps: SettingsDeps, values: SettingValues, enteredBy: EnteredBy): Promise<void> {
  const { encryption, config } = deps;
  refuseSender(values.email_from);
  const given = Object.entries(values).filter((entry): entry is [SettingKey, string] => entry[1] !== undefined);
  if (given.length === 0) return;
  const rows = given.map(([key, value]) => ({
    key,
    value: isSensitiveSetting(key) ? encryption.encrypt('config.value', value) : value,
  }));
  await inTransaction(deps.db, async (trx) => {
    await lockSettings(trx);
    // Secrets that are stored already belong to the URL of before: they are bound before it changes.
    const before = await readStored({ ...deps, db: trx, readOnly: false }, BINDING_KEYS);
    const stored = { ...before, values: new Map([...before.values, ...given]) };
    const entryOf = ([key, value]: [SettingKey, string]): SettingEntry =>
      isSent(key)
        ? entryOfSecret(key, value, enteredBy, { config, stored })
        : { key, enteredBy, origin: null, fingerprint: null };
    await writeConfig(trx, rows, given.map(entryOf));
  });
}

/** @throws {AppError} VALIDATION_ERROR for a text that is no sender. */
function refuseSender(from: string | undefined): void {
  if (from === undefined || from.trim() === '' || parseSender(from) !== undefined) return;
  const details = [{ path: 'email_from', message: `must be one sender: ${SENDER_FORM}` }];
  throw new AppError('VALIDATION_ERROR', { publicMessage: 'The setting email_from is not a sender', details });
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
