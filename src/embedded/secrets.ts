/** Secrets that a first look needs and nobody has set: made once, kept beside the embedded database. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { parseEncryptionKey } from '../domain/encryption-key.ts';
import { Secret } from '../domain/secret.ts';
import { EmbeddedError, writePrivateFile } from './process.ts';

/** What api and worker get besides their own configuration; absent = not set and not made. */
export interface ServiceSecrets {
  /** Signs access tokens; absent also when NEXTAUTH_SECRET does that. */
  jwtSecret: Secret | undefined;
  backendApiKey: Secret | undefined;
  encryptionKey: Secret | undefined;
}

type Made = Partial<Record<'jwtSecret' | 'backendApiKey' | 'encryptionKey', string>>;

function readMade(file: string): Made {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
  // A new key would make what is encrypted unreadable: a damaged file is a reason to stop, not to make another.
  const damaged = new EmbeddedError(
    `${file} is damaged. Restore it, or remove it to get new secrets (stored ones become unreadable).`,
  );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged;
  }
  if (typeof value !== 'object' || value === null) throw damaged;
  const made: Made = {};
  for (const name of ['jwtSecret', 'backendApiKey', 'encryptionKey'] as const) {
    const entry = (value as Record<string, unknown>)[name];
    if (typeof entry === 'string' && entry !== '') made[name] = entry;
  }
  if (made.encryptionKey !== undefined && parseEncryptionKey(made.encryptionKey) === undefined) throw damaged;
  return made;
}

/**
 * The configured secrets; the missing ones from `secrets.json` (0600) of the data folder, made there the first time.
 * Only for an embedded database outside production: anything else keeps what is configured.
 */
export async function serviceSecrets(config: Config, embeddedDatabase: boolean): Promise<ServiceSecrets> {
  const configured: ServiceSecrets = {
    jwtSecret: config.jwtSecret,
    backendApiKey: config.backendApiKey,
    encryptionKey: config.encryptionKey,
  };
  if (config.production || !embeddedDatabase) return configured;
  const file = join(config.dataDir, 'secrets.json');
  const made = readMade(file);
  const complete = {
    jwtSecret: made.jwtSecret ?? randomBytes(48).toString('base64url'),
    backendApiKey: made.backendApiKey ?? randomBytes(32).toString('base64url'),
    encryptionKey: made.encryptionKey ?? randomBytes(32).toString('base64'),
  };
  if (Object.keys(made).length < 3) await writePrivateFile(file, `${JSON.stringify(complete, null, 2)}\n`);
  const jwt = config.jwtSecret ?? (config.nextAuthSecret === undefined ? new Secret(complete.jwtSecret) : undefined);
  return {
    jwtSecret: jwt,
    backendApiKey: config.backendApiKey ?? new Secret(complete.backendApiKey),
    encryptionKey: config.encryptionKey ?? new Secret(complete.encryptionKey),
  };
}
