/** Logs and error reports: what every entry sets up first. Composition passes the logger down as a value. */
import pino from 'pino';
import { isAppError } from './domain/errors.ts';
import type { Secret } from './domain/secret.ts';

/** Keys whose values never reach a log line, at the top and one level down. */
const SECRET_KEYS = [
  'authorization',
  'Authorization',
  'cookie',
  '["x-api-key"]',
  '["X-API-Key"]',
  '["set-cookie"]',
  'password',
  'confirmPassword',
  'token',
  'accessToken',
  'refreshToken',
  'apiKey',
  'api_key',
  'webhookUrl',
  'connectionString',
  'databaseUrl',
];
const REDACTED_PATHS = SECRET_KEYS.flatMap((key) => [
  key,
  key.startsWith('[') ? `*${key}` : `*.${key}`,
  key.startsWith('[') ? `*.headers${key}` : `*.headers.${key}`,
]);

export interface LoggerOptions {
  /** pino level, or `silent`. */
  level: string;
  /** Readable lines instead of JSON; meant for a terminal in development. */
  pretty: boolean;
  /** Process name on each line. */
  name: string;
}

/**
 * Makes the process logger. JSON lines go to stdout; readable lines too, so that stderr stays for the program itself.
 * Values under the names of secrets are replaced by `[redacted]`.
 */
export function createLogger(options: LoggerOptions): pino.Logger {
  return pino({
    name: options.name,
    level: options.level,
    base: { name: options.name },
    timestamp: pino.stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '[redacted]' },
    formatters: { level: (label) => ({ level: label }) },
    serializers: { err: serializeError, error: serializeError },
    ...(options.pretty
      ? {
          transport: {
            target: 'pino-pretty',
            options: {
              colorize: process.stdout.isTTY === true,
              translateTime: 'SYS:HH:MM:ss.l',
              ignore: 'pid,hostname',
            },
          },
        }
      : {}),
  });
}

/** pino's error serializer without `config`-like extras: type, message, stack, code and the public parts of an AppError. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return {
    type: error.name,
    message: error.message,
    code,
    stack: error.stack,
    ...(isAppError(error) && error.meta !== undefined ? { meta: error.meta } : {}),
    ...(error.cause === undefined ? {} : { cause: serializeError(error.cause) }),
  };
}

type Sentry = typeof import('@sentry/node');
let sentry: Promise<Sentry | undefined> | undefined;

/**
 * Switches error reports on when a DSN is set. The library is loaded only then: it costs tens of megabytes.
 * Reports carry no personal data, no request body and no headers.
 */
export function initSentry(config: { sentryDsn: Secret | undefined; env: string }, release?: string): void {
  const dsn = config.sentryDsn?.reveal();
  if (dsn === undefined || sentry !== undefined) return;
  sentry = import('@sentry/node').then(
    (library) => {
      library.init({
        dsn,
        environment: config.env,
        tracesSampleRate: 0,
        dataCollection: {
          userInfo: false,
          cookies: false,
          httpHeaders: false,
          httpBodies: [],
          urlQueryParams: false,
          stackFrameVariables: false,
        },
        ...(release === undefined ? {} : { release }),
        beforeSend: (event) => {
          const { request: _request, user: _user, ...rest } = event;
          return rest;
        },
        beforeBreadcrumb: () => null,
      });
      return library;
    },
    () => undefined,
  );
}

/** Reports an error a person should look at; without {@link initSentry} it does nothing. Never throws. */
export function captureError(
  error: unknown,
  context: Record<string, string | number | boolean | undefined> = {},
): void {
  if (sentry === undefined) return;
  void sentry.then((library) => {
    library?.captureException(error, { tags: context });
  });
}

/** Waits for reports under way, at the most `timeoutMs`, before a process ends. */
export async function flushErrors(timeoutMs = 2000): Promise<void> {
  const library = await sentry;
  await library?.flush(timeoutMs);
}
