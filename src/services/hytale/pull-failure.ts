/** What it means that a console could not be read: for whom nothing is asked any more, what its owner reads, and when it is tried again. */
import { type AppError, isAppError } from '../../domain/errors.ts';

export interface PullFailure {
  /**
   * `panel`: nothing is asked of the panel, for a while (`pending`) or in this run. `node`: nothing of the servers of this node. `server`: the others go on.
   */
  scope: 'panel' | 'node' | 'server';
  /** `failed`: somebody must change something, or it lasts. */
  status: 'pending' | 'failed';
  /** Public. */
  reason: string;
  /** Milliseconds for which no process asks the panel with this key; 0: it is not asked to wait. */
  pauseMs: number;
}

/** The pause after an answer of the panel that names none. */
const SHORT_MS = 30_000;
/** For what only a person can change: all servers would fail alike. */
const LONG_MS = 5 * 60_000;

const STATE =
  'The panel opens no console of this server at present: it is suspended, being installed, restored or moved, or its node is under maintenance';
const NO_RIGHT =
  'The panel refuses the client API key for this console: it must be of an administrator, or of a user of the server with the right "websocket.connect"';
const REFUSED_KEY = 'The panel refuses the client API key';
const UNKNOWN = 'The panel does not know this server, or the owner of the client API key has no access to it';
/** Two readings agreed about too little. */
export const UNSETTLED =
  'The console prints more at once than can be read in the right order: let the node daemon push its lines';
/** The daemon has no console of a server that does not run. */
export const NOT_RUNNING = 'The server does not run: its console is read when it does';
const INTERNAL = 'An internal error; the worker log has it';

const ofServer = (reason: string, status: PullFailure['status'] = 'failed'): PullFailure => ({
  scope: 'server',
  status,
  reason,
  pauseMs: 0,
});
const ofPanel = ({ message }: AppError, pauseMs: number): PullFailure => ({
  scope: 'panel',
  status: 'failed',
  reason: message,
  pauseMs,
});

/** The console printed too much. */
export const unsettled = (): PullFailure => ofServer(UNSETTLED);

/** Decides about what a pull threw. */
export function failureOf(error: unknown): PullFailure {
  if (!isAppError(error)) return ofServer(INTERNAL);
  const { code, meta, message, retryAfterMs } = error;
  switch (code) {
    case 'PANEL_RATE_LIMITED':
      return { ...ofPanel(error, retryAfterMs ?? 2 * SHORT_MS), status: 'pending' };
    case 'PANEL_NOT_CONFIGURED':
      return ofPanel(error, 0);
    case 'PANEL_AUTH':
      // The key as a whole is refused by 401; by 403 also where only this server is not its owner's.
      return meta?.['status'] === 403 ? ofServer(NO_RIGHT) : { ...ofPanel(error, LONG_MS), reason: REFUSED_KEY };
    case 'PANEL_UNAVAILABLE':
      return ofOutage(error);
    case 'PANEL_CONFLICT':
      return ofServer(STATE, 'pending');
    case 'PANEL_NOT_FOUND':
      return ofServer(UNKNOWN);
    case 'ADDRESS_REFUSED':
      return meta?.['node'] === undefined ? ofPanel(error, LONG_MS) : { ...ofServer(message), scope: 'node' };
    case 'CONSOLE_REFUSED':
      // The daemon compares the origin with its own configuration, so it refuses all of its servers.
      return { ...ofServer(message), scope: meta?.['kind'] === 'origin' ? 'node' : 'server' };
    case 'CONSOLE_UNAVAILABLE':
      return { ...ofServer(message), scope: isOfServer(meta?.['kind']) ? 'server' : 'node' };
    default:
      return ofServer(message);
  }
}

/** The daemon was there: it ended the connection, or failed to read this console. */
const isOfServer = (kind: unknown): boolean => kind === 'closed' || kind === 'daemon';

function ofOutage(error: AppError): PullFailure {
  const { meta, message, retryAfterMs } = error;
  // An exception of the panel itself, about this server alone.
  if (meta?.['panelCode'] !== undefined && meta['status'] === 500) return ofServer(message);
  return ofPanel(error, retryAfterMs ?? SHORT_MS);
}
