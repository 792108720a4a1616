/** Activities of `sendEmail`: the input is an id, the output a status. Addresses and contents never pass through Temporal. */
import type { EmailTransport } from '../clients/email/resend.ts';
import type { OutgoingEmail } from '../domain/email.ts';
import { isAppError } from '../domain/errors.ts';
import type { EmailSite } from '../messages/email/link.ts';
import { renderEmail } from '../messages/email/templates.ts';
import { type EmailAttempt, startAttempt } from '../services/email/start-attempt.ts';
import type { Db } from '../store/db/db.ts';
import {
  type EmailStore,
  endEmail,
  markEmailFailed,
  markEmailSent,
  noteEmailFailure,
} from '../store/email/email-store.ts';
import type { SendEmailResult } from '../workflows/contract.ts';
import { withHeartbeat } from './failures.ts';

export interface EmailActivityDeps {
  db: Db;
  emails: EmailStore;
  /** The transport of the present settings. */
  transport: () => Promise<EmailTransport>;
  /** The present sender and site. */
  settings: () => Promise<{ email: { from: string; siteUrl: string; notifications: boolean } }>;
  /** Pages of the site that the links open. */
  paths: { verify: string; reset: string; magic: string };
  /** Origin of the api; undefined if it is not configured. */
  apiUrl?: string | undefined;
}

/** Creates the activities. */
export function createEmailActivities(deps: EmailActivityDeps) {
  return {
    /**
     * Renders an email and gives it to the transport, with its id as the idempotency key. A repeat after a crash renders
     * the same email, which the provider recognises by the id.
     */
    deliverEmail: (input: { emailId: string }): Promise<SendEmailResult> =>
      withHeartbeat((signal) => deliverEmail(deps, input.emailId, signal)),

    /** Marks an email as failed, after its last attempt. Without `reason` the reason of that attempt stays. */
    failEmail: (input: { emailId: string; reason?: string }): Promise<void> =>
      markEmailFailed(deps.db, input.emailId, input.reason),
  };
}

export type EmailActivities = ReturnType<typeof createEmailActivities>;

async function deliverEmail(deps: EmailActivityDeps, id: string, signal: AbortSignal): Promise<SendEmailResult> {
  try {
    // Before the attempt starts: while no transport is configured, no token is issued, so the life of a link does not begin.
    const transport = await deps.transport();
    const attempt = await startAttempt(deps, id);
    if (attempt.state === 'done') return { status: attempt.status };
    const { email: settings } = await deps.settings();
    if (attempt.template === 'sync-complete' && !settings.notifications) {
      await endEmail(deps.db, id, 'skipped', 'notifications by email are switched off');
      return { status: 'skipped' };
    }
    const email = outgoing(id, attempt, { ...settings, paths: deps.paths, apiUrl: deps.apiUrl });
    const { providerId } = await transport.send(email, { signal });
    await markEmailSent(deps.db, id, { transport: transport.name, providerId });
    return { status: 'sent' };
  } catch (error) {
    if (isAppError(error) && !signal.aborted) await noteEmailFailure(deps.db, id, error.message);
    throw error;
  }
}

/** The rendered email. It is the same at each attempt, as long as sender and site stay the same. */
function outgoing(
  id: string,
  attempt: Extract<EmailAttempt, { state: 'ready' }>,
  settings: { from: string } & Pick<EmailSite, 'siteUrl' | 'paths' | 'apiUrl'>,
): OutgoingEmail {
  const content = renderEmail(attempt.template, attempt.data, {
    siteUrl: settings.siteUrl,
    paths: settings.paths,
    apiUrl: settings.apiUrl,
    year: attempt.createdAt.getUTCFullYear(),
    ...(attempt.subject === undefined ? {} : { subject: attempt.subject }),
  });
  return { id, from: settings.from, to: attempt.to, ...content };
}
