/** Logs and error reports. The entries set them up first and pass them down as values. */
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

interface LoggerOptions {
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
function createLogger(options: LoggerOptions): pino.Logger {
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

/** Names of the transactions of background work, and the part of them that is sent. */
const TRACED = 'worker.';
const TRACED_PART = 0.1;
/** Parts of the library that look at errors, not at requests. */
const KEPT_INTEGRATIONS: ReadonlySet<string> = new Set([
  'EventFilters',
  'InboundFilters',
  'FunctionToString',
  'LinkedErrors',
  'OnUncaughtException',
  'OnUnhandledRejection',
  'ContextLines',
  'Context',
  'Modules',
  'ProcessSession',
]);

/**
 * Switches error reports on when a DSN is set. The library is loaded only then: it costs tens of megabytes.
 * Reports carry no personal data, no request body and no headers.
 */
function initSentry(config: { sentryDsn: Secret | undefined; env: string }, release?: string): void {
  const dsn = config.sentryDsn?.reveal();
  if (dsn === undefined || sentry !== undefined) return;
  sentry = import('@sentry/node').then(
    (library) => {
      library.init({
        dsn,
        environment: config.env,
        traceLifecycle: 'static',
        tracesSampler: ({ name }) => (name.startsWith(TRACED) ? TRACED_PART : 0),
        // Our own transactions only. What instruments other libraries would record their URLs, which can hold secrets.
        integrations: (known) => known.filter(({ name }) => KEPT_INTEGRATIONS.has(name)),
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
        beforeSendTransaction: (event) => {
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

/** Reports an error that a person should look at; without {@link initSentry} it does nothing. Never throws. */
export function captureError(
  error: unknown,
  context: Record<string, string | number | boolean | undefined> = {},
): void {
  if (sentry === undefined) return;
  void sentry.then((library) => {
    library?.captureException(error, { tags: context });
  });
}

/** A piece of background work that Sentry can show as a transaction. */
export interface Traced {
  /** Name of the transaction, such as `worker.refresh_oauth_tokens`. */
  transaction: string;
  /** Name of the span in it, and of the operation in reports of errors. */
  operation: string;
  /** What it is about: an id. */
  description: string;
}

/** Runs work in a transaction; without {@link initSentry} it only runs. */
export async function traced<T>({ transaction, operation, description }: Traced, work: () => Promise<T>): Promise<T> {
  const library = await sentry;
  if (library === undefined) return work();
  // The part that is sent is chosen by trace, so each piece of work is a trace of its own.
  return library.startNewTrace(() =>
    library.startSpan({ name: transaction, op: 'task', forceTransaction: true }, () =>
      library.startSpan({ name: description, op: operation }, work),
    ),
  );
}

/** Waits at most `timeoutMs` for reports that are being sent, before a process ends. */
export async function flushErrors(timeoutMs = 2000): Promise<void> {
  const library = await sentry;
  await library?.flush(timeoutMs);
}

/**
 * Sets up logs and error reports of a process, also for promises that no code handles.
 * @param name on each line
 */
export function startLogging(
  config: { logLevel: string; production: boolean; env: string; sentryDsn: Secret | undefined },
  name: string,
  version: string,
): pino.Logger {
  const log = createLogger({
    level: config.logLevel,
    pretty: !config.production && process.stdout.isTTY === true,
    name,
  });
  initSentry(config, version);
  process.on('unhandledRejection', (error) => {
    log.error({ err: error }, 'unhandled rejection');
    captureError(error);
  });
  return log;
}
