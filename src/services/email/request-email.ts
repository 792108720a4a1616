/** Queues an email at the request of another program. */
import type { Logger } from 'pino';
import { isEmail } from '../../domain/accounts/account.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import {
  checkEmailData,
  type EmailData,
  type EmailTemplate,
  emailTemplate,
  REQUESTED_TEMPLATE_NAMES,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import type { EmailRequest, EmailStore } from '../../store/email/email-store.ts';
import { recordChange } from '../audit/record-change.ts';
import type { Settings } from '../settings/settings.ts';

/** Maximum length of a subject, in UTF-16 code units. */
const SUBJECT_LIMIT = 255;
/** Maximum size of an email's data as JSON, in bytes: a template holds a few lines. */
const DATA_LIMIT_BYTES = 64 * 1024;

/** The fields as the caller sent them. */
export interface EmailFields {
  to: string;
  subject: string;
  /** Name or alias of a template. */
  template: string;
  data: EmailData;
}

/**
 * Checks the fields and queues the email. Its links may lead to the web site only: an email of this service must not
 * send its reader anywhere else.
 * @returns id of the email.
 * @throws {AppError} VALIDATION_ERROR, with the field in `details`.
 */
export async function requestEmail(
  deps: { db: Db; emails: EmailStore; settings: Pick<Settings, 'runtime'>; log?: Logger },
  fields: EmailFields,
  by: AuditOrigin,
): Promise<string> {
  const { siteUrl } = (await deps.settings.runtime()).email;
  const request = checkFields(fields, siteUrl);
  return inTransaction(deps.db, async (trx) => {
    const id = await deps.emails.queue(trx, request);
    const details = { template: request.template };
    await recordChange({ trx, log: deps.log }, by, { action: 'email-queued', target: { type: 'email', id }, details });
    return id;
  });
}

function checkFields(fields: EmailFields, siteUrl: string): EmailRequest {
  const { subject, data } = fields;
  const [to, name] = [fields.to.trim(), fields.template.trim()];
  const missing = Object.entries({ to, subject: subject.trim(), template: name }).filter(([, text]) => text === '');
  if (missing.length > 0) {
    throw refusal(
      'to, subject, and template are required',
      missing.map(([field]) => ({ path: field, message: 'is required' })),
    );
  }
  const template = knownTemplate(name);
  if (!isEmail(to)) throw refusal('Invalid email address', [{ path: 'to', message: 'is not an email address' }]);
  checkSubject(subject);
  checkData(template, data, siteUrl);
  return { to, subject, template, data };
}

function knownTemplate(name: string): EmailTemplate {
  const template = REQUESTED_TEMPLATE_NAMES.includes(name) ? emailTemplate(name) : undefined;
  if (template !== undefined) return template;
  throw refusal('Unknown email template', [
    { path: 'template', message: `one of ${REQUESTED_TEMPLATE_NAMES.join(', ')}` },
  ]);
}

function checkSubject(subject: string): void {
  // A line break in a subject would begin another header.
  if (subject.length <= SUBJECT_LIMIT && !/\p{Cc}/u.test(subject)) return;
  const message = `may have at most ${SUBJECT_LIMIT} characters and no control character`;
  throw refusal('Invalid subject', [{ path: 'subject', message }]);
}

function checkData(template: EmailTemplate, data: EmailData, siteUrl: string): void {
  if (Buffer.byteLength(JSON.stringify(data)) > DATA_LIMIT_BYTES) {
    const message = `may have at most ${DATA_LIMIT_BYTES / 1024} KiB as JSON`;
    throw refusal('The data is too large', [{ path: 'data', message }]);
  }
  const problems = checkEmailData(template, data, siteUrl);
  if (problems.length > 0) throw refusal('Invalid data for this template', problems);
}

/** `path` is that of a field; a caller sends the fields in the body of a request. */
const refusal = (publicMessage: string, problems: readonly { path: string; message: string }[]): AppError =>
  new AppError('VALIDATION_ERROR', {
    publicMessage,
    details: problems.map(({ path, message }) => ({ path: `body.${path}`, message })),
  });
