/** Activities of mail: ids in, a status out; addresses and contents never pass through Temporal. */

import type { MailTransport } from '../clients/email/resend.ts';
import type { MailStatus, OutgoingMail } from '../domain/email.ts';
import { isAppError } from '../domain/errors.ts';
import { renderMail } from '../messages/email/templates.ts';
import type { Db } from '../store/db/db.ts';
import { type MailStore, markMailFailed, markMailSent, noteMailFailure, skipMail } from '../store/email/email-store.ts';
import { withHeartbeat } from './failures.ts';

export interface MailActivityDeps {
  db: Db;
  mails: MailStore;
  /** The transport that is configured now. */
  transport: () => Promise<MailTransport>;
  /** Sender and site, as set now. */
  settings: () => Promise<{ mail: { from: string; siteUrl: string; notifications: boolean } }>;
  /** Pages of the site that links open. */
  paths: { verify: string; reset: string; magic: string };
}

export function createMailActivities(deps: MailActivityDeps) {
  const { db } = deps;
  return {
    /**
     * Makes a mail and hands it to the transport, once by its id. Run again after a crash it makes the same mail, which
     * the provider knows by the id.
     */
    async deliverMail(input: { mailId: string }): Promise<{ status: Exclude<MailStatus, 'queued'> }> {
      return withHeartbeat(async (signal) => {
        try {
          // First: the life of a link does not begin while nothing can be sent at all.
          const transport = await deps.transport();
          const mail = await deps.mails.prepare(db, input.mailId);
          if (mail.state === 'done') return { status: mail.status };
          const { from, siteUrl, notifications } = (await deps.settings()).mail;
          if (mail.template === 'sync-complete' && !notifications) {
            await skipMail(db, input.mailId, 'notifications by mail are switched off');
            return { status: 'skipped' };
          }
          const content = renderMail(mail.template, mail.data, {
            siteUrl,
            paths: deps.paths,
            year: mail.createdAt.getUTCFullYear(),
            ...(mail.subject === undefined ? {} : { subject: mail.subject }),
          });
          const outgoing: OutgoingMail = { id: input.mailId, from, to: mail.to, ...content };
          const { providerId } = await transport.send(outgoing, { signal });
          await markMailSent(db, input.mailId, { transport: transport.name, providerId });
          return { status: 'sent' };
        } catch (error) {
          if (isAppError(error) && !signal.aborted) await noteMailFailure(db, input.mailId, error.message);
          throw error;
        }
      });
    },

    /** Nobody tries any more. `reason` absent: the last attempt's stays. */
    async failMail(input: { mailId: string; reason?: string }): Promise<void> {
      await markMailFailed(db, input.mailId, input.reason);
    },
  };
}

export type MailActivities = ReturnType<typeof createMailActivities>;
