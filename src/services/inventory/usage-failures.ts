/** What a failed read of a server's usage says, and for how long it is believed. */
import { type AppError, isAppError } from '../../domain/errors.ts';

/** What is not asked again for a while: everything, the servers of the node, or this server. */
export interface UsagePause {
  scope: 'panel' | 'node' | 'server';
  ms: number;
}

const MINUTE_MS = 60_000;
/** Also the length of the panel's throttle window. */
const SHORT_MS = MINUTE_MS;
/** For what only a person can change. */
const LONG_MS = 5 * MINUTE_MS;

/** Decides about a failure of {@link PanelClient.resources}. */
export function pauseAfter(error: unknown): UsagePause {
  if (!isAppError(error)) return { scope: 'server', ms: LONG_MS };
  switch (error.code) {
    case 'PANEL_RATE_LIMITED':
      return { scope: 'panel', ms: error.retryAfterMs ?? SHORT_MS };
    // The panel allows or refuses the key as a whole: a server that the key may not see is "not found".
    case 'PANEL_AUTH':
    case 'PANEL_NOT_CONFIGURED':
    case 'ADDRESS_REFUSED':
      return { scope: 'panel', ms: LONG_MS };
    case 'PANEL_UNAVAILABLE':
      return pauseOfOutage(error);
    // It is busy in a way that the mirror does not know yet.
    case 'PANEL_CONFLICT':
      return { scope: 'server', ms: SHORT_MS };
    default:
      return { scope: 'server', ms: LONG_MS };
  }
}

function pauseOfOutage({ meta, retryAfterMs }: AppError): UsagePause {
  const { kind, panelCode } = meta ?? {};
  // Without an answer: most likely the panel waits for the node.
  if (panelCode === 'DaemonConnectionException' || kind === 'timeout') return { scope: 'node', ms: SHORT_MS };
  // An error of the panel itself, about this server alone.
  if (panelCode !== undefined && meta?.['status'] === 500) return { scope: 'server', ms: LONG_MS };
  return { scope: 'panel', ms: retryAfterMs ?? SHORT_MS / 2 };
}
