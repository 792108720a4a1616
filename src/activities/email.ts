/** Activities of email: ids in, a status out; addresses and contents never pass through Temporal. */

import type { EmailTransport } from '../clients/email/resend.ts';
import type { EmailStatus, OutgoingEmail } from '../domain/email.ts';
import { isAppError } from '../domain/errors.ts';
import { renderEmail } from '../messages/email/templates.ts';
import type { Db } from '../store/db/db.ts';
import {
  type EmailStore,
  markEmailFailed,
  markEmailSent,
  noteEmailFailure,
  skipEmail,
} from '../store/email/email-store.ts';
import { withHeartbeat } from './failures.ts';

export interface EmailActivityDeps {
  db: Db;
  emails: EmailStore;
  /** The transport that is configured now. */
  transport: () => Promise<EmailTransport>;
  /** Sender and site, as set now. */
  settings: () => Promise<{ email: { from: string; siteUrl: string; notifications: boolean } }>;
  /** Pages of the site that links open. */
  paths: { verify: string; reset: string; magic: string };
}

export function createEmailActivities(deps: EmailActivityDeps) {
  const { db } = deps;
  return {
    /**
     * Makes an email and hands it to the transport, once by its id. Run again after a crash it makes the same email, which
     * the provider knows by the id.
     */
    async deliverEmail(input: { emailId: string }): Promise<{ status: Exclude<EmailStatus, 'queued'> }> {
      return withHeartbeat(async (signal) => {
        try {
          // First: the life of a link does not begin while nothing can be sent at all.
          const transport = await deps.transport();
          const email = await deps.emails.prepare(db, input.emailId);
          if (email.state === 'done') return { status: email.status };
          const { from, siteUrl, notifications } = (await deps.settings()).email;
          if (email.template === 'sync-complete' && !notifications) {
            await skipEmail(db, input.emailId, 'notifications by email are switched off');
            return { status: 'skipped' };
          }
          const content = renderEmail(email.template, email.data, {
            siteUrl,
            paths: deps.paths,
            year: email.createdAt.getUTCFullYear(),
            ...(email.subject === undefined ? {} : { subject: email.subject }),
          });
          const outgoing: OutgoingEmail = { id: input.emailId, from, to: email.to, ...content };
          const { providerId } = await transport.send(outgoing, { signal });
          await markEmailSent(db, input.emailId, { transport: transport.name, providerId });
          return { status: 'sent' };
        } catch (error) {
          if (isAppError(error) && !signal.aborted) await noteEmailFailure(db, input.emailId, error.message);
          throw error;
        }
      });
    },

    /** Nobody tries any more. `reason` absent: the last attempt's stays. */
    async failEmail(input: { emailId: string; reason?: string }): Promise<void> {
      await markEmailFailed(db, input.emailId, input.reason);
    },
  };
}

export type EmailActivities = ReturnType<typeof createEmailActivities>;
