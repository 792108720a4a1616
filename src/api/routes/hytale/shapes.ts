/** What the Hytale routes share: their area, how they read ids, who asks, and their second spelling. */
import { isIP } from 'node:net';
import type { Context } from 'koa';
import { z } from 'zod';
import { AppError, type ErrorCode } from '../../../domain/errors.ts';
import { readUuid } from '../../../domain/uuid.ts';
import type { RequestOrigin } from '../../../services/accounts/networks.ts';
import type { Requester } from '../../../services/hytale/hytale.ts';
import { type Caller, changedBy } from '../../context.ts';
import { BodyText, OptionalText } from '../../http/fields.ts';
import type { Method, Route } from '../../http/route.ts';

/** The spelling of the published routes, and the short one. */
export const OAUTH = '/api/v1/hytale/oauth';
export const SHORT = '/api/hytale';

export const hytaleArea = {
  tags: ['Hytale'],
  auth: 'hytale',
  invalid: { code: 'BAD_REQUEST', publicMessage: 'Invalid request format' },
} as const;

/** What Hytale may have answered (`services/hytale/upstream-error.ts`). */
export const UPSTREAM_ERRORS: readonly ErrorCode[] = [
  'HYTALE_BAD_REQUEST',
  'REAUTH_REQUIRED',
  'HYTALE_FORBIDDEN',
  'HYTALE_NOT_FOUND',
  'HYTALE_RATE_LIMITED',
  'HYTALE_SERVER_ERROR',
  'HYTALE_UNAVAILABLE',
  'HYTALE_ERROR',
  'INTEGRATION_ERROR',
];

export const AccountId = BodyText.meta({ description: 'UUID of the Hytale account' });

/** The fields that name a game session. */
export const SESSION_FIELDS = {
  account_id: AccountId,
  profile_uuid: OptionalText.meta({ description: 'UUID of the profile; default: the selected one' }),
  profile_id: OptionalText.meta({ description: 'The same as `profile_uuid`' }),
  session_id: OptionalText.meta({ description: 'Id of one of our game sessions' }),
  server_id: OptionalText.meta({ description: 'Id of the server that it is for' }),
};

/** The answer to a field that is not valid. */
export const fault = (field: string, publicMessage: string): AppError =>
  new AppError('VALIDATION_ERROR', { publicMessage, details: [{ path: field, message: publicMessage }] });

/** A field that the route needs. @throws {AppError} VALIDATION_ERROR with the sentence of the contract. */
export function required(field: string, text: string, sentence = `${field} is required`): string {
  if (text === '') throw fault(field, sentence);
  return text;
}

/** A UUID, in small letters. @throws {AppError} VALIDATION_ERROR that names the field. */
export function uuidIn(field: string, text: string): string {
  const id = readUuid(text);
  if (id === undefined) throw fault(field, `${field} must be a UUID`);
  return id;
}

/** The account that the request names. @throws {AppError} VALIDATION_ERROR. */
export const accountIn = ({ account_id }: { account_id: string }): string =>
  uuidIn('account_id', required('account_id', account_id));

/** The session that the request names. @throws {AppError} VALIDATION_ERROR. */
export function choiceIn(body: Record<keyof typeof SESSION_FIELDS, string>) {
  const optionalUuid = (field: keyof typeof SESSION_FIELDS) =>
    body[field] === '' ? undefined : uuidIn(field, body[field]);
  return {
    accountId: accountIn(body),
    profileUuid: optionalUuid('profile_uuid') ?? optionalUuid('profile_id'),
    sessionId: optionalUuid('session_id'),
    serverId: body.server_id || undefined,
  };
}

/** Who asks, for the audits. */
export const requesterOf = (call: { caller: Caller; origin: RequestOrigin; koa: Context }): Requester => {
  // The zone of a link-local address is no part of what PostgreSQL stores.
  const [address = ''] = call.origin.address.split('%', 1);
  return {
    by: changedBy(call),
    ipAddress: isIP(address) === 0 ? null : address,
    userAgent: call.koa.get('User-Agent').slice(0, 500) || null,
  };
};

interface Spelling {
  operationId: string;
  path: string;
  method?: Method;
  /** The fields of the body may stand in the query as well. */
  fieldsInQuery?: boolean;
}

const SessionQuery = z.object(SESSION_FIELDS);

/** A route in both spellings: one handler, one set of limits. */
export const inBothSpellings = (route: Route, { fieldsInQuery, ...short }: Spelling): Route[] => [
  route,
  {
    ...route,
    ...short,
    description: `The same as \`${route.method.toUpperCase()} ${route.path}\`.${fieldsInQuery === true ? ' Fields that the body does not have are taken from the query.' : ''}`,
    ...(fieldsInQuery === true ? { fieldsInQuery, query: SessionQuery } : {}),
  },
];
