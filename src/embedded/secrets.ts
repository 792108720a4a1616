/** Secrets that are not configured: generated once and kept beside the embedded database (ADR 4). */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { parseEncryptionKey } from '../domain/encryption-key.ts';
import { Secret } from '../domain/secret.ts';
import { EmbeddedError, writePrivateFile } from './process.ts';

/** Secrets that api and worker get in addition to their configuration; undefined: neither set nor generated. */
export interface ServiceSecrets {
  /** Signs access tokens; undefined also when NEXTAUTH_SECRET signs them. */
  jwtSecret: Secret | undefined;
  backendApiKey: Secret | undefined;
  encryptionKey: Secret | undefined;
}

type Generated = Partial<Record<'jwtSecret' | 'backendApiKey' | 'encryptionKey', string>>;

function readGenerated(file: string): Generated {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return {};
    throw error;
  }
  // With a new key, encrypted values could no longer be read, so a damaged file is an error and is not replaced.
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
  const generated: Generated = {};
  for (const name of ['jwtSecret', 'backendApiKey', 'encryptionKey'] as const) {
    const entry = (value as Record<string, unknown>)[name];
    if (typeof entry === 'string' && entry !== '') generated[name] = entry;
  }
  if (generated.encryptionKey !== undefined && parseEncryptionKey(generated.encryptionKey) === undefined) throw damaged;
  return generated;
}

/**
 * The configured secrets. Missing ones are generated once and stored in `secrets.json` (0600) of the data folder, but only
 * for an embedded database outside production.
 */
export async function serviceSecrets(config: Config, embeddedDatabase: boolean): Promise<ServiceSecrets> {
  const configured: ServiceSecrets = {
    jwtSecret: config.jwtSecret,
    backendApiKey: config.backendApiKey,
    encryptionKey: config.encryptionKey,
  };
  if (config.production || !embeddedDatabase) return configured;
  const file = join(config.dataDir, 'secrets.json');
  const generated = readGenerated(file);
  const complete = {
    jwtSecret: generated.jwtSecret ?? randomBytes(48).toString('base64url'),
    backendApiKey: generated.backendApiKey ?? randomBytes(32).toString('base64url'),
    encryptionKey: generated.encryptionKey ?? randomBytes(32).toString('base64'),
  };
  if (Object.keys(generated).length < 3) await writePrivateFile(file, `${JSON.stringify(complete, null, 2)}\n`);
  const jwt = config.jwtSecret ?? (config.nextAuthSecret === undefined ? new Secret(complete.jwtSecret) : undefined);
  return {
    jwtSecret: jwt,
    backendApiKey: config.backendApiKey ?? new Secret(complete.backendApiKey),
    encryptionKey: config.encryptionKey ?? new Secret(complete.encryptionKey),
  };
}
