/** Activities of `sendEmail`: the input is an id, the output a status. Addresses and contents never pass through Temporal. */
import { type EmailTransport, notConfigured } from '../clients/email/transport.ts';
import type { EmailContent } from '../domain/email.ts';
import { SENDER_FORM, type Sender } from '../domain/email-sender.ts';
import { isAppError } from '../domain/errors.ts';
import type { EmailSite } from '../messages/email/link.ts';
import { renderEmail } from '../messages/email/templates.ts';
import { attemptFailed } from '../services/email/attempt-failed.ts';
import { type EmailAttempt, startAttempt } from '../services/email/start-attempt.ts';
import type { Db } from '../store/db/db.ts';
import { type EmailStore, endEmail, markEmailFailed, markEmailSent } from '../store/email/email-store.ts';
import type { SendEmailResult } from '../workflows/contract.ts';
import { withHeartbeat } from './failures.ts';

export interface EmailActivityDeps {
  db: Db;
  emails: EmailStore;
  /** The transport of the present settings. */
  transport: () => Promise<EmailTransport>;
  /** The present sender and site. */
  settings: () => Promise<{ email: { from: Sender | undefined; siteUrl: string; notifications: boolean } }>;
  /** Pages of the site that the links open. */
  paths: { verify: string; reset: string; magic: string };
  /** Origin of the api; undefined if it is not configured. */
  apiUrl?: string | undefined;
}

/** Creates the activities. */
export function createEmailActivities(deps: EmailActivityDeps) {
  return {
    /**
     * Renders an email and gives it to the transport, with a key. A repeat after a crash or a lost answer sends the same
     * email with the same key, by which the provider recognises it.
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
  const progress = { attempts: 0, began: false };
  try {
    // Before the attempt starts: while no transport is configured, no token is issued, so the life of a link does not begin.
    const transport = await deps.transport();
    const { email: settings } = await deps.settings();
    const { from } = settings;
    if (from === undefined) throw notConfigured(`The setting email_from is not a sender: write ${SENDER_FORM}`);
    const attempt = await startAttempt(deps, id, transport.keyLifetimeMs);
    if (attempt.state === 'done') return { status: attempt.status };
    if (attempt.template === 'sync-complete' && !settings.notifications) {
      await endEmail(deps.db, id, 'skipped', 'notifications by email are switched off');
      return { status: 'skipped' };
    }
    progress.attempts = attempt.attempts;
    const content =
      attempt.content ?? contentOf(attempt, { ...settings, from, paths: deps.paths, apiUrl: deps.apiUrl });
    await deps.emails.beginSending(deps.db, id, content);
    progress.began = true;
    const { providerId } = await transport.send({ id, key: attempt.key, ...content }, { signal });
    await markEmailSent(deps.db, id, { transport: transport.name, providerId });
    return { status: 'sent' };
  } catch (error) {
    throw isAppError(error) && !signal.aborted ? await attemptFailed(deps.db, id, error, progress) : error;
  }
}

/** The rendered email, from the present sender and with links to the present site. */
function contentOf(
  attempt: Extract<EmailAttempt, { state: 'ready' }>,
  settings: { from: Sender } & Pick<EmailSite, 'siteUrl' | 'paths' | 'apiUrl'>,
): EmailContent {
  const content = renderEmail(attempt.template, attempt.data, {
    siteUrl: settings.siteUrl,
    paths: settings.paths,
    apiUrl: settings.apiUrl,
    year: attempt.createdAt.getUTCFullYear(),
    ...(attempt.subject === undefined ? {} : { subject: attempt.subject }),
  });
  return { from: settings.from, to: attempt.to, ...content };
}
