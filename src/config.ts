/**
 * The only reader of the environment. One schema holds every variable: its type, its default and, in `.meta()`, what
 * `.env.example`, the configuration guide and `doctor` say about it. `loadConfig` reports every problem at once (names
 * only, never values) and returns a frozen value that the entries pass down as arguments.
 */
import { z } from 'zod';
import { MIN_AUDIT_RETENTION_DAYS } from './domain/audit.ts';
import { parseSender, SENDER_FORM } from './domain/email-sender.ts';
import { parseEncryptionKey } from './domain/encryption-key.ts';
import { HYTALE_ENVIRONMENTS, HYTALE_HOSTS } from './domain/hytale/environment.ts';
import { parseWholeNumber } from './domain/numbers.ts';
import { Secret } from './domain/secret.ts';
import { keyProblem, secretProblem } from './domain/secret-strength.ts';
import { AUTO_SYNC_MODES, BUDGET_SHARE, readBoolean, SETTING_KEYS, type SettingKey } from './domain/settings.ts';
import { MIN_MIRROR_SECONDS } from './domain/sync/live-mirror.ts';
import { webhookHost } from './domain/webhook-url.ts';

/** What the schema says about a variable beside its type and its default. */
const Meta = z.strictObject({
  section: z.string(),
  description: z.string(),
  secret: z.literal(true).optional(),
  /** Key of the `config` table that overrides this variable when it holds a non-empty value. */
  databaseKey: z.enum(SETTING_KEYS).optional(),
  /** Default that several variables share, so that no single one of them holds it. */
  sharedDefault: z.string().optional(),
});

function isHttpOrigin(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && [`${url.origin}/`, url.origin].includes(url.href);
}

function isPageUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && `${url.origin}${url.pathname}` === url.href;
}

const text = z.string().trim();
const optionalText = text.transform((v) => v || undefined).optional();
const textOr = (fallback: string) => text.transform((v) => v || fallback).default(fallback);
const secret = text
  .transform((v) => (v === '' ? undefined : new Secret(v)))
  .optional()
  .meta({ secret: true });
/** A URL that may hold a password. */
const secretUrl = (pattern: RegExp, problem: string) =>
  text
    .refine((v) => v === '' || pattern.test(v), problem)
    .transform((v) => (v === '' ? undefined : new Secret(v)))
    .optional()
    .meta({ secret: true });
/** `true`, `1`, `yes` are true, any other non-empty text is false (contract of the existing service). */
const flag = (fallback: boolean) => text.transform((v) => readBoolean(v, fallback)).default(fallback);
/** The digits at the start; a text without them counts as not set (contract of the existing service). */
const wholeNumber = (min: number, reason = '') =>
  text
    .transform((v, ctx) => {
      const parsed = parseWholeNumber(v, { ignoreRest: true });
      if (parsed === undefined || parsed >= min) return parsed;
      ctx.addIssue({ code: 'custom', message: `must be ${min} or more${reason}` });
      return z.NEVER;
    })
    .optional();
const wholeNumberOr = (fallback: number, min = 0) => wholeNumber(min).transform((v) => v ?? fallback);
const httpUrl = text
  .refine((v) => v === '' || /^https?:\/\/[^\s]+$/.test(v), 'must be an http(s) URL')
  .transform((v) => (v === '' ? undefined : v.replace(/\/+$/, '')))
  .optional();
const httpOrigin = text
  .refine((v) => v === '' || isHttpOrigin(v), 'must be an http(s) URL without a path')
  .transform((v) => (v === '' ? undefined : new URL(v).origin))
  .optional();
/** A page that people open: no password, query or fragment. */
const pageUrl = text
  .refine((v) => v === '' || isPageUrl(v), 'must be an http(s) URL without user, query and fragment')
  .transform((v) => (v === '' ? undefined : new URL(v).href.replace(/\/+$/, '')))
  .optional();
