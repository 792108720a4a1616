/** The state of a catcher: accepted emails, idempotency keys, faults to come. */
import { randomUUID } from 'node:crypto';
import type { CaughtEmail, EmailFault, HttpFault, SmtpFault, SmtpStep } from './contract.ts';

/** Maximum number of emails; older ones are dropped, so that a demo can run for weeks. */
const MAX_EMAILS = 10_000;

/** Use of an idempotency key: body of the request, its time, and id in the answer, which is undefined until the answer. */
export interface KeyUse {
  body: string;
  at: number;
  id: string | undefined;
}

export interface EmailState {
  readonly emails: Map<string, CaughtEmail>;
  readonly keys: Map<string, KeyUse>;
  accept(email: Omit<CaughtEmail, 'id' | 'at'>): CaughtEmail;
  addFault(fault: EmailFault, times: number): void;
  /** Takes the fault of the next request. */
  takeHttpFault(): HttpFault | undefined;
  /** Takes the fault of an SMTP session at this point; `end` is the moment after the acceptance. */
  takeSmtpFault(at: SmtpStep | 'end'): SmtpFault | undefined;
  clear(): void;
  clearFaults(): void;
}

const isSmtp = (fault: EmailFault): fault is SmtpFault => fault.kind === 'smtp-reply' || fault.kind === 'smtp-drop';

export function createEmailState(): EmailState {
  const emails = new Map<string, CaughtEmail>();
  const keys = new Map<string, KeyUse>();
  let http: HttpFault[] = [];
  let smtp: SmtpFault[] = [];
  return {
    emails,
    keys,
    accept(email) {
      const caught: CaughtEmail = { id: randomUUID(), at: Date.now(), ...email };
      emails.set(caught.id, caught);
      const oldest = emails.keys().next();
      if (emails.size > MAX_EMAILS && oldest.done !== true) emails.delete(oldest.value);
      return caught;
    },
    addFault(fault, times) {
      for (let i = 0; i < times; i += 1) {
        if (isSmtp(fault)) smtp.push(fault);
        else http.push(fault);
      }
    },
    takeHttpFault: () => http.shift(),
    takeSmtpFault(at) {
      const next = smtp[0];
      if (next === undefined) return undefined;
      if ((next.kind === 'smtp-drop' ? 'end' : next.at) !== at) return undefined;
      return smtp.shift();
    },
    clear() {
      emails.clear();
      keys.clear();
      http = [];
      smtp = [];
    },
    clearFaults() {
      http = [];
      smtp = [];
    },
  };
}
