/** `/api/v1/hytale/oauth/{profiles,select-profile,game-session/*}`: the profiles of an account and its game sessions. */
import { z } from 'zod';
import { BodyText } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { SESSION_LIMIT } from './limits.ts';
import {
  AccountId,
  accountIn,
  choiceIn,
  hytaleArea,
  inBothSpellings,
  OAUTH,
  requesterOf,
  required,
  SESSION_FIELDS,
  SHORT,
  UPSTREAM_ERRORS,
  uuidIn,
} from './shapes.ts';

const area = { ...hytaleArea, method: 'post', limits: SESSION_LIMIT } as const;
const Done = z.object({ success: z.literal(true), message: z.string() });
const WHICH =
  'Several sessions may live on one profile. Without `session_id` and `server_id` the session of no server is meant, else the only one; with several, 409.';

const profiles = defineRoute({
  ...area,
  path: `${OAUTH}/profiles`,
  operationId: 'listHytaleProfiles',
  summary: 'The profiles of a Hytale account',
  body: z.object({ account_id: AccountId }),
  responses: {
    200: z.object({
      success: z.literal(true),
      owner: z.string().optional().meta({ description: 'UUID of the account' }),
      profiles: z.array(z.object({ uuid: z.string(), username: z.string() })),
    }),
  },
  errors: ['NOT_FOUND', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to fetch profiles',
  audit: { none: 'it asks Hytale' },
  async handler({ input: { body }, deps }) {
    const found = await deps.hytale.profiles(accountIn(body));
    const owner = found.owner === '' ? {} : { owner: found.owner };
    return { status: 200, body: { success: true, ...owner, profiles: found.profiles } };
  },
});

const selectProfile = defineRoute({
  ...area,
  path: `${OAUTH}/select-profile`,
  operationId: 'selectHytaleProfile',
  summary: 'Choose the profile of a Hytale account',
  description: 'Game sessions that name no profile are of this one.',
  body: z.object({ account_id: AccountId, profile_uuid: BodyText.meta({ description: 'UUID of the profile' }) }),
  responses: { 200: Done },
  errors: ['NOT_FOUND', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to update profile selection',
  audit: 'hytale-profile-selected',
  async handler({ input: { body }, deps, ...call }) {
    const sentence = 'account_id and profile_uuid are required';
    const accountId = uuidIn('account_id', required('account_id', body.account_id, sentence));
    const profile = uuidIn('profile_uuid', required('profile_uuid', body.profile_uuid, sentence));
    await deps.hytale.selectProfile(accountId, profile, requesterOf(call));
    return { status: 200, body: { success: true, message: `Profile ${profile} selected` } };
  },
});

const newSession = defineRoute({
  ...area,
  path: `${OAUTH}/game-session/new`,
  operationId: 'createHytaleGameSession',
  summary: 'A game session of a profile, for a server or for none',
  description:
    'A session that is there already gets a fresh pair of tokens. With `server_id` the tokens are also written to the variables of that server.',
  body: z.object(SESSION_FIELDS),
  responses: {
    200: z.object({
      success: z.literal(true),
      session: z.object({
        session_token: z.string(),
        identity_token: z.string(),
        expires_at: z.string().meta({ description: 'When the first of the two tokens ends, in ISO form' }),
        session_id: z.string().meta({ description: 'Names this session in other requests' }),
      }),
    }),
  },
  errors: ['NOT_FOUND', 'CONFLICT', 'SESSION_LIMIT_EXCEEDED', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to create game session',
  audit: 'hytale-session-created',
  async handler({ input: { body }, deps, ...call }) {
    const { accountId, profileUuid, serverId } = choiceIn({ ...body, session_id: '' });
    const pair = await deps.hytale.newSession({ accountId, profileUuid, serverId }, requesterOf(call));
    const session = {
      session_token: pair.sessionToken.reveal(),
      identity_token: pair.identityToken.reveal(),
      expires_at: pair.expiresAt,
      session_id: pair.sessionId,
    };
    return { status: 200, body: { success: true, session } };
  },
});

const refreshSession = defineRoute({
  ...area,
  path: `${OAUTH}/game-session/refresh`,
  operationId: 'refreshHytaleGameSession',
  summary: 'Renew a game session now',
  description: `The service renews it by itself before it expires. ${WHICH}`,
  body: z.object(SESSION_FIELDS),
  responses: { 200: Done },
  errors: ['NOT_FOUND', 'SESSION_NOT_FOUND', 'CONFLICT', 'SESSION_LIMIT_EXCEEDED', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to refresh game session',
  audit: 'hytale-session-refreshed',
  async handler({ input: { body }, deps, ...call }) {
    await deps.hytale.refreshSession(choiceIn(body), requesterOf(call));
    return { status: 200, body: { success: true, message: 'Game session refreshed successfully' } };
  },
});

const deleteSession = defineRoute({
  ...area,
  path: `${OAUTH}/game-session/delete`,
  operationId: 'deleteHytaleGameSession',
  summary: 'End a game session',
  description: WHICH,
  body: z.object(SESSION_FIELDS),
  responses: { 200: Done },
  errors: ['NOT_FOUND', 'SESSION_NOT_FOUND', 'CONFLICT', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to terminate game session',
  audit: 'hytale-session-ended',
  async handler({ input: { body }, deps, ...call }) {
    await deps.hytale.endSession(choiceIn(body), requesterOf(call));
    return { status: 200, body: { success: true, message: 'Game session terminated successfully' } };
  },
});

const session = { path: `${SHORT}/game-session`, fieldsInQuery: true };

export const hytaleSessionRoutes: Route[] = [
  ...inBothSpellings(profiles, { operationId: 'listHytaleProfilesShort', path: `${SHORT}/profiles` }),
  ...inBothSpellings(selectProfile, { operationId: 'selectHytaleProfileShort', path: `${SHORT}/select-profile` }),
  ...inBothSpellings(newSession, { ...session, operationId: 'createHytaleGameSessionShort' }),
  ...inBothSpellings(refreshSession, { ...session, operationId: 'refreshHytaleGameSessionShort', method: 'patch' }),
  ...inBothSpellings(deleteSession, { ...session, operationId: 'deleteHytaleGameSessionShort', method: 'delete' }),
];
