/** What a failed write at the panel means for the push: what the administrator reads, and when it is tried again. */
import { type AppError, isAppError } from '../../domain/errors.ts';
import { LATER_RETRY_MS, type PushStatus, retryWait } from '../../domain/hytale/lifecycle.ts';
import type { EggVariable } from '../../store/hytale/push-reads.ts';

export interface Refusal {
  /** `failed`: somebody must change something. */
  status: Extract<PushStatus, 'pending' | 'failed'>;
  /** Public, without tokens. */
  reason: string;
  /** Milliseconds until the next attempt. */
  ms: number;
}

/** A write that failed. */
export interface FailedWrite {
  error: AppError;
  /** Which key was used: the application API sets variables that users may not edit. */
  api: 'client' | 'application';
  /** The variable that was set; undefined: all at once, or none. */
  name?: string | undefined;
}

/** How often a server is asked whose state forbids the write. */
const STATE_RETRY_MS = 60_000;
/** How often a write is repeated that fails until somebody changes something. */
const REFUSED_RETRY_MS = 30 * 60_000;
/** Characters of an egg's rules that are quoted. */
const MAX_RULES = 150;

const STATE =
  'The panel accepts no change of this server at present: it is suspended, being installed, restored or moved, or its node is under maintenance';

const REFUSED_KEY = {
  client:
    'The panel refuses the client API key: it must be of an administrator, or of a user who may edit and restart the server',
  application:
    'The panel refuses the application API key for a variable that users may not edit: give the key the right to write servers, or make the variable viewable and editable for users in the egg',
};

/** @param failures attempts that failed in a row, with this one. @throws the error, if it is none of the panel. */
export function refusalOf(
  { error, ...write }: FailedWrite,
  variables: readonly EggVariable[],
  failures: number,
): Refusal {
  const { message: reason, retryAfterMs } = error;
  const refused = (text: string): Refusal => ({ status: 'failed', reason: text, ms: REFUSED_RETRY_MS });
  switch (error.code) {
    case 'PANEL_CONFLICT':
      return { status: 'pending', reason: STATE, ms: STATE_RETRY_MS };
    case 'PANEL_UNAVAILABLE':
    case 'PANEL_RATE_LIMITED':
      return { status: 'pending', reason, ms: retryWait(failures, retryAfterMs) };
    case 'PANEL_NOT_CONFIGURED':
    case 'ADDRESS_REFUSED':
      return { status: 'pending', reason, ms: LATER_RETRY_MS };
    case 'PANEL_AUTH':
      return refused(REFUSED_KEY[write.api]);
    case 'PANEL_NOT_FOUND':
      return refused(error.publicMessage ?? UNKNOWN[write.api]);
    case 'PANEL_CONTRACT':
      return refused(ruleText(error, write.name, variables) ?? reason);
    default:
      throw error;
  }
}

const UNKNOWN = {
  client: 'The panel does not know this server, or the owner of the client API key has no access to it',
  application: 'The panel does not know this server: run a sync',
};

/** Which rule the panel says is broken, and what to change; undefined if it does not say. */
function ruleText(error: AppError, name: string | undefined, variables: readonly EggVariable[]): string | undefined {
  const broken = error.details?.map(({ path, message: rule }) => ({ name: variableOf(path, name), rule })) ?? [];
  for (const { name: broke, rule } of broken) {
    const ours = variables.find((variable) => variable.name === broke);
    if (ours === undefined) continue;
    return `The panel refuses the token for ${ours.name} by the rule "${rule}" of this variable: change its rules in the egg (${ours.rules.slice(0, MAX_RULES)}), for example to "nullable|string"`;
  }
  const [other] = broken;
  if (other === undefined) return undefined;
  return `The panel refuses to change the startup of this server, because its ${other.name} breaks the rule "${other.rule}": correct that at the panel`;
}

const variableOf = (field: string, name: string | undefined): string =>
  field === 'value' && name !== undefined ? name : field.replace(/^environment\./, '');

/** Whether users may not edit the variable, although the mirror says so. */
export const isNotEditable = (error: unknown): boolean =>
  isAppError(error, 'PANEL_CONTRACT') && error.meta?.['status'] === 400;
