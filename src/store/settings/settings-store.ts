/** The `config` table: settings that a non-empty value in the database takes over from the environment. */
import { randomUUID } from 'node:crypto';
import type { Config } from '../../config.ts';
import { Secret } from '../../domain/secret.ts';
import {
  DEFAULT_CACHE_TIMEOUT_SECONDS,
  isSensitiveSetting,
  MIN_SYNC_INTERVAL_SECONDS,
  readBoolean,
  readInteger,
  type SettingKey,
} from '../../domain/settings.ts';
import { type Db, inTransaction } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';

export interface AutoSync {
  enabled: boolean;
  intervalSeconds: number;
}

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
    /** Sender, a mailbox with or without a display name. */
    from: string;
    /** Mails that nobody waits for (sync-complete) are sent. */
    notifications: boolean;
    /** Origin of the site that links in mails open, without a trailing slash. */
    siteUrl: string;
  };
  /** Seconds a statistic may be old; 0 = never cached. */
  cacheTimeoutSeconds: number;
  /** Keys whose stored value was encrypted with a key we do not have. They count as not set, never as clear text. */
  unreadable: string[];
}

/** Clear values by key; keys without a row or with an empty value are absent. */
export interface StoredSettings {
  values: ReadonlyMap<string, string>;
  unreadable: string[];
}

export interface Settings {
  /** What processes act on: database (non-empty) before environment before default. At most 2 s old. */
  runtime(): Promise<RuntimeSettings>;
  /** Clear text of the stored values, read now. Values of secrets never leave the process by this way. */
  stored(keys: readonly SettingKey[]): Promise<StoredSettings>;
  /** The schedule, read now. */
  autoSync(): Promise<AutoSync>;
  /** Writes texts (secrets encrypted) in one transaction and tells every process (`settings_changed`). */
  save(values: Partial<Record<SettingKey, string>>, db?: Db): Promise<void>;
  /** Stores the schedule; absent fields stay. The interval is written under both of its names. */
  saveSyncSettings(values: { enabled?: boolean; intervalSeconds?: number }): Promise<void>;
  /** Drops the cache: for a `settings_changed` notification. */
  forget(): void;
}

