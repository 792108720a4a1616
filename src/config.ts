/**
 * The only reader of the environment. `loadConfig` parses everything once, reports every problem at once
 * (names only, never values) and returns a frozen value that entries hand down to what they compose.
 */
import { z } from 'zod';
import { Secret } from './domain/secret.ts';

const text = z.string().trim();
const optionalText = text.transform((v) => (v === '' ? undefined : v)).optional();
const secret = text.transform((v) => (v === '' ? undefined : new Secret(v))).optional();
/** `true`, `1`, `yes` are true, any other non-empty text is false (contract of the existing service). */
const flag = (fallback: boolean) =>
  text.transform((v) => (v === '' ? fallback : ['true', '1', 'yes'].includes(v.toLowerCase()))).default(fallback);
/** Leading digits are parsed, anything else gives the default (contract of the existing service). */
const integer = (fallback: number, min = 0) =>
  text
    .transform((v, ctx) => {
      if (v === '') return fallback;
      const parsed = Number.parseInt(v, 10);
      if (Number.isNaN(parsed)) return fallback;
      if (parsed < min) {
        ctx.addIssue({ code: 'custom', message: `must be ${min} or more` });
        return z.NEVER;
      }
      return parsed;
    })
    .default(fallback);
const optionalInteger = (min = 0) =>
  text
    .transform((v, ctx) => {
      const parsed = Number.parseInt(v, 10);
      if (Number.isNaN(parsed)) return undefined;
      if (parsed < min) {
        ctx.addIssue({ code: 'custom', message: `must be ${min} or more` });
        return z.NEVER;
      }
      return parsed;
    })
    .optional();
const httpUrl = text
  .refine((v) => v === '' || /^https?:\/\/[^\s]+$/.test(v), 'must be an http(s) URL')
  .transform((v) => (v === '' ? undefined : v.replace(/\/+$/, '')))
  .optional();
const list = (fallback: string) =>
  text
    .transform((v) =>
      (v === '' ? fallback : v)
        .split(',')
        .map((s) => s.trim())
        .filter((s) => s !== ''),
    )
    .default(fallback.split(','));

/** Reads a 32-byte key: 64 hex digits are tried first (they are valid base64 of 48 bytes), then standard base64. */
export function parseEncryptionKey(value: string): Buffer | undefined {
  if (/^[0-9a-fA-F]{64}$/.test(value)) return Buffer.from(value, 'hex');
  const decoded = Buffer.from(value, 'base64');
  return decoded.length === 32 && decoded.toString('base64') === value ? decoded : undefined;
}
const encryptionKey = text
  .transform((v, ctx) => {
    if (v === '') return undefined;
    if (parseEncryptionKey(v) === undefined) {
      ctx.addIssue({ code: 'custom', message: 'must be 32 bytes as base64 with padding, or 64 hex digits' });
      return z.NEVER;
    }
    return new Secret(v);
  })
  .optional();

