/** What it means that the daemon of a node refuses a console or cannot be reached. */
import { AppError, isAppError } from '../../domain/errors.ts';
import { HttpFailure, notReachedText, whyNotReached } from '../http/failures.ts';

type About = Record<string, unknown>;

/** Why the daemon does not let us in. */
export type Refusal = 'origin' | 'server' | 'busy' | 'token' | 'suspended';

const REFUSALS: Readonly<Record<Refusal, string>> = {
  origin:
    'The node accepts consoles only from its panel: the panel URL that is configured here must be the one in the configuration of the node (`remote`), or stand in its `allowed_origins`',
  server: 'The node does not know this server',
  busy: 'The node has too many open consoles of this server',
  token: 'The node refused the token that the panel gave out for this console',
  suspended: 'This server is suspended at its node',
};

/** @param about for `meta`: never the token, nor a text of the daemon. */
export const refused = (kind: Refusal, about: About): AppError =>
  new AppError('CONSOLE_REFUSED', { publicMessage: REFUSALS[kind], meta: { ...about, kind } });

const NODE = 'the node';

/** The error of a handshake without a connection: {@link HttpFailure}, or something unexpected. */
export function noConnection(error: unknown, about: About): unknown {
  if (isAppError(error)) return new AppError(error.code, { meta: { ...error.meta, ...about } });
  if (!(error instanceof HttpFailure)) return error;
  const { kind, status, reason } = error;
  const refusal = status === undefined ? undefined : BY_STATUS[status];
  if (refusal !== undefined) return refused(refusal, { ...about, status });
  const meta = {
    ...about,
    kind,
    ...(status === undefined ? {} : { status }),
    ...(reason === undefined ? {} : { reason }),
  };
  if (status !== undefined) {
    return unavailable(`The node answers with status ${status} in place of a console`, meta);
  }
  return unavailable(
    kind === 'timeout' ? 'The node did not open the console in time' : notReachedText(NODE, whyNotReached(reason)),
    meta,
  );
}

/** Answers in place of a console: router/middleware/middleware.go, gorilla/websocket's check of the origin, router_server_ws.go. */
const BY_STATUS: Readonly<Record<number, Refusal>> = { 400: 'busy', 403: 'origin', 404: 'server' };

const unavailable = (publicMessage: string, meta: About): AppError =>
  new AppError('CONSOLE_UNAVAILABLE', { publicMessage, meta });

/** The daemon did not answer in time. */
export const late = (about: About): AppError =>
  unavailable('The node did not open the console in time', { ...about, kind: 'timeout' });

/** The daemon failed at our request. */
export const failed = (about: About): AppError =>
  unavailable('The node failed to read the console', { ...about, kind: 'daemon' });

/** Close code of a suspended server (router_server_ws.go). */
const SUSPENDED = 4_409;

/** The connection ended. @param code of its close frame. */
export const ended = (code: number, about: About): AppError =>
  code === SUSPENDED
    ? refused('suspended', about)
    : unavailable('The node ended the connection to the console', { ...about, kind: 'closed', code });

/** The limiter of the daemon lets one reading pass in five seconds (limiter.go). */
const THROTTLE_MS = 5_000;

/** The daemon dropped what we asked. */
export const throttled = (about: About): AppError =>
  new AppError('CONSOLE_THROTTLED', {
    publicMessage: 'The node asks to wait before the console is read again',
    meta: about,
    retryAfterMs: THROTTLE_MS,
  });