const CACHE_MS = 2000;
const RUNTIME_KEYS = [
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

type SettingsConfig = Pick<Config, 'panel' | 'virtfusion' | 'autoSync' | 'email'>;

/** Makes the reader and writer of settings over a pool. */
export function createSettings(deps: { db: Db; config: SettingsConfig; encryption: Encryption }): Settings {
  const { db, config, encryption } = deps;
  let cached: { until: number; value: Promise<RuntimeSettings> } | undefined;

  const stored = async (keys: readonly SettingKey[]): Promise<StoredSettings> => {
    const found = await query<{ key: string; value: string }>(
      db,
      `select c.key, c.value from config c where c.key = any(?::text[]) and c.value <> ''`,
      [[...keys]],
    );
    const values = new Map<string, string>();
    const unreadable: string[] = [];
    for (const { key, value } of found) {
      if (!isSensitiveSetting(key)) {
        values.set(key, value);
        continue;
      }
      const clear = encryption.decrypt(value);
      if ('unreadable' in clear) unreadable.push(key);
      else if (clear.value !== '') values.set(key, clear.value);
    }
    return { values, unreadable };
  };

  const read = async (): Promise<RuntimeSettings> => {
    const { values, unreadable } = await stored(RUNTIME_KEYS);
    const text = (key: SettingKey, fallback: string | undefined): string | undefined =>
      values.get(key)?.trim() || fallback;
    const secret = (key: SettingKey, fallback: Secret | undefined): Secret | undefined => {
      const value = values.get(key);
      if (value !== undefined) return new Secret(value);
      return unreadable.includes(key) ? undefined : fallback;
    };
    const { panel } = config;
    const panelUrl = text('pterodactyl_url', panel.url)?.replace(/\/+$/, '');
    const panelApiKey = secret('pterodactyl_api_key', panel.apiKey);
    const panelClientApiKey = secret('pterodactyl_client_api_key', panel.clientApiKey);
    const cfAccessClientId = text('cf_access_client_id', panel.cfAccessClientId);
    const cfAccessClientSecret = secret('cf_access_client_secret', panel.cfAccessClientSecret);
    const virtfusionUrl = text('virtfusion_url', config.virtfusion.url)?.replace(/\/+$/, '');
    const virtfusionApiKey = secret('virtfusion_api_key', config.virtfusion.apiKey);
    const resendApiKey = secret('resend_api_key', config.email.resendApiKey);
    const siteUrl = text('site_url', undefined)?.replace(/\/+$/, '');
    const interval =
      readInteger(values.get('auto_sync_interval'), 1) ??
      readInteger(values.get('sync_interval'), 1) ??
      config.autoSync.intervalSeconds;
    return {
      ...(panelUrl === undefined ? {} : { panelUrl }),
      ...(panelApiKey === undefined ? {} : { panelApiKey }),
      ...(panelClientApiKey === undefined ? {} : { panelClientApiKey }),
      ...(cfAccessClientId === undefined ? {} : { cfAccessClientId }),
      ...(cfAccessClientSecret === undefined ? {} : { cfAccessClientSecret }),
      ...(virtfusionUrl === undefined ? {} : { virtfusionUrl }),
      ...(virtfusionApiKey === undefined ? {} : { virtfusionApiKey }),
      autoSync: {
        enabled: readBoolean(values.get('auto_sync_enabled'), config.autoSync.enabled),
        // A row of the existing service may hold less than the minimum: run as often as is allowed.
        intervalSeconds: Math.max(interval, MIN_SYNC_INTERVAL_SECONDS),
      },
      email: {
        ...(resendApiKey === undefined ? {} : { resendApiKey }),
        notifications: readBoolean(values.get('email_notifications_enabled'), true),
        from: text('email_from', config.email.from) ?? config.email.from,
        // A link of a mail must open: a setting that is no web address does not count.
        siteUrl: siteUrl !== undefined && /^https?:\/\/\S+$/.test(siteUrl) ? siteUrl : config.email.siteUrl,
      },
      allowMassPrune: readBoolean(values.get('sync_allow_mass_prune'), false),
      cacheTimeoutSeconds: readInteger(values.get('cache_timeout'), 0) ?? DEFAULT_CACHE_TIMEOUT_SECONDS,
      unreadable,
    };
  };

  const save = async (values: Partial<Record<SettingKey, string>>, on: Db = db): Promise<void> => {
    const entries = Object.entries(values).filter((entry) => entry[1] !== undefined);
    if (entries.length === 0) return;
    const records = entries.map(([key, value]) => ({
      id: randomUUID(),
      key,
      value: isSensitiveSetting(key) ? encryption.encrypt(value) : value,
    }));
    await inTransaction(on, async (trx) => {
      await execute(
        trx,
        `insert into config (id, key, value, "createdAt", "updatedAt")
         select r.id, r.key, r.value, now() at time zone 'utc', now() at time zone 'utc'
           from json_to_recordset(?::json) as r(id text, key text, value text)
         on conflict (key) do update set value = excluded.value, "updatedAt" = excluded."updatedAt"`,
        [JSON.stringify(records)],
      );
      await execute(trx, `select pg_notify('settings_changed', '')`);
    });
    cached = undefined;
  };

  return {
    runtime() {
      const now = performance.now();
      if (cached !== undefined && cached.until > now) return cached.value;
      const value = read();
      const entry = { until: now + CACHE_MS, value };
      cached = entry;
      // A failed read is not kept: the next call asks again.
      value.catch(() => {
        if (cached === entry) cached = undefined;
      });
      return value;
    },
    stored,
    autoSync: async () => (await read()).autoSync,
    save,
    async saveSyncSettings({ enabled, intervalSeconds }) {
      await save({
        ...(enabled === undefined ? {} : { auto_sync_enabled: String(enabled) }),
        ...(intervalSeconds === undefined
          ? {}
          : { auto_sync_interval: String(intervalSeconds), sync_interval: String(intervalSeconds) }),
      });
    },
    forget() {
      cached = undefined;
    },
  };
}
