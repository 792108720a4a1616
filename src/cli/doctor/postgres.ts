/** What `doctor` finds out about PostgreSQL and about the settings that are stored there. */
import type { Config } from '../../config.ts';
import type { Secret } from '../../domain/secret.ts';
import { cacheFolder } from '../../embedded/folders.ts';
import { findPostgres } from '../../embedded/postgres/binaries.ts';
import { hasPostgres } from '../../embedded/postgres/cluster.ts';
import { serviceUser } from '../../embedded/postgres/service-user.ts';
import { serviceSecrets } from '../../embedded/secrets.ts';
import { serviceFolders } from '../../embedded/services.ts';
import { messageOf } from '../../process.ts';
import type { RuntimeSettings } from '../../services/settings/runtime-settings.ts';
import { createSettings } from '../../services/settings/settings.ts';
import type { Db } from '../../store/db/db.ts';
import { createEncryption } from '../../store/db/encryption.ts';
import { pendingMigrations } from '../../store/db/migrations.ts';
import { schemaGaps } from '../../store/db/schema-gaps.ts';
import { schemaWarning } from '../../store/db/schemas.ts';
import { searchIndexes } from '../../store/db/search-indexes.ts';
import { serverVersion } from '../../store/db/server-version.ts';
import { withDatabase } from '../../store/db/with-database.ts';
import { heldEmails } from '../../store/email/email-list.ts';
import { type Check, PROBE_TIMEOUT_MS, probeError } from './check.ts';
import type { HeldEmails } from './email.ts';
import { checkHytale } from './hytale.ts';
import { checkSettings, checkSetup } from './settings.ts';
import { checkWebhooks } from './webhooks.ts';

const NAME = 'PostgreSQL';

/** What the database says. */
export interface DatabaseFindings {
  checks: Check[];
  /** Clear values of the `config` table by key; empty when it cannot be read. */
  stored: ReadonlyMap<string, string>;
  /** Absent when the settings cannot be read. */
  runtime?: RuntimeSettings;
  /** Emails that wait for the operator. */
  held?: HeldEmails | undefined;
}

/**
 * Looks at a database that should be running.
 * @param home data folder of the installation that runs it
 */
export async function inspectDatabase(config: Config, databaseUrl: Secret, home: string): Promise<DatabaseFindings> {
  const embedded = config.databaseUrl === undefined;
  const { encryptionKey } = embedded ? await serviceSecrets({ ...config, dataDir: home }, true) : config;
  const options = {
    connectionString: databaseUrl.reveal(),
    applicationName: 'doctor',
    max: 1,
    statementTimeoutMs: PROBE_TIMEOUT_MS,
  };
  try {
    return await withDatabase(options, async (db) => {
      const schema = await checkSchema(db, embedded);
      if (schema.state !== 'ok') return { checks: [schema], stored: new Map() };
      const { checks, ...settings } = await inspectSettings(db, config, encryptionKey);
      return { checks: [schema, ...(await checkAdoption(db)), ...(await checkSearch(db)), ...checks], ...settings };
    });
  } catch (error) {
    const advice = 'check DATABASE_URL and that the server runs';
    return { checks: [{ name: NAME, state: 'failed', detail: probeError(error), advice }], stored: new Map() };
  }
}

async function checkSchema(db: Db, embedded: boolean): Promise<Check> {
  const version = `${embedded ? 'embedded' : 'external'}, ${await serverVersion(db)}`;
  const pending = await pendingMigrations(db);
  if (pending.length === 0) return { name: NAME, state: 'ok', detail: `${version}, schema up to date` };
  const detail = `${version}, ${pending.length} migrations pending`;
  return embedded
    ? { name: NAME, state: 'warning', detail, advice: '`npm start` applies them' }
    : { name: NAME, state: 'failed', detail, advice: 'npm run db:migrate' };
}

/** Differences of one database that are shown; `db migrate` lists all. */
const SHOWN_GAPS = 12;

/** Whether the tables of the site are where this service looks for them, and what migrations could not bring about there. */
export async function checkAdoption(db: Db): Promise<Check[]> {
  const elsewhere = await schemaWarning(db);
  const gaps = await schemaGaps(db);
  const shown = gaps.slice(0, SHOWN_GAPS).map(({ works, text, advice }): Check => {
    const check: Check = { name: 'Schema', state: works ? 'warning' : 'failed', detail: text };
    return advice === undefined ? check : { ...check, advice };
  });
  const hidden = gaps.length - shown.length;
  return [
    ...(elsewhere === undefined ? [] : [{ name: 'Schema', state: 'warning', detail: elsewhere } as const]),
    ...shown,
    ...(hidden > 0
      ? [
          {
            name: 'Schema',
            state: 'warning',
            detail: `${hidden} more`,
            advice: 'npm run db:migrate lists them',
          } as const,
        ]
      : []),
  ];
}

/** Whether searches in lists have their indexes. Without them they are slower and find the same. */
export async function checkSearch(db: Db): Promise<Check[]> {
  const state = await searchIndexes(db);
  if (state === 'complete') return [];
  const advice =
    state === 'missing' ? 'npm run db:migrate' : '`create extension pg_trgm` as a superuser, then npm run db:migrate';
  return [
    { name: NAME, state: 'warning', detail: 'searches read whole tables: indexes of pg_trgm are missing', advice },
  ];
}

async function inspectSettings(db: Db, config: Config, key: Secret | undefined): Promise<DatabaseFindings> {
  const encryption = createEncryption({ key, previousKey: config.encryptionKeyPrevious });
  const settings = createSettings({ db, config, encryption, readOnly: true });
  const known = await settings.known();
  const checks = [
    ...checkSettings(known),
    await checkSetup(db, config),
    ...(await checkWebhooks(db, encryption)),
    ...(await checkHytale(db, config.hytale)),
  ];
  return { checks, stored: known.stored.values, runtime: await settings.runtime(), held: await heldEmails(db) };
}

/** Looks at an embedded database that does not run. */
export async function checkEmbeddedPostgres(config: Config): Promise<Check> {
  try {
    const user = await serviceUser(() => undefined);
    const { bin, major } = await findPostgres({ cacheDir: cacheFolder(config.cacheDir), user, log: () => undefined });
    const data = hasPostgres(serviceFolders(config.dataDir).postgres) ? `data in ${config.dataDir}` : 'no data yet';
    return {
      name: NAME,
      state: 'idle',
      detail: `embedded ${major} (${bin}), not running, ${data}`,
      advice: '`npm start` starts it',
    };
  } catch (error) {
    return { name: NAME, state: 'failed', detail: messageOf(error) };
  }
}