const httpUrlOr = (fallback: string) => httpUrl.transform((v) => v ?? fallback);
const sitePath = (fallback: string) =>
  text
    .refine((v) => v === '' || /^\/[^\s?#]*$/.test(v), 'must be a path that begins with /, without ? and #')
    .transform((v) => v || fallback)
    .default(fallback);
const list = text
  .transform((v): readonly string[] | undefined => {
    if (v === '') return undefined;
    return v
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  })
  .optional();
const webhookHosts = list
  .refine((v) => (v ?? []).every((entry) => webhookHost(entry) !== undefined), 'each must be a host name or host:port')
  .transform((v) => v ?? DEFAULT_WEBHOOK_HOSTS);
/** Names of environment variables, as the panel writes them. */
const variableNames = (fallback: readonly string[]) =>
  list
    .refine((v) => (v ?? []).every((name) => /^[A-Z0-9_]{1,191}$/.test(name)), 'each must be a name of A-Z, 0-9 and _')
    .transform((v) => v ?? fallback);
const hytaleEnvironment = text
  .transform((v) => v || undefined)
  .pipe(z.enum(HYTALE_ENVIRONMENTS, `must be one of ${HYTALE_ENVIRONMENTS.join(', ')}, in lower case`).optional())
  .optional();
const autoSyncMode = text
  .transform((v) => v || AUTO_SYNC_MODES[0])
  .pipe(z.enum(AUTO_SYNC_MODES, `must be one of ${AUTO_SYNC_MODES.join(', ')}, in lower case`))
  .default(AUTO_SYNC_MODES[0]);
const senderOr = (fallback: string) =>
  textOr(fallback).refine((v) => parseSender(v) !== undefined, `must be one sender: ${SENDER_FORM}`);

const encryptionKey = text
  .refine(
    (v) => v === '' || parseEncryptionKey(v) !== undefined,
    'must be 32 bytes as base64 with padding, or 64 hex digits',
  )
  .transform((v) => (v === '' ? undefined : new Secret(v)))
  .optional()
  .meta({ secret: true });

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const logLevel = text
  .transform((v) => v || 'info')
  .pipe(z.enum(LOG_LEVELS))
  .default('info');

/** Kinds of installation. A misspelled word must not switch off what production demands, so there are no others. */
const ENVIRONMENTS = ['development', 'test', 'staging', 'production'] as const;
const environment = text
  .transform((v) => v || 'development')
  .pipe(z.enum(ENVIRONMENTS, `must be one of ${ENVIRONMENTS.join(', ')}, in lower case`))
  .default('development');

/** The relay's, the merge's, that of a merge which waits for its turn, and one with which they report and are cancelled. */
const MIN_POOL = 4;
const DEFAULT_PORT = 8080;
const DEFAULT_WEBHOOK_HOSTS = ['gateway.nodebyte.host'];
const DEFAULT_SITE_URL = 'https://nodebyte.host';
const DEFAULT_RETENTION_DAYS = 30;
const DEFAULT_AUDIT_RETENTION_DAYS = 365;
/** A page of a developer's own machine may call the api outside production only. */
const DEVELOPMENT_ORIGINS = ['http://localhost:3000', DEFAULT_SITE_URL];
const PRODUCTION_ORIGINS = [DEFAULT_SITE_URL];
const DEVELOPMENT_HOST = '127.0.0.1';
const PRODUCTION_HOST = '0.0.0.0';

/** Puts variables under one heading of the documents. */
function section<Shape extends z.ZodRawShape>(title: string, shape: Shape): Shape {
  for (const schema of Object.values(shape)) {
    z.globalRegistry.add(schema, { ...z.globalRegistry.get(schema), section: title });
  }
  return shape;
}

/** Every variable, in the order of the documents. */
const Variables = z.object({
  ...section('Process', {
    ENV: environment.meta({
      description: `One of ${ENVIRONMENTS.join(', ')}. production and staging require strong secrets and log JSON`,
    }),
    LOG_LEVEL: logLevel.meta({ description: `One of ${LOG_LEVELS.join(', ')}` }),
    BACKEND_PORT: wholeNumber(0).meta({ description: 'Port of the api', sharedDefault: String(DEFAULT_PORT) }),
    PORT: wholeNumber(0).meta({ description: 'Port of the api when BACKEND_PORT is not set' }),
    BACKEND_HOST: optionalText.meta({
      description: `Address on which the api listens; the default in production and staging is ${PRODUCTION_HOST}`,
      sharedDefault: DEVELOPMENT_HOST,
    }),
    CORS_ORIGINS: list.meta({
      description: `Origins of the web frontend, exact, separated by commas; the default in production and staging is ${PRODUCTION_ORIGINS.join()}`,
      sharedDefault: DEVELOPMENT_ORIGINS.join(),
    }),
    TRUSTED_PROXY_HOPS: wholeNumberOr(0).meta({
      description:
        'Number of your own proxies in front of the api: rate limits trust this many entries of X-Forwarded-For, from the right; 0 = the header is ignored',
    }),
    MAX_CONNECTIONS: wholeNumberOr(4096, 16).meta({
      description:
        'Open connections of the api; without a proxy of your own in front, one client has at most a sixteenth of them',
    }),
    DATA_DIR: textOr('.data').meta({
      description: 'Folder in which `npm start` keeps the embedded PostgreSQL and Temporal and the generated secrets',
    }),
    CACHE_DIR: optionalText.meta({
      description:
        'Folder of downloaded programs and of the workflow bundle; empty = a folder of this project in the user cache folder',
    }),
  }),
  ...section('Services', {
    DATABASE_URL: secretUrl(/^postgres(ql)?:\/\//, 'must start with postgres:// or postgresql://').meta({
      description: 'postgres://… of an external PostgreSQL 12 or newer; empty = the embedded one',
    }),
    DATABASE_POOL_MAX: wholeNumber(
      MIN_POOL,
      ': the outbox relay and a merge each hold a connection of the worker while they need others to finish',
    ).meta({
      description: `Maximum number of connections to PostgreSQL of each api and each worker, beside the one that listens; at least ${MIN_POOL}; empty = 10 of an api, 12 of a worker`,
    }),
    TEMPORAL_ADDRESS: optionalText.meta({
      description: 'host:port of an external Temporal; empty = the embedded dev server',
    }),
    TEMPORAL_NAMESPACE: textOr('default').meta({ description: 'Temporal namespace' }),
    TEMPORAL_API_KEY: secret.meta({ description: 'API key of a hosted Temporal' }),
    TEMPORAL_TLS: flag(false).meta({
      description: 'true = TLS to Temporal (an API key or a client certificate also turns it on)',
    }),
    TEMPORAL_TLS_SERVER_NAME: optionalText.meta({ description: 'Name expected in the server certificate' }),
    TEMPORAL_TLS_CA_PATH: optionalText.meta({ description: 'File with the certificate authority' }),
    TEMPORAL_TLS_CERT_PATH: optionalText.meta({ description: 'File with the client certificate' }),
    TEMPORAL_TLS_KEY_PATH: optionalText.meta({ description: 'File with the client key' }),
    TEMPORAL_UI_URL: pageUrl.meta({
      description:
        'Address of the Temporal web UI, with its path if it has one: administrators then get links to workflows; the embedded one is known',
    }),
    TEMPORAL_CLI_PATH: optionalText.meta({
      description: 'Path of a Temporal CLI for the embedded dev server; empty = found or downloaded',
    }),
  }),
  ...section('Secrets', {
    BACKEND_API_KEY: secret.meta({
      description: 'Key of API clients (X-API-Key); empty = all API-key calls are refused',
    }),
    JWT_SECRET: secret.meta({ description: 'Signs access tokens' }),
    NEXTAUTH_SECRET: secret.meta({ description: 'Also verifies tokens; signs them when JWT_SECRET is empty' }),
    JWT_ACCESS_TTL: wholeNumberOr(2_592_000, 60).meta({ description: 'Lifetime of an access token in seconds' }),
    ENCRYPTION_KEY: encryptionKey.meta({
      description: 'Encrypts stored secrets: 32 bytes as base64, or 64 hex digits',
    }),
    ENCRYPTION_KEY_PREVIOUS: encryptionKey.meta({
      description: 'The key before a rotation, still accepted for reading',
    }),
  }),
  ...section('Panel', {
    PTERODACTYL_URL: httpUrl.meta({ description: 'Origin of the Pterodactyl panel', databaseKey: 'pterodactyl_url' }),
    PTERODACTYL_API_KEY: secret.meta({
      description: 'Application API key of the panel',
      databaseKey: 'pterodactyl_api_key',
    }),
    PTERODACTYL_CLIENT_API_KEY: secret.meta({
      description:
        'Client API key of a panel administrator: for subusers, for the state and usage of servers, and for session tokens of Hytale',
      databaseKey: 'pterodactyl_client_api_key',
    }),
    CF_ACCESS_CLIENT_ID: optionalText.meta({
      description: 'Client id for Cloudflare Access, if the panel is behind it',
      databaseKey: 'cf_access_client_id',
    }),
    CF_ACCESS_CLIENT_SECRET: secret.meta({
      description: 'Client secret for Cloudflare Access',
      databaseKey: 'cf_access_client_secret',
    }),
    PANEL_CONCURRENCY: wholeNumberOr(8, 1).meta({
      description: 'Maximum number of panel requests at the same time',
    }),
    PANEL_REQUESTS_PER_MINUTE: wholeNumber(1).meta({
      description: 'Limit of our own for a panel that sends no throttle headers; empty = none',
    }),
    VIRTFUSION_URL: httpUrl.meta({
      description: 'Origin of a VirtFusion panel; only the setup pages show and test it',
      databaseKey: 'virtfusion_url',
    }),
    VIRTFUSION_API_KEY: secret.meta({
      description: 'API key of the VirtFusion panel',
      databaseKey: 'virtfusion_api_key',
    }),
  }),
  ...section('Email', {
    RESEND_API_KEY: secret.meta({
      description: 'Sends email through Resend; without it and without SMTP_URL, email waits for at most four days',
      databaseKey: 'resend_api_key',
    }),
    RESEND_BASE_URL: httpUrlOr('https://api.resend.com').meta({ description: 'Address of the Resend API, for tests' }),
    SMTP_URL: secretUrl(/^smtps?:\/\/[^\s]+$/, 'must start with smtp:// or smtps://').meta({
      description: 'smtp(s)://user:password@host:port; when set, email goes by SMTP instead of Resend',
    }),
    SMTP_ALLOW_PLAINTEXT: flag(false).meta({
      description: 'true = login and email may go to the SMTP server without encryption, if it offers none',
    }),
    EMAIL_FROM: senderOr('NodeByte <noreply@nodebyte.host>').meta({
      description: `Sender of all email: \`${SENDER_FORM}\``,
      databaseKey: 'email_from',
    }),
    SITE_URL: httpUrl.meta({
      description: 'Origin of the web site that the links in emails open',
      databaseKey: 'site_url',
      sharedDefault: DEFAULT_SITE_URL,
    }),
    API_URL: httpOrigin.meta({
      description:
        'Public origin of this api: verification emails then have a link by which a reader removes an account that somebody else registered with the reader’s address',
    }),
    NEXT_PUBLIC_SITE_URL: httpUrl.meta({ description: 'Used when SITE_URL is not set' }),
    NEXTAUTH_URL: httpUrl.meta({ description: 'Used when SITE_URL and NEXT_PUBLIC_SITE_URL are not set' }),
    EMAIL_VERIFY_PATH: sitePath('/auth/verify-email').meta({
      description: 'Page of the site that verifies an address',
    }),
    EMAIL_RESET_PATH: sitePath('/auth/reset-password').meta({
      description: 'Page of the site that sets a new password',
    }),
    EMAIL_MAGIC_PATH: sitePath('/auth/magic-link').meta({ description: 'Page of the site that redeems a magic link' }),
  }),
  ...section('Discord', {
    DISCORD_WEBHOOK_HOSTS: webhookHosts.meta({
      description:
        'Hosts beside those of Discord that a webhook may have, separated by commas, each `name` or `name:port` and reached over https; outside production and staging also `host:port` of this machine, over http',
    }),
  }),
  ...section('Hytale', {
    HYTALE_ENVIRONMENT: hytaleEnvironment.meta({
      description: 'Environment of Hytale: `production` or `staging`. Default: that of HYTALE_USE_STAGING',
    }),
    HYTALE_USE_STAGING: flag(false).meta({ description: 'true = staging, unless HYTALE_ENVIRONMENT is set' }),
    HYTALE_REQUIRE_AUTH: flag(true).meta({
      description:
        'false = everybody may call the Hytale routes, and so have the tokens of every account. Only while callers are adapted',
    }),
    HYTALE_LOG_PUSH_KEY: secret.meta({
      description:
        'Key of the node daemons that send console lines (X-API-Key): it is valid for that route only. Empty = they use BACKEND_API_KEY',
    }),
    HYTALE_LOG_RETENTION_DAYS: wholeNumberOr(DEFAULT_RETENTION_DAYS, 1).meta({
      description: 'Days for which a console line of a Hytale server is kept',
    }),
    HYTALE_EXPOSE_REFRESH_TOKEN: flag(false).meta({
      description: 'true = answers of the Hytale token routes hold the refresh token, as the earlier service gave it',
    }),
    HYTALE_SESSION_LIMIT: wholeNumberOr(100, 1).meta({
      description: 'Game sessions that Hytale allows one account at the same time',
    }),
    HYTALE_SESSION_VARIABLES: variableNames(['HYTALE_SESSION_TOKEN', 'HYTALE_SERVER_SESSION_TOKEN']).meta({
      description: 'Startup variables that get the session token; of them, those that the egg of the server defines',
    }),
    HYTALE_IDENTITY_VARIABLES: variableNames(['HYTALE_IDENTITY_TOKEN', 'HYTALE_SERVER_IDENTITY_TOKEN']).meta({
      description: 'Startup variables that get the identity token',
    }),
    HYTALE_VERIFY_TOKENS: flag(true).meta({
      description: 'false = session tokens are taken without a look at their signature, for a staging without keys',
    }),
    HYTALE_OAUTH_BASE_URL: httpUrl.meta({ description: 'Origin of the OAuth host, for tests' }),
    HYTALE_ACCOUNT_DATA_BASE_URL: httpUrl.meta({ description: 'Origin of the account data host, for tests' }),
    HYTALE_SESSIONS_BASE_URL: httpUrl.meta({ description: 'Origin of the session host, for tests' }),
    HYTALE_ISSUER: httpUrl.meta({ description: 'Issuer of session tokens; default: the session host' }),
  }),
  ...section('Sync', {
    AUTO_SYNC_ENABLED: flag(false).meta({
      description: 'Run a full sync by schedule',
      databaseKey: 'auto_sync_enabled',
    }),
    AUTO_SYNC_INTERVAL: wholeNumberOr(60, 1).meta({
      description: 'Minutes between scheduled syncs (the setting in the database is in seconds)',
      databaseKey: 'auto_sync_interval',
    }),
    AUTO_SYNC_MODE: autoSyncMode.meta({
      description: `interval = every AUTO_SYNC_INTERVAL minutes; auto = the live mirror: as often as AUTO_SYNC_BUDGET_SHARE allows, at most every ${MIN_MIRROR_SECONDS} seconds`,
      databaseKey: 'auto_sync_mode',
    }),
    AUTO_SYNC_BUDGET_SHARE: wholeNumberOr(BUDGET_SHARE.fallback, BUDGET_SHARE.min)
      .refine((percent) => percent <= BUDGET_SHARE.max, `must be ${BUDGET_SHARE.max} or less`)
      .meta({
        description: `Percent of the panel's requests per minute that the live mirror spends at most, ${BUDGET_SHARE.min} to ${BUDGET_SHARE.max}`,
        databaseKey: 'auto_sync_budget_share',
      }),
    SYNC_SUBUSERS_ENABLED: flag(true).meta({ description: 'Sync subusers' }),
    SYNC_SUBUSERS_BATCH_SIZE: wholeNumberOr(25, 1).meta({
      description: 'Servers per batch when subusers come from the client API',
    }),
    SYNC_LOG_RETENTION_DAYS: wholeNumberOr(DEFAULT_RETENTION_DAYS).meta({
      description: `Days for which a finished sync log, an outbox row and an email are kept; 0 = ${DEFAULT_RETENTION_DAYS}`,
    }),
  }),
  ...section('Observability', {
    AUDIT_RETENTION_DAYS: wholeNumberOr(DEFAULT_AUDIT_RETENTION_DAYS)
      .refine(
        (days) => days === 0 || days >= MIN_AUDIT_RETENTION_DAYS,
        `must be 0, or ${MIN_AUDIT_RETENTION_DAYS} or more`,
      )
      .meta({
        description: `Days for which an audit event is kept: at least ${MIN_AUDIT_RETENTION_DAYS}, because the database refuses to delete younger ones; 0 = kept for ever`,
      }),
    SENTRY_DSN: secret.meta({ description: 'Address for error reports; empty = off' }),
  }),
});
type Variables = z.output<typeof Variables>;

/** Whether the installation is to hold against strangers. */
const isProduction = ({ ENV }: Pick<Variables, 'ENV'>): boolean => ENV === 'production' || ENV === 'staging';

/**
 * Secrets that production demands in full strength, and what is wrong with a text that is given for one. The previous
 * encryption key only reads, and a rotation is the way out of a weak one.
 */
const STRONG_SECRETS = {
  BACKEND_API_KEY: secretProblem,
  HYTALE_LOG_PUSH_KEY: secretProblem,
  JWT_SECRET: secretProblem,
  NEXTAUTH_SECRET: secretProblem,
  ENCRYPTION_KEY: encryptionKeyProblem,
} as const satisfies Partial<Record<keyof Variables, (value: string) => string | undefined>>;

function encryptionKeyProblem(value: string): string | undefined {
  const bytes = parseEncryptionKey(value);
  return bytes === undefined ? undefined : keyProblem(bytes);
}

/** The rules that take more than one variable. */
const CheckedVariables = Variables.superRefine((v, ctx) => {
  const problem = (name: keyof Variables, message: string): void =>
    ctx.addIssue({ code: 'custom', path: [name], message });
  if (isProduction(v)) {
    if (v.ENCRYPTION_KEY === undefined) problem('ENCRYPTION_KEY', `required when ENV=${v.ENV}`);
    if (v.JWT_SECRET === undefined && v.NEXTAUTH_SECRET === undefined) {
      problem('JWT_SECRET', `required when ENV=${v.ENV} (or NEXTAUTH_SECRET)`);
    }
    for (const { name, message } of weakSecrets(v)) problem(name, `${message} when ENV=${v.ENV}`);
    if (v.DISCORD_WEBHOOK_HOSTS.some((entry) => webhookHost(entry)?.loopback === true)) {
      problem('DISCORD_WEBHOOK_HOSTS', `may not name this machine when ENV=${v.ENV}`);
    }
  }
  if ((v.TEMPORAL_TLS_CERT_PATH === undefined) !== (v.TEMPORAL_TLS_KEY_PATH === undefined)) {
    problem('TEMPORAL_TLS_CERT_PATH', 'set it together with TEMPORAL_TLS_KEY_PATH, or neither');
  }
});

type StrongSecret = keyof typeof STRONG_SECRETS;

/** The secrets that can be guessed. Production and staging refuse them; elsewhere the api warns about them. */
function weakSecrets(v: Pick<Variables, StrongSecret>): { name: StrongSecret; message: string }[] {
  return (Object.keys(STRONG_SECRETS) as StrongSecret[]).flatMap((name) => {
    const secret = v[name];
    const message = secret === undefined ? undefined : STRONG_SECRETS[name](secret.reveal());
    return message === undefined ? [] : [{ name, message }];
  });
}

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A setting that the environment sets: the variable, and its value as the database would hold it. */
export interface EnvironmentSetting {
  variable: string;
  value: string | Secret;
}

function environmentSettings(v: Variables, env: Environment): Partial<Record<SettingKey, EnvironmentSetting>> {
  const found: Partial<Record<SettingKey, EnvironmentSetting>> = {};
  for (const [name, schema] of Object.entries(Variables.shape)) {
    const key = Meta.parse(schema.meta()).databaseKey ?? (SITE_URL_VARIABLES.includes(name) ? 'site_url' : undefined);
    if (key === undefined || found[key] !== undefined || (env[name] ?? '').trim() === '') continue;
    const parsed = v[name as keyof Variables];
    const text = name === 'AUTO_SYNC_INTERVAL' ? String(v.AUTO_SYNC_INTERVAL * 60) : (env[name] ?? '').trim();
    found[key] = Object.freeze({ variable: name, value: parsed instanceof Secret ? parsed : text });
  }
  return found;
}

/** Variables for the web site's URL; the first that is set counts. */
const SITE_URL_VARIABLES: readonly string[] = ['SITE_URL', 'NEXT_PUBLIC_SITE_URL', 'NEXTAUTH_URL'];

function hytaleConfig(v: Variables) {
  const environment = v.HYTALE_ENVIRONMENT ?? (v.HYTALE_USE_STAGING ? 'staging' : 'production');
  const hosts = HYTALE_HOSTS[environment];
  const sessions = v.HYTALE_SESSIONS_BASE_URL ?? hosts.sessions;
  return Object.freeze({
    environment,
    hosts: Object.freeze({
      oauth: v.HYTALE_OAUTH_BASE_URL ?? hosts.oauth,
      accountData: v.HYTALE_ACCOUNT_DATA_BASE_URL ?? hosts.accountData,
      sessions,
    }),
    issuer: v.HYTALE_ISSUER ?? sessions,
    requireAuth: v.HYTALE_REQUIRE_AUTH,
    logPushKey: v.HYTALE_LOG_PUSH_KEY,
    logRetentionDays: v.HYTALE_LOG_RETENTION_DAYS,
    exposeRefreshToken: v.HYTALE_EXPOSE_REFRESH_TOKEN,
    sessionLimit: v.HYTALE_SESSION_LIMIT,
    verifyTokens: v.HYTALE_VERIFY_TOKENS,
    variables: Object.freeze({ session: v.HYTALE_SESSION_VARIABLES, identity: v.HYTALE_IDENTITY_VARIABLES }),
  });
}

/** Groups the variables by what they configure. */
function toConfig(v: Variables, env: Environment) {
  return Object.freeze({
    env: v.ENV,
    /** Whether it is to hold against strangers: production and staging. */
    production: isProduction(v),
    weakSecrets: Object.freeze(weakSecrets(v)),
    logLevel: v.LOG_LEVEL,
    host: v.BACKEND_HOST ?? (isProduction(v) ? PRODUCTION_HOST : DEVELOPMENT_HOST),
    port: v.BACKEND_PORT ?? v.PORT ?? DEFAULT_PORT,
    dataDir: v.DATA_DIR,
    cacheDir: v.CACHE_DIR,
    databaseUrl: v.DATABASE_URL,
    /** Undefined: each process has its own default. */
    databasePoolMax: v.DATABASE_POOL_MAX,
    temporal: Object.freeze({
      address: v.TEMPORAL_ADDRESS,
      namespace: v.TEMPORAL_NAMESPACE,
      apiKey: v.TEMPORAL_API_KEY,
      tls: v.TEMPORAL_TLS || v.TEMPORAL_API_KEY !== undefined || v.TEMPORAL_TLS_CERT_PATH !== undefined,
      tlsServerName: v.TEMPORAL_TLS_SERVER_NAME,
      tlsCaPath: v.TEMPORAL_TLS_CA_PATH,
      tlsCertPath: v.TEMPORAL_TLS_CERT_PATH,
      tlsKeyPath: v.TEMPORAL_TLS_KEY_PATH,
      uiUrl: v.TEMPORAL_UI_URL,
      cliPath: v.TEMPORAL_CLI_PATH,
    }),
    backendApiKey: v.BACKEND_API_KEY,
    jwtSecret: v.JWT_SECRET,
    nextAuthSecret: v.NEXTAUTH_SECRET,
    jwtAccessTtlSeconds: v.JWT_ACCESS_TTL,
    encryptionKey: v.ENCRYPTION_KEY,
    encryptionKeyPrevious: v.ENCRYPTION_KEY_PREVIOUS,
    corsOrigins: v.CORS_ORIGINS ?? (isProduction(v) ? PRODUCTION_ORIGINS : DEVELOPMENT_ORIGINS),
    trustedProxyHops: v.TRUSTED_PROXY_HOPS,
    maxConnections: v.MAX_CONNECTIONS,
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
    email: Object.freeze({
      resendApiKey: v.RESEND_API_KEY,
      resendBaseUrl: v.RESEND_BASE_URL,
      smtpUrl: v.SMTP_URL,
      smtpAllowPlaintext: v.SMTP_ALLOW_PLAINTEXT,
      from: parseSender(v.EMAIL_FROM),
      siteUrl: v.SITE_URL ?? v.NEXT_PUBLIC_SITE_URL ?? v.NEXTAUTH_URL ?? DEFAULT_SITE_URL,
      apiUrl: v.API_URL,
      paths: Object.freeze({ verify: v.EMAIL_VERIFY_PATH, reset: v.EMAIL_RESET_PATH, magic: v.EMAIL_MAGIC_PATH }),
    }),
    discord: Object.freeze({ hosts: Object.freeze(v.DISCORD_WEBHOOK_HOSTS), production: isProduction(v) }),
    hytale: hytaleConfig(v),
    autoSync: Object.freeze({
      enabled: v.AUTO_SYNC_ENABLED,
      mode: v.AUTO_SYNC_MODE,
      intervalSeconds: v.AUTO_SYNC_INTERVAL * 60,
      budgetShare: v.AUTO_SYNC_BUDGET_SHARE,
    }),
    subusers: Object.freeze({ enabled: v.SYNC_SUBUSERS_ENABLED, batchSize: v.SYNC_SUBUSERS_BATCH_SIZE }),
    /** Settings that the environment sets, by their key in the database. */
    environment: Object.freeze(environmentSettings(v, env)),
    syncLogRetentionDays: v.SYNC_LOG_RETENTION_DAYS || DEFAULT_RETENTION_DAYS,
    /** 0: events are kept. */
    auditRetentionDays: v.AUDIT_RETENTION_DAYS,
    sentryDsn: v.SENTRY_DSN,
  });
}

/** The configuration of a process. */
export interface Config extends ReturnType<typeof toConfig> {}

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
 * Parses the environment, by default that of this process.
 * @throws {ConfigError} with all problems at once.
 */
export function loadConfig(env: Environment = process.env): Config {
  const parsed = CheckedVariables.safeParse(env);
  if (!parsed.success) throw configError(parsed.error);
  return toConfig(parsed.data, env);
}

const configError = (error: z.ZodError): ConfigError =>
  new ConfigError(error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`));

/**
 * Reads what a command on the database needs, so that it works when other variables are missing or wrong.
 * @throws {ConfigError} with all problems at once.
 */
export function loadDatabaseConfig(env: Environment = process.env): Pick<Config, 'env' | 'production' | 'databaseUrl'> {
  const parsed = Variables.pick({ ENV: true, DATABASE_URL: true }).safeParse(env);
  if (!parsed.success) throw configError(parsed.error);
  return { env: parsed.data.ENV, production: isProduction(parsed.data), databaseUrl: parsed.data.DATABASE_URL };
}

/** The keys of stored secrets. */
export interface KeysConfig {
  /** Undefined: none is configured. */
  key: Secret | undefined;
  previousKey: Secret | undefined;
}

/**
 * Reads what a command on the encrypted values needs. Production refuses a key that can be guessed here, too, before
 * anything is stored with it.
 * @throws {ConfigError} with all problems at once.
 */
export function loadKeysConfig(env: Environment = process.env): KeysConfig {
  const parsed = Variables.pick({ ENV: true, ENCRYPTION_KEY: true, ENCRYPTION_KEY_PREVIOUS: true }).safeParse(env);
  if (!parsed.success) throw configError(parsed.error);
  const { ENCRYPTION_KEY: key, ENCRYPTION_KEY_PREVIOUS: previousKey } = parsed.data;
  const weak = key === undefined || !isProduction(parsed.data) ? undefined : encryptionKeyProblem(key.reveal());
  if (weak !== undefined) throw new ConfigError([`ENCRYPTION_KEY: ${weak} when ENV=${parsed.data.ENV}`]);
  return { key, previousKey };
}

/** A variable as the documents and `doctor` show it. */
export interface ConfigVariable extends Omit<z.output<typeof Meta>, 'sharedDefault'> {
  name: string;
  /** As it would be written in the environment; `undefined` when the variable has none. */
  defaultText: string | undefined;
}

/**
 * Every variable that `loadConfig` reads, in the order of the documents.
 * @throws {z.ZodError} when the schema describes a variable incompletely.
 */
export function configVariables(): ConfigVariable[] {
  return Object.entries(Variables.shape).map(([name, schema]) => {
    const { sharedDefault, ...meta } = Meta.parse(schema.meta());
    const value: unknown = schema.parse(undefined) ?? sharedDefault;
    return { name, ...meta, defaultText: value === undefined ? undefined : String(value) };
  });
}
