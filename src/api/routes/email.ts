/** Email: queueing one, for programs; what became of it, for administrators. */
import { z } from 'zod';
import { isEmail } from '../../domain/accounts/account.ts';
import {
  EMAIL_STATUSES,
  EMAIL_TEMPLATE_NAMES,
  type EmailData,
  type EmailStatus,
  emailTemplate,
} from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { checkEmailData } from '../../messages/email/data.ts';
import { inTransaction } from '../../store/db/db.ts';
import { countEmails, type EmailRow, findEmail, listEmails, lockRecentResend } from '../../store/email/email-list.ts';
import { Count, envelope, IsoDate, ok } from '../http/envelopes.ts';
import { BodyText, clampedInteger, documentedAs, PageNumber, PathId, searchText, wordFilter } from '../http/fields.ts';
import { defineRoute, type Route } from '../http/route.ts';

const tags = ['Email'];
/** Characters of a subject at the most. */
const SUBJECT_LIMIT = 255;
/** Bytes of an email's data, as JSON, at the most: templates hold a few lines. */
const DATA_LIMIT_BYTES = 64 * 1024;

const EmailSchema = z
  .object({
    id: z.string(),
    template: z.string(),
    to: z.string(),
    userId: z.string().nullable(),
    subject: z.string().nullable().meta({ description: 'null: the one of the template' }),
    status: z.enum(EMAIL_STATUSES),
    attempts: Count,
    error: z.string().nullable(),
    transport: z.string().nullable(),
    resentFrom: z.string().nullable().meta({ description: 'The email this one repeats' }),
    createdAt: IsoDate,
    sentAt: IsoDate.nullable(),
  })
  .meta({ id: 'Email', description: 'An email that was asked for, and what became of it' });

/** @throws {AppError} NOT_FOUND for what is no id of an email. */
function readEmailId(text: string): string {
  if (!z.uuid().safeParse(text).success) throw new AppError('NOT_FOUND', { detail: 'Email not found' });
  return text;
}

const toWireEmail = (email: EmailRow): z.input<typeof EmailSchema> => ({
  id: email.id,
  template: email.template,
  to: email.to,
  userId: email.userId,
  subject: email.subject,
  status: email.status,
  attempts: email.attempts,
  error: email.error,
  transport: email.transport,
  resentFrom: email.resentFrom,
  createdAt: email.createdAt.toISOString(),
  sentAt: email.sentAt?.toISOString() ?? null,
});

/** How many emails there are of each status, those of none included. */
function countsOf(counted: readonly { status: EmailStatus; count: number }[]): Record<EmailStatus, number> {
  const counts: Record<EmailStatus, number> = { queued: 0, sent: 0, failed: 0, skipped: 0 };
  for (const { status, count } of counted) counts[status] = count;
  return counts;
}

const refuse = (detail: string, details: { path: string; message: string }[]): AppError =>
  new AppError('VALIDATION_ERROR', { detail, details });

/** Checks what is asked for, field by field. @throws {AppError} VALIDATION_ERROR. */
function readRequest(body: { to: string; subject: string; template: string; data: EmailData }) {
  const to = body.to.trim();
  const { subject, data } = body;
  const name = body.template.trim();
  const missing = Object.entries({ to, subject: subject.trim(), template: name }).filter(([, text]) => text === '');
  if (missing.length > 0) {
    const details = missing.map(([field]) => ({ path: `body.${field}`, message: 'is required' }));
    throw refuse('to, subject, and template are required', details);
  }
  const template = emailTemplate(name);
  if (template === undefined) {
    const message = `one of ${EMAIL_TEMPLATE_NAMES.join(', ')}`;
    throw refuse('Unknown email template', [{ path: 'body.template', message }]);
  }
  if (!isEmail(to)) throw refuse('Invalid email address', [{ path: 'body.to', message: 'is not an email address' }]);
  // A line break in a subject would begin a header of its own.
  if (subject.length > SUBJECT_LIMIT || /\p{Cc}/u.test(subject)) {
    const message = `may have ${SUBJECT_LIMIT} characters at the most, none of them a control character`;
    throw refuse('Invalid subject', [{ path: 'body.subject', message }]);
  }
  if (Buffer.byteLength(JSON.stringify(data)) > DATA_LIMIT_BYTES) {
    const message = `may have ${DATA_LIMIT_BYTES / 1024} KiB as JSON at the most`;
    throw refuse('The data is too large', [{ path: 'body.data', message }]);
  }
  const problems = checkEmailData(template, data);
  if (problems.length > 0) {
    throw refuse(
      'Invalid data for this template',
      problems.map(({ path, message }) => ({ path: `body.${path}`, message })),
    );
  }
  return { to, subject, template, data };
}