const EMAIL_FROM = 'NodeByte <noreply@nodebyte.host>';
const sitePath = (fallback: string) =>
  text
    .refine((v) => v === '' || /^\/[^\s?#]*$/.test(v), 'must be a path that begins with /, without ? and #')
    .transform((v) => v || fallback)
    .default(fallback);

const Schema = z.object({
  ENV: text.default('development').transform((v) => v || 'development'),
  LOG_LEVEL: text
    .transform((v) => v || 'info')
    .pipe(z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']))
    .default('info'),
  BACKEND_PORT: optionalInteger(),
  PORT: optionalInteger(),
  BACKEND_HOST: text.default('0.0.0.0').transform((v) => v || '0.0.0.0'),
  DATA_DIR: text.default('.data').transform((v) => v || '.data'),
  CACHE_DIR: optionalText,
  DATABASE_URL: secret,
  TEMPORAL_ADDRESS: optionalText,
  TEMPORAL_NAMESPACE: text.default('default').transform((v) => v || 'default'),
  TEMPORAL_API_KEY: secret,
  TEMPORAL_TLS: flag(false),
  TEMPORAL_TLS_SERVER_NAME: optionalText,
  TEMPORAL_TLS_CA_PATH: optionalText,
  TEMPORAL_TLS_CERT_PATH: optionalText,
  TEMPORAL_TLS_KEY_PATH: optionalText,
  TEMPORAL_CLI_PATH: optionalText,
  BACKEND_API_KEY: secret,
  JWT_SECRET: secret,
  NEXTAUTH_SECRET: secret,
  JWT_ACCESS_TTL: integer(2_592_000, 60),
  ENCRYPTION_KEY: encryptionKey,
  ENCRYPTION_KEY_PREVIOUS: encryptionKey,
  TRUSTED_PROXY_HOPS: integer(0),
  CORS_ORIGINS: list('http://localhost:3000,https://nodebyte.host'),
  PTERODACTYL_URL: httpUrl,
  PTERODACTYL_API_KEY: secret,
  PTERODACTYL_CLIENT_API_KEY: secret,
  CF_ACCESS_CLIENT_ID: optionalText,
  CF_ACCESS_CLIENT_SECRET: secret,
  PANEL_CONCURRENCY: integer(8, 1),
  PANEL_REQUESTS_PER_MINUTE: optionalInteger(1),
  VIRTFUSION_URL: httpUrl,
  VIRTFUSION_API_KEY: secret,
  RESEND_API_KEY: secret,
  RESEND_BASE_URL: httpUrl,
  SMTP_URL: secret,
  EMAIL_FROM: text.default(EMAIL_FROM).transform((v) => v || EMAIL_FROM),
  SITE_URL: httpUrl,
  NEXT_PUBLIC_SITE_URL: httpUrl,
  NEXTAUTH_URL: httpUrl,
  EMAIL_VERIFY_PATH: sitePath('/auth/verify-email'),
  EMAIL_RESET_PATH: sitePath('/auth/reset-password'),
  EMAIL_MAGIC_PATH: sitePath('/auth/magic-link'),
  AUTO_SYNC_ENABLED: flag(false),
  AUTO_SYNC_INTERVAL: optionalInteger(1),
  SYNC_SUBUSERS_ENABLED: flag(true),
  SYNC_SUBUSERS_BATCH_SIZE: integer(25, 1),
  SYNC_LOG_RETENTION_DAYS: integer(30),
  SENTRY_DSN: secret,
});

export interface Config {
  readonly env: string;
  readonly production: boolean;
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';
  readonly host: string;
  readonly port: number;
  readonly portGiven: boolean;
  readonly dataDir: string;
  readonly cacheDir: string | undefined;
  readonly databaseUrl: Secret | undefined;
  readonly temporal: {
    readonly address: string | undefined;
    readonly namespace: string;
    readonly apiKey: Secret | undefined;
    readonly tls: boolean;
    readonly tlsServerName: string | undefined;
    readonly tlsCaPath: string | undefined;
    readonly tlsCertPath: string | undefined;
    readonly tlsKeyPath: string | undefined;
    readonly cliPath: string | undefined;
  };
  readonly backendApiKey: Secret | undefined;
  readonly jwtSecret: Secret | undefined;
  readonly nextAuthSecret: Secret | undefined;
  readonly jwtAccessTtlSeconds: number;
  readonly encryptionKey: Secret | undefined;
  readonly encryptionKeyPrevious: Secret | undefined;
  readonly corsOrigins: readonly string[];
  readonly trustedProxyHops: number;
  readonly panel: {
    readonly url: string | undefined;
    readonly apiKey: Secret | undefined;
    readonly clientApiKey: Secret | undefined;
    readonly cfAccessClientId: string | undefined;
    readonly cfAccessClientSecret: Secret | undefined;
    readonly concurrency: number;
    readonly requestsPerMinute: number | undefined;
  };
  readonly virtfusion: { readonly url: string | undefined; readonly apiKey: Secret | undefined };
  readonly mail: {
    readonly resendApiKey: Secret | undefined;
    readonly resendBaseUrl: string;
    readonly smtpUrl: Secret | undefined;
    readonly from: string;
    readonly siteUrl: string;
    readonly paths: { readonly verify: string; readonly reset: string; readonly magic: string };
  };
  readonly autoSync: { readonly enabled: boolean; readonly intervalSeconds: number };
  readonly subusers: { readonly enabled: boolean; readonly batchSize: number };
  readonly syncLogRetentionDays: number;
  readonly sentryDsn: Secret | undefined;
}

/** Thrown by {@link loadConfig}; `problems` names each variable that is wrong, never its value. */
export class ConfigError extends Error {
  readonly problems: readonly string[];
  constructor(problems: readonly string[]) {
    super(`configuration is not usable:\n${problems.map((p) => `  - ${p}`).join('\n')}`);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

/**
 * Parses the environment.
 * @throws {ConfigError} with all problems at once.
 */
export function loadConfig(env: Record<string, string | undefined>): Config {
  const parsed = Schema.safeParse(env);
  if (!parsed.success) {
    throw new ConfigError(parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`));
  }
  const v = parsed.data;
  const production = v.ENV === 'production';
  const problems: string[] = [];
  if (production) {
    if (v.ENCRYPTION_KEY === undefined) problems.push('ENCRYPTION_KEY: required when ENV=production');
    if (v.JWT_SECRET === undefined && v.NEXTAUTH_SECRET === undefined) {
      problems.push('JWT_SECRET: required when ENV=production (or NEXTAUTH_SECRET)');
    }
    if (v.BACKEND_API_KEY !== undefined && v.BACKEND_API_KEY.reveal().length < 32) {
      problems.push('BACKEND_API_KEY: must be 32 characters or more when ENV=production');
    }
  }
  if (v.DATABASE_URL !== undefined && !/^postgres(ql)?:\/\//.test(v.DATABASE_URL.reveal())) {
    problems.push('DATABASE_URL: must start with postgres:// or postgresql://');
  }
  if (v.SMTP_URL !== undefined && !/^smtps?:\/\/[^\s]+$/.test(v.SMTP_URL.reveal())) {
    problems.push('SMTP_URL: must start with smtp:// or smtps://');
  }
  if ((v.TEMPORAL_TLS_CERT_PATH === undefined) !== (v.TEMPORAL_TLS_KEY_PATH === undefined)) {
    problems.push('TEMPORAL_TLS_CERT_PATH, TEMPORAL_TLS_KEY_PATH: set both or neither');
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const givenPort = v.BACKEND_PORT ?? v.PORT;
  return Object.freeze({
    env: v.ENV,
    production,
    logLevel: v.LOG_LEVEL,
    host: v.BACKEND_HOST,
    port: givenPort ?? 8080,
    portGiven: givenPort !== undefined,
    dataDir: v.DATA_DIR,
    cacheDir: v.CACHE_DIR,
    databaseUrl: v.DATABASE_URL,
    temporal: Object.freeze({
      address: v.TEMPORAL_ADDRESS,
      namespace: v.TEMPORAL_NAMESPACE,
      apiKey: v.TEMPORAL_API_KEY,
      tls: v.TEMPORAL_TLS || v.TEMPORAL_API_KEY !== undefined || v.TEMPORAL_TLS_CERT_PATH !== undefined,
      tlsServerName: v.TEMPORAL_TLS_SERVER_NAME,
      tlsCaPath: v.TEMPORAL_TLS_CA_PATH,
      tlsCertPath: v.TEMPORAL_TLS_CERT_PATH,
      tlsKeyPath: v.TEMPORAL_TLS_KEY_PATH,
      cliPath: v.TEMPORAL_CLI_PATH,
    }),
    backendApiKey: v.BACKEND_API_KEY,
    jwtSecret: v.JWT_SECRET,
    nextAuthSecret: v.NEXTAUTH_SECRET,
    jwtAccessTtlSeconds: v.JWT_ACCESS_TTL,
    encryptionKey: v.ENCRYPTION_KEY,
    encryptionKeyPrevious: v.ENCRYPTION_KEY_PREVIOUS,
    corsOrigins: v.CORS_ORIGINS,
    trustedProxyHops: v.TRUSTED_PROXY_HOPS,
    panel: Object.freeze({
      url: v.PTERODACTYL_URL,
      apiKey: v.PTERODACTYL_API_KEY,
      clientApiKey: v.PTERODACTYL_CLIENT_API_KEY,
      cfAccessClientId: v.CF_ACCESS_CLIENT_ID,
      cfAccessClientSecret: v.CF_ACCESS_CLIENT_SECRET,
      concurrency: v.PANEL_CONCURRENCY,
      requestsPerMinute: v.PANEL_REQUESTS_PER_MINUTE,
    }),
    virtfusion: Object.freeze({ url: v.VIRTFUSION_URL, apiKey: v.VIRTFUSION_API_KEY }),
    mail: Object.freeze({
      resendApiKey: v.RESEND_API_KEY,
      resendBaseUrl: v.RESEND_BASE_URL ?? 'https://api.resend.com',
      smtpUrl: v.SMTP_URL,
      from: v.EMAIL_FROM,
      siteUrl: v.SITE_URL ?? v.NEXT_PUBLIC_SITE_URL ?? v.NEXTAUTH_URL ?? 'https://nodebyte.host',
      paths: Object.freeze({ verify: v.EMAIL_VERIFY_PATH, reset: v.EMAIL_RESET_PATH, magic: v.EMAIL_MAGIC_PATH }),
    }),
    autoSync: Object.freeze({
      enabled: v.AUTO_SYNC_ENABLED,
      intervalSeconds: v.AUTO_SYNC_INTERVAL === undefined ? 3600 : v.AUTO_SYNC_INTERVAL * 60,
    }),
    subusers: Object.freeze({ enabled: v.SYNC_SUBUSERS_ENABLED, batchSize: v.SYNC_SUBUSERS_BATCH_SIZE }),
    syncLogRetentionDays: v.SYNC_LOG_RETENTION_DAYS === 0 ? 30 : v.SYNC_LOG_RETENTION_DAYS,
    sentryDsn: v.SENTRY_DSN,
  });
}
