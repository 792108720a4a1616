/** What the catcher remembers: accepted mails, idempotency keys, faults still to come. */
import { randomUUID } from 'node:crypto';
import type { CaughtMail, HttpFault, MailFault, SmtpFault } from './contract.ts';

/** Older mails are dropped, so that a demo may run for weeks. */
const MAX_MAILS = 10_000;

/** The use of an idempotency key: the body it came with, and the id it was answered with, once it was. */
export interface KeyUse {
  body: string;
  id: string | undefined;
}

export interface MailState {
  readonly mails: Map<string, CaughtMail>;
  readonly keys: Map<string, KeyUse>;
  accept(mail: Omit<CaughtMail, 'id' | 'at'>): CaughtMail;
  addFault(fault: MailFault, times: number): void;
  /** The fault that the next request to the API meets. */
  takeHttpFault(): HttpFault | undefined;
  /** The fault that a session at this point meets; `end` is the moment after acceptance. */
  takeSmtpFault(at: 'rcpt' | 'data' | 'end'): SmtpFault | undefined;
  clear(): void;
  clearFaults(): void;
}

const isSmtp = (fault: MailFault): fault is SmtpFault => fault.kind === 'smtp-reply' || fault.kind === 'smtp-drop';

export function createMailState(): MailState {
  const mails = new Map<string, CaughtMail>();
  const keys = new Map<string, KeyUse>();
  let http: HttpFault[] = [];
  let smtp: SmtpFault[] = [];
  return {
    mails,
    keys,
    accept(mail) {
      const caught: CaughtMail = { id: randomUUID(), at: Date.now(), ...mail };
      mails.set(caught.id, caught);
      const oldest = mails.keys().next();
      if (mails.size > MAX_MAILS && oldest.done !== true) mails.delete(oldest.value);
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
      mails.clear();
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
