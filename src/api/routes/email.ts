/** Emails: one that another program requests, and the list that administrators read. */
import { z } from 'zod';
import { EMAIL_STATUSES, EmailDataSchema, REQUESTED_TEMPLATE_NAMES } from '../../domain/email.ts';
import { AppError } from '../../domain/errors.ts';
import { requestEmail } from '../../services/email/request-email.ts';
import { resendEmail } from '../../services/email/resend-email.ts';
import { countEmails, type EmailRow, findEmail, listEmails } from '../../store/email/email-list.ts';
import { changedBy } from '../context.ts';
import { Count, envelope, IsoDate, ok } from '../http/envelopes.ts';
import { BodyText, clampedInteger, documentedAs, PageNumber, PathId, searchText, wordFilter } from '../http/fields.ts';
import { byAddress, byUser } from '../http/limits.ts';
import { Pagination, paginationOf, rowsOf } from '../http/lists.ts';
import { defineRoute, type Route } from '../http/route.ts';

const tags = ['Email'];

const EmailSchema = z
  .object({
    id: z.string(),
    template: z.string(),
    to: z.string(),
    userId: z.string().nullable(),
    subject: z.string().nullable().meta({ description: 'null: the subject of the template' }),
    status: z.enum(EMAIL_STATUSES),
    attempts: Count,
    error: z.string().nullable(),
    transport: z.string().nullable(),
    resentFrom: z.string().nullable().meta({ description: 'Id of the email that this one repeats' }),
    createdAt: IsoDate,
    sentAt: IsoDate.nullable(),
  })
  .meta({ id: 'Email', description: 'An email and its status' });

/** The id of a path. @throws {AppError} NOT_FOUND if it is not a UUID. */
function readEmailId(text: string): string {
  if (!z.uuid().safeParse(text).success) throw new AppError('NOT_FOUND', { publicMessage: 'Email not found' });
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

export const emailRoutes: Route[] = [
  defineRoute({
    method: 'post',
    path: '/api/v1/email/queue',
    operationId: 'queueEmail',
    summary: 'Send an email',
    description:
      'A template with a link needs the URL in `data`, or an account with this address: then the link is made when the email is sent. A URL must be of the origin of the web site.',
    tags,
    auth: 'apiKeyOrAdmin',
    limits: [
      // A person sends by hand, a program for many people.
      { name: 'email-queue', max: 60, windowSeconds: 3600, by: byUser },
      { name: 'email-queue-address', max: 600, windowSeconds: 600, by: byAddress },
    ],
    bodyLimitBytes: 128 * 1024,
    invalid: { code: 'VALIDATION_ERROR', publicMessage: 'Invalid request body' },
    body: z.object({
      to: BodyText,
      subject: BodyText,
      template: BodyText.meta(documentedAs({ type: 'string', enum: [...REQUESTED_TEMPLATE_NAMES] })),
      data: EmailDataSchema.nullish()
        .transform((data) => data ?? {})
        .meta({
          description: 'Texts that fill the template',
          ...documentedAs({ type: 'object', additionalProperties: { type: 'string' } }),
        }),
    }),
    responses: { 202: envelope(z.object({ task_id: z.string().meta({ description: 'Id of the email' }) })) },
    errors: [],
    failureMessage: 'Failed to queue email',
    audit: 'email-queued',
    async handler({ input: { body }, deps, ...call }) {
      const id = await requestEmail(deps, body, changedBy(call));
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
        pagination: Pagination,
        counts: z.object({ queued: Count, sent: Count, failed: Count, skipped: Count }).meta({
          description: 'Numbers of all emails, without the filter',
        }),
      }),
    },
    errors: [],
    failureMessage: 'Failed to fetch emails',
    async handler({ input: { query }, deps }) {
      const { page, pageSize, ...filter } = query;
      const { emails, total } = await listEmails(deps.db, { ...filter, ...rowsOf({ page, pageSize }) });
      return {
        status: 200,
        body: {
          success: true,
          emails: emails.map(toWireEmail),
          pagination: paginationOf({ page, pageSize }, total),
          counts: await countEmails(deps.db),
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
    failureMessage: 'Failed to fetch email',
    async handler({ input, deps }) {
      const email = await findEmail(deps.db, readEmailId(input.params.id));
      if (email === undefined) throw new AppError('NOT_FOUND', { publicMessage: 'Email not found' });
      return { status: 200, body: { success: true, email: toWireEmail(email) } };
    },
  }),
  defineRoute({
    method: 'post',
    path: '/api/admin/emails/:id/resend',
    operationId: 'resendEmail',
    summary: 'Send an email again, with a new link',
    description: 'A second request within ten seconds sends no second email.',
    tags,
    auth: 'admin',
    params: PathId,
    responses: { 202: z.object({ success: z.literal(true), message: z.string(), email_id: z.string() }) },
    errors: ['NOT_FOUND', 'CONFLICT'],
    failureMessage: 'Failed to queue email',
    audit: 'email-resent',
    async handler({ input, deps, ...call }) {
      const { id: emailId } = await resendEmail(deps, readEmailId(input.params.id), changedBy(call));
      return { status: 202, body: { success: true, message: 'Email has been queued', email_id: emailId } };
    },
  }),
];
