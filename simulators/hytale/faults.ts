/** What faults answer in place of a host, and what they do to its answer. */
import { type ApiAnswer, htmlAnswer, oauthError, textError } from './answer.ts';
import type { HytaleFault } from './contract.ts';
import type { HytaleState } from './state.ts';

/** How the connection treats an answer. */
export type Ending = 'whole' | 'half' | 'cut' | 'silence';

type Instead = Extract<HytaleFault, { kind: 'limited' | 'status' | 'answer' | 'cut' | 'hang' }>;

/** Whether the fault keeps the request from being carried out. */
export const isInstead = (fault: HytaleFault): fault is Instead =>
  ['limited', 'status', 'answer', 'cut', 'hang'].includes(fault.kind);

/** The answer of a fault in place of the host. @param json whether the host answers errors as JSON. */
export function insteadOf(state: HytaleState, fault: Instead, json: boolean): { answer: ApiAnswer; ending: Ending } {
  switch (fault.kind) {
    case 'limited':
      return { answer: limited(state, fault, json), ending: 'whole' };
    case 'status': {
      if (fault.html === true) return { answer: htmlAnswer(fault.status), ending: 'whole' };
      const error = fault.status === 503 ? 'temporarily_unavailable' : 'server_error';
      const answer = json ? oauthError(fault.status, error, 'An error occurred.') : textError(fault.status, error);
      return { answer, ending: 'whole' };
    }
    case 'answer': {
      const type = fault.type ?? (json ? 'application/json' : 'text/plain; charset=utf-8');
      return { answer: { status: fault.status, text: { type, body: fault.body }, error: 'fault' }, ending: 'whole' };
    }
    default:
      return { answer: { status: 0, error: fault.kind }, ending: fault.kind === 'cut' ? 'cut' : 'silence' };
  }
}

/** 429 with `Retry-After` in one of its two forms (RFC 9110, 10.2.3), or without it. */
function limited(
  state: HytaleState,
  { retryAfter, date = false }: Extract<HytaleFault, { kind: 'limited' }>,
  json: boolean,
): ApiAnswer {
  const answer = json
    ? oauthError(429, 'too_many_requests', 'Too many requests.')
    : textError(429, 'too many requests');
  if (retryAfter === null) return answer;
  const value = date ? new Date(state.now() + retryAfter * 1000).toUTCString() : String(retryAfter);
  return { ...answer, headers: { ...answer.headers, 'retry-after': value } };
}

/** The answer to a request that was carried out under a fault, and how it ends. */
export function afterwards(answer: ApiAnswer, fault: HytaleFault | undefined): { answer: ApiAnswer; ending: Ending } {
  switch (fault?.kind) {
    case 'done-cut':
      return { answer, ending: 'cut' };
    case 'done-hang':
      return { answer, ending: 'silence' };
    case 'done-half':
      return { answer, ending: 'half' };
    case 'without': {
      if (answer.json === undefined) return { answer, ending: 'whole' };
      const kept = Object.entries(answer.json).filter(([name]) => !fault.fields.includes(name));
      return { answer: { ...answer, json: Object.fromEntries(kept) }, ending: 'whole' };
    }
    case 'with': {
      if (answer.json === undefined) return { answer, ending: 'whole' };
      return { answer: { ...answer, json: { ...answer.json, ...fault.fields } }, ending: 'whole' };
    }
    default:
      return { answer, ending: 'whole' };
  }
}