export const emailRoutes: Route[] = [
  defineRoute({
    method: 'post',
    path: '/api/v1/email/queue',
    operationId: 'queueEmail',
    summary: 'Send an email',
    description:
      'A template with a link needs its URL in `data`, or an account that has the address: then the link is made when the email is sent.',
    tags,
    auth: 'apiKeyOrAdmin',
    bodyLimitBytes: 128 * 1024,
    invalid: { code: 'VALIDATION_ERROR', detail: 'Invalid request body' },
    body: z.object({
      to: BodyText,
      subject: BodyText,
      template: BodyText.meta(documentedAs({ type: 'string', enum: [...EMAIL_TEMPLATE_NAMES] })),
      data: z
        .record(z.string(), z.string())
        .nullish()
        .transform((data) => data ?? {})
        .meta({
          description: 'Texts the template is filled with',
          ...documentedAs({ type: 'object', additionalProperties: { type: 'string' } }),
        }),
    }),
    responses: { 202: envelope(z.object({ task_id: z.string().meta({ description: 'Id of the email' }) })) },
    errors: [],
    failureText: 'Failed to queue email',
    async handler({ input: { body }, deps }) {
      const request = readRequest(body);
      const id = await inTransaction(deps.db, (trx) => deps.emails.queue(trx, request));
      return { status: 202, body: ok({ task_id: id }, 'Email has been queued') };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/emails',
    operationId: 'listEmails',
    summary: 'Emails, newest first',
    tags,
    auth: 'admin',
    query: z.object({
      page: PageNumber,
      pageSize: clampedInteger({ min: 1, max: 200, fallback: 25 }),
      status: wordFilter(EMAIL_STATUSES, 'Other words do not filter'),
      search: searchText('Part of the address or the subject, in any case'),
    }),
    responses: {
      200: z.object({
        success: z.literal(true),
        emails: z.array(EmailSchema),
        pagination: z.object({ page: z.int(), pageSize: z.int(), total: Count, totalPages: Count }),
        counts: z.object({ queued: Count, sent: Count, failed: Count, skipped: Count }).meta({
          description: 'Of all emails, whatever the filter',
        }),
      }),
    },
    errors: [],
    failureText: 'Failed to fetch emails',
    async handler({ input: { query }, deps }) {
      const { page, pageSize, status, search } = query;
      const { emails, total } = await listEmails(deps.db, {
        ...(status === undefined ? {} : { status }),
        ...(search === undefined ? {} : { search }),
        limit: pageSize,
        offset: (page - 1) * pageSize,
      });
      return {
        status: 200,
        body: {
          success: true,
          emails: emails.map(toWireEmail),
          pagination: { page, pageSize, total, totalPages: Math.ceil(total / pageSize) },
          counts: countsOf(await countEmails(deps.db)),
        },
      };
    },
  }),
  defineRoute({
    method: 'get',
    path: '/api/admin/emails/:id',
    operationId: 'getEmail',
    summary: 'One email',
    tags,
    auth: 'admin',
    params: PathId,
    responses: { 200: z.object({ success: z.literal(true), email: EmailSchema }) },
    errors: ['NOT_FOUND'],
    failureText: 'Failed to fetch email',
    async handler({ input, deps }) {
      const email = await findEmail(deps.db, readEmailId(input.params.id));
      if (email === undefined) throw new AppError('NOT_FOUND', { detail: 'Email not found' });
      return { status: 200, body: { success: true, email: toWireEmail(email) } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/emails/:id/resend',
    operationId: 'resendEmail',
    summary: 'Send an email again, with a new link',
    description: 'Asked twice within ten seconds, one email is sent.',
    tags,
    auth: 'admin',
    params: PathId,
    responses: { 202: z.object({ success: z.literal(true), message: z.string(), email_id: z.string() }) },
    errors: ['NOT_FOUND', 'CONFLICT'],
    failureText: 'Failed to queue email',
    async handler({ input, deps }) {
      const id = readEmailId(input.params.id);
      const emailId = await inTransaction(
        deps.db,
        async (trx) =>
          (await lockRecentResend(trx, id)) ?? deps.emails.queue(trx, await deps.emails.requestOf(trx, id)),
      );
      return { status: 202, body: { success: true, message: 'Email has been queued', email_id: emailId } };
    },
  }),
];
