/** The table of environment variables, for `.env.example`, the README and `doctor`. Read by `loadConfig` in config.ts. */

/** One environment variable: what it means, for `.env.example`, the README table and `doctor`. */
export interface ConfigVariable {
  name: string;
  section: string;
  description: string;
  example?: string;
  secret?: boolean;
  /** Key of the `config` table that overrides this variable when it holds a non-empty value. */
  databaseKey?: string;
}

/** Every variable the processes read, in the order of `.env.example`. */
export const CONFIG_VARIABLES: readonly ConfigVariable[] = [
  {
    name: 'ENV',
    section: 'Process',
    description: '`production` demands secrets and logs JSON; anything else is for development',
    example: 'development',
  },
  {
    name: 'LOG_LEVEL',
    section: 'Process',
    description: 'trace, debug, info, warn, error, fatal or silent',
    example: 'info',
  },
  { name: 'BACKEND_PORT', section: 'Process', description: 'Port of the api', example: '8080' },
  { name: 'PORT', section: 'Process', description: 'Fallback spelling of BACKEND_PORT' },
  { name: 'BACKEND_HOST', section: 'Process', description: 'Address the api listens on', example: '0.0.0.0' },
  {
    name: 'CORS_ORIGINS',
    section: 'Process',
    description: 'Exact origins of the web frontend, comma separated',
    example: 'http://localhost:3000,https://nodebyte.host',
  },
  {
    name: 'TRUSTED_PROXY_HOPS',
    section: 'Process',
    description:
      'Proxies of yours in front of the api: so many entries of X-Forwarded-For, from the right, are believed for rate limits; 0 = the header is ignored',
    example: '0',
  },
  {
    name: 'DATA_DIR',
    section: 'Process',
    description: 'What `npm start` keeps: embedded PostgreSQL and Temporal, made secrets',
    example: '.data',
  },
  {
    name: 'CACHE_DIR',
    section: 'Process',
    description: 'Downloaded programs; empty = a folder of the project in the user cache folder',
  },
  {
    name: 'DATABASE_URL',
    section: 'Services',
    description: 'postgres://… of an external PostgreSQL 12 or newer; empty = the embedded one',
    secret: true,
  },
  {
    name: 'TEMPORAL_ADDRESS',
    section: 'Services',
    description: 'host:port of an external Temporal; empty = the embedded dev server',
  },
  { name: 'TEMPORAL_NAMESPACE', section: 'Services', description: 'Temporal namespace', example: 'default' },
  { name: 'TEMPORAL_API_KEY', section: 'Services', description: 'API key of a hosted Temporal', secret: true },
  {
    name: 'TEMPORAL_TLS',
    section: 'Services',
    description: 'true = TLS to Temporal (implied by an API key or a certificate)',
    example: 'false',
  },
  { name: 'TEMPORAL_TLS_SERVER_NAME', section: 'Services', description: 'Name expected in the server certificate' },
  { name: 'TEMPORAL_TLS_CA_PATH', section: 'Services', description: 'File with the certificate authority' },
  { name: 'TEMPORAL_TLS_CERT_PATH', section: 'Services', description: 'File with the client certificate' },
  { name: 'TEMPORAL_TLS_KEY_PATH', section: 'Services', description: 'File with the client key' },
  {
    name: 'TEMPORAL_CLI_PATH',
    section: 'Services',
    description: 'Path of a Temporal CLI for the embedded dev server; empty = found or downloaded',
  },
  {
    name: 'BACKEND_API_KEY',
    section: 'Secrets',
    description:
      'Key of API clients (X-API-Key); empty = all API-key calls are refused; 32 characters or more in production',
    secret: true,
  },
  { name: 'JWT_SECRET', section: 'Secrets', description: 'Signs access tokens', secret: true },
  {
    name: 'NEXTAUTH_SECRET',
    section: 'Secrets',
    description: 'Also verifies tokens; signs them when JWT_SECRET is empty',
    secret: true,
  },
  { name: 'JWT_ACCESS_TTL', section: 'Secrets', description: 'Life of an access token in seconds', example: '2592000' },
  {
    name: 'ENCRYPTION_KEY',
    section: 'Secrets',
    description: 'Encrypts secrets at rest: 32 bytes as base64, or 64 hex digits',
    secret: true,
  },
  {
    name: 'ENCRYPTION_KEY_PREVIOUS',
    section: 'Secrets',
    description: 'The key before a rotation, still accepted for reading',
    secret: true,
  },
  {
    name: 'PTERODACTYL_URL',
    section: 'Panel',
    description: 'Origin of the Pterodactyl panel',
    databaseKey: 'pterodactyl_url',
  },
  {
    name: 'PTERODACTYL_API_KEY',
    section: 'Panel',
    description: 'Application API key of the panel',
    secret: true,
    databaseKey: 'pterodactyl_api_key',
  },
  {
    name: 'PTERODACTYL_CLIENT_API_KEY',
    section: 'Panel',
    description: 'Client API key of a panel administrator',
    secret: true,
    databaseKey: 'pterodactyl_client_api_key',
  },
  {
    name: 'CF_ACCESS_CLIENT_ID',
    section: 'Panel',
    description: 'Cloudflare Access id, if the panel is behind it',
    databaseKey: 'cf_access_client_id',
  },
  {
    name: 'CF_ACCESS_CLIENT_SECRET',
    section: 'Panel',
    description: 'Cloudflare Access secret',
    secret: true,
    databaseKey: 'cf_access_client_secret',
  },
  { name: 'PANEL_CONCURRENCY', section: 'Panel', description: 'Panel requests in flight at the most', example: '8' },
  {
    name: 'PANEL_REQUESTS_PER_MINUTE',
    section: 'Panel',
    description: 'Own limit for a panel that sends no throttle headers; empty = none',
  },
  {
    name: 'VIRTFUSION_URL',
    section: 'Panel',
    description: 'Origin of a VirtFusion panel; shown and tested by the setup pages only',
    databaseKey: 'virtfusion_url',
  },
  {
    name: 'VIRTFUSION_API_KEY',
    section: 'Panel',
    description: 'API key of the VirtFusion panel',
    secret: true,
    databaseKey: 'virtfusion_api_key',
  },
  {
    name: 'RESEND_API_KEY',
    section: 'Mail',
    description: 'Sends mail by Resend; without it and without SMTP_URL mail waits, for a day at the most',
    secret: true,
    databaseKey: 'resend_api_key',
  },
  {
    name: 'RESEND_BASE_URL',
    section: 'Mail',
    description: 'Address of the Resend API, for tests',
    example: 'https://api.resend.com',
  },
  {
    name: 'SMTP_URL',
    section: 'Mail',
    description: 'smtp(s)://user:password@host:port; when set, mail goes by SMTP instead of Resend',
    secret: true,
  },
  {
    name: 'EMAIL_FROM',
    section: 'Mail',
    description: 'Sender of all mail',
    example: 'NodeByte <noreply@nodebyte.host>',
    databaseKey: 'email_from',
  },
  {
    name: 'SITE_URL',
    section: 'Mail',
    description:
      'Origin of the web site that links in mails open (NEXT_PUBLIC_SITE_URL and NEXTAUTH_URL are read after it)',
    example: 'https://nodebyte.host',
    databaseKey: 'site_url',
  },
  { name: 'NEXT_PUBLIC_SITE_URL', section: 'Mail', description: 'Second spelling of SITE_URL' },
  { name: 'NEXTAUTH_URL', section: 'Mail', description: 'Third spelling of SITE_URL' },
  {
    name: 'EMAIL_VERIFY_PATH',
    section: 'Mail',
    description: 'Page of the site that verifies an address',
    example: '/auth/verify-email',
  },
  {
    name: 'EMAIL_RESET_PATH',
    section: 'Mail',
    description: 'Page of the site that sets a new password',
    example: '/auth/reset-password',
  },
  {
    name: 'EMAIL_MAGIC_PATH',
    section: 'Mail',
    description: 'Page of the site that redeems a magic link',
    example: '/auth/magic-link',
  },
  {
    name: 'AUTO_SYNC_ENABLED',
    section: 'Sync',
    description: 'Run a full sync by schedule',
    example: 'false',
    databaseKey: 'auto_sync_enabled',
  },
  {
    name: 'AUTO_SYNC_INTERVAL',
    section: 'Sync',
    description: 'Minutes between scheduled syncs (the database setting is in seconds); default 60',
    databaseKey: 'auto_sync_interval',
  },
  { name: 'SYNC_SUBUSERS_ENABLED', section: 'Sync', description: 'Sync subusers', example: 'true' },
  {
    name: 'SYNC_SUBUSERS_BATCH_SIZE',
    section: 'Sync',
    description: 'Servers per batch when subusers come from the client API',
    example: '25',
  },
  {
    name: 'SYNC_LOG_RETENTION_DAYS',
    section: 'Sync',
    description: 'Days a finished sync log, an outbox row and a mail are kept; 0 = 30',
    example: '30',
  },
  { name: 'SENTRY_DSN', section: 'Observability', description: 'Error reports; empty = off', secret: true },
];
