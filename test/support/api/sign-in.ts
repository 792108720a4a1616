/** Helpers for tests of the auth routes: requests, emails as the worker prepares them, and reads of tables. */
import type { EmailTemplate } from '../../../src/domain/email.ts';
import { createTokens } from '../../../src/services/accounts/access-tokens.ts';
import { issuePair, openSession, type TokenPair } from '../../../src/services/accounts/sessions.ts';
import { startAttempt } from '../../../src/services/email/start-attempt.ts';
import { findAuthUser } from '../../../src/store/accounts/user-store.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { type AnswerBody, type Harness, json, PASSWORD } from './harness.ts';

export interface Answer {
  status: number;
  headers: Headers;
  body: AnswerBody;
}

/** A request to the auth route `route`, e.g. `login`. */
export async function call(harness: Harness, route: string, init?: RequestInit): Promise<Answer> {
  const response = await harness.get(`/api/v1/auth/${route}`, init);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** A POST with a JSON body to an auth route. */
export const post = (
  harness: Harness,
  route: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> => call(harness, route, json(body, headers));

export const login = (harness: Harness, email: string, password = PASSWORD): Promise<Answer> =>
  post(harness, 'login', { email, password });

export const refresh = (harness: Harness, refreshToken: string): Promise<Answer> =>
  post(harness, 'refresh', { refreshToken });

/** Signs in without a request and without a check of the password, which is faster. */
export async function openedSession({ deps }: Harness, userId: string): Promise<TokenPair> {
  const { jwtSecret, nextAuthSecret, jwtAccessTtlSeconds: accessTtlSeconds } = deps.config;
  const tokens = createTokens({ jwtSecret, nextAuthSecret, accessTtlSeconds });
  const user = await findAuthUser(deps.db, userId);
  if (user === undefined) throw new Error('no such user');
  const pair = await issuePair({ tokens }, user);
  await inTransaction(deps.db, (trx) => openSession(trx, user, pair));
  return pair;
}

/** Status, `error` and `code`: the parts of an answer that a client evaluates. */
export const outcome = ({ status, body }: Answer): [number, string | undefined, string | undefined] => [
  status,
  body.error,
  body.code,
];

/** Number of answers per status. */
export function countByStatus(answers: readonly Answer[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of answers) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** Requests an email and prepares it, as the worker does. @returns its link's token, undefined when it is not sent. */
export async function emailedToken(
  harness: Harness,
  template: EmailTemplate,
  to: string,
  userId?: string,
): Promise<string | undefined> {
  const { emails, db } = harness.deps;
  const id = await inTransaction(db, (trx) =>
    emails.queue(trx, { template, to, ...(userId === undefined ? {} : { userId }) }),
  );
  return makeEmail(harness, id);
}

/** Prepares a requested email, as the worker does. @returns its link's token, undefined when it is not to be sent. */
export async function makeEmail(harness: Harness, id: string): Promise<string | undefined> {
  const attempt = await startAttempt(harness.deps, id, 0);
  return attempt.state === 'ready' ? attempt.data['token'] : undefined;
}

/** The token of an email's link. @throws {Error} when the email is not to be sent. */
export async function tokenFor(
  harness: Harness,
  template: EmailTemplate,
  user: { id: string; email: string },
): Promise<string> {
  const token = await emailedToken(harness, template, user.email, user.id);
  if (token === undefined) throw new Error('the email was skipped');
  return token;
}

/** Requested emails to an address, oldest first. */
export const emailsTo = (harness: Harness, to: string): Promise<{ id: string; template: string }[]> =>
  query(harness.database.db, 'select e.id, e.template from emails e where e.recipient = ? order by e.created_at', [to]);

export interface SessionRow {
  id: string;
  sessionToken: string;
  familyId: string | null;
  rotatedAt: Date | null;
}
export const sessionsOf = (harness: Harness, userId: string): Promise<SessionRow[]> =>
  query(
    harness.database.db,
    `select s.id, s."sessionToken", s."familyId", s."rotatedAt" from sessions s where s."userId" = ?
      order by s."createdAt", s.id`,
    [userId],
  );

/** Fills all buckets, so that no limit refuses a request of the next test. */
export const resetRateLimits = (harness: Harness) => harness.database.db.raw('delete from rate_limits');
