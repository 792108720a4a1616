/** What faults answer in place of Discord, and what they do to its answer. */
import { type ApiAnswer, banJson, banPage, cloudflareAnswer, htmlAnswer } from './answer.ts';
import type { DiscordFault } from './contract.ts';
import { errorAnswer } from './errors.ts';
import { limitedAnswer } from './limits.ts';

/** How the connection treats an answer. */
export type Ending = 'whole' | 'half' | 'cut' | 'silence';

type StoredFault = Extract<DiscordFault, { kind: `stored-${string}` | 'slow' }>;

/** Whether the fault lets the request through and spoils only its answer. */
export const isAfterStore = (fault: DiscordFault): fault is StoredFault =>
  fault.kind === 'slow' || fault.kind.startsWith('stored-');

/** The answer of a fault that keeps the request from being stored; undefined: no answer. */
export function faultAnswer(
  fault: Exclude<DiscordFault, StoredFault>,
  version: number,
  headers: Record<string, string>,
): ApiAnswer | undefined {
  switch (fault.kind) {
    case 'error': {
      const answer = errorAnswer(fault.code, fault);
      return { ...answer, headers: { ...headers, ...answer.headers } };
    }
    case 'limited':
      return limited(fault, version, headers);
    case 'ban-json':
      return banJson();
    case 'ban-page':
      return banPage(fault);
    case 'blocked':
      return cloudflareAnswer(403, 1010);
    case 'html': {
      const wait: Record<string, string> =
        fault.retryAfter === undefined ? {} : { 'retry-after': String(fault.retryAfter) };
      return htmlAnswer(fault.status, `${fault.status} error`, wait);
    }
    default:
      return undefined;
  }
}

function limited(
  { retryAfter, scope = 'user', headers: withHeaders = true, code }: Extract<DiscordFault, { kind: 'limited' }>,
  version: number,
  headers: Record<string, string>,
): ApiAnswer {
  const answer = limitedAnswer((retryAfter ?? 0) * 1000, version, scope, { headers, code });
  if (retryAfter === null) return { ...answer, headers: {}, json: { message: 'You are being rate limited.' } };
  return withHeaders ? answer : { ...answer, headers: {} };
}

/** The answer to a stored message under a fault, and how it ends. */
export function spoiled(answer: ApiAnswer, fault: StoredFault | undefined): { answer: ApiAnswer; ending: Ending } {
  switch (fault?.kind) {
    case 'stored-cut':
      return { answer, ending: 'cut' };
    case 'stored-hang':
      return { answer, ending: 'silence' };
    case 'stored-half':
      return { answer, ending: 'half' };
    case 'stored-html':
      return { answer: htmlAnswer(200, 'A page'), ending: 'whole' };
    case 'stored-empty':
      return {
        answer: { status: 200, ...(answer.headers === undefined ? {} : { headers: answer.headers }) },
        ending: 'whole',
      };
    default:
      return { answer, ending: 'whole' };
  }
}
