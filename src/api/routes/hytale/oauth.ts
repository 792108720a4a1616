/** `/api/v1/hytale/oauth/{device-code,token,refresh}`: how an account is signed in, and its tokens. */
import { z } from 'zod';
import type { AccountTokens } from '../../../services/hytale/hytale.ts';
import { ErrorSchema } from '../../http/envelopes.ts';
import { BodyText } from '../../http/fields.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { DEVICE_CODE_LIMIT, POLL_LIMIT, REFRESH_LIMIT } from './limits.ts';
import {
  AccountId,
  accountIn,
  hytaleArea,
  inBothSpellings,
  OAUTH,
  requesterOf,
  required,
  SHORT,
  UPSTREAM_ERRORS,
} from './shapes.ts';

const TokenSchema = z
  .object({
    success: z.literal(true),
    account_id: z.string(),
    profile_uuid: z.string().optional().meta({ description: 'The selected profile' }),
    access_token: z.string(),
    refresh_token: z.string().optional().meta({ description: 'Only with HYTALE_EXPOSE_REFRESH_TOKEN=true' }),
    expires_in: z.int().min(0).meta({ description: 'Seconds, from now' }),
    token_type: z.string().optional(),
    scope: z.string().optional(),
  })
  .meta({ id: 'HytaleTokens', description: 'Tokens of a Hytale account; empty ones are left out' });

/** By contract the key of an empty value is left out. */
const filled = <K extends string>(key: K, value: string | null) =>
  value === null || value === '' ? {} : ({ [key]: value } as Record<K, string>);

const toWireTokens = (tokens: AccountTokens, exposed: boolean): z.input<typeof TokenSchema> => ({
  success: true,
  account_id: tokens.accountId,
  ...filled('profile_uuid', tokens.profileUuid),
  access_token: tokens.accessToken.reveal(),
  ...(exposed ? filled('refresh_token', tokens.refreshToken.reveal()) : {}),
  expires_in: Math.max(0, Math.floor(tokens.expiresInSeconds)),
  ...filled('token_type', tokens.tokenType),
  ...filled('scope', tokens.scope),
});

const PENDING = {
  success: false,
  error: 'authorization_pending',
  error_description: 'User has not yet authorized the device',
} as const;
const PendingSchema = z.object({
  success: z.literal(false),
  error: z.literal(PENDING.error),
  error_description: z.string(),
});
const FailedSchema = ErrorSchema.extend({
  error: z
    .string()
    .meta({ description: 'A sentence, or the code of OAuth, such as `access_denied` or `expired_token`' }),
  error_description: z.string().optional(),
}).meta({ id: 'HytalePollFailure', description: 'A request that is not valid, or a sign-in that did not succeed' });

const deviceCode = defineRoute({
  ...hytaleArea,
  method: 'post',
  path: `${OAUTH}/device-code`,
  operationId: 'requestHytaleDeviceCode',
  summary: 'Start the sign-in of a Hytale account',
  description:
    'A person opens `verification_uri_complete` and approves. The service asks Hytale for the tokens by itself; the caller asks `token` what became of it.',
  limits: DEVICE_CODE_LIMIT,
  body: z.object({ account_id: AccountId }),
  responses: {
    200: z.object({
      success: z.literal(true),
      device_code: z.string(),
      user_code: z.string(),
      verification_uri: z.string(),
      verification_uri_complete: z.string().optional(),
      expires_in: z.int(),
      interval: z.int(),
    }),
  },
  errors: UPSTREAM_ERRORS,
  failureMessage: 'Failed to request device code',
  audit: 'hytale-login-started',
  async handler({ input: { body }, deps, ...call }) {
    const login = await deps.hytale.startLogin(accountIn(body), requesterOf(call));
    const answer = {
      success: true,
      device_code: login.deviceCode.reveal(),
      user_code: login.userCode,
      verification_uri: login.verificationUri,
      ...filled('verification_uri_complete', login.verificationUriComplete),
      expires_in: login.expiresInSeconds,
      interval: login.intervalSeconds,
    } as const;
    return { status: 200, body: answer };
  },
});

const token = defineRoute({
  ...hytaleArea,
  method: 'post',
  path: `${OAUTH}/token`,
  operationId: 'pollHytaleToken',
  summary: 'What became of the sign-in of a Hytale account',
  description:
    'Asks the service, not Hytale: a request that comes too early, or that the limit refuses, costs nothing.',
  limits: POLL_LIMIT,
  body: z.object({ device_code: BodyText.meta({ description: 'From `device-code`' }), account_id: AccountId }),
  responses: { 200: TokenSchema, 202: PendingSchema, 400: FailedSchema },
  errors: UPSTREAM_ERRORS,
  failureMessage: 'Failed to poll token',
  audit: { none: 'it tells what became of a sign-in, whose start is recorded' },
  async handler({ input: { body }, deps }) {
    const code = required('device_code', body.device_code);
    const answer = await deps.hytale.pollLogin(code, accountIn(body));
    if (answer.state === 'pending') return { status: 202, body: PENDING };
    if (answer.state === 'granted') {
      return { status: 200, body: toWireTokens(answer.tokens, deps.config.hytale.exposeRefreshToken) };
    }
    const { error, description } = answer;
    const failed = { success: false, error, code: error.toUpperCase(), ...filled('error_description', description) };
    return { status: 400, body: { ...failed, success: false } };
  },
});

const refresh = defineRoute({
  ...hytaleArea,
  method: 'post',
  path: `${OAUTH}/refresh`,
  operationId: 'refreshHytaleToken',
  summary: 'Renew the tokens of a Hytale account now',
  description: 'The service renews them by itself before they expire.',
  limits: REFRESH_LIMIT,
  body: z.object({ account_id: AccountId }),
  responses: { 200: TokenSchema },
  errors: ['NOT_FOUND', ...UPSTREAM_ERRORS],
  failureMessage: 'Failed to refresh token',
  audit: 'hytale-account-refreshed',
  async handler({ input: { body }, deps, ...call }) {
    const tokens = await deps.hytale.refreshAccount(accountIn(body), requesterOf(call));
    return { status: 200, body: toWireTokens(tokens, deps.config.hytale.exposeRefreshToken) };
  },
});

export const hytaleOauthRoutes: Route[] = [
  ...inBothSpellings(deviceCode, { operationId: 'requestHytaleDeviceCodeShort', path: `${SHORT}/device-code` }),
  ...inBothSpellings(token, { operationId: 'pollHytaleTokenShort', path: `${SHORT}/token-poll` }),
  ...inBothSpellings(refresh, { operationId: 'refreshHytaleTokenShort', path: `${SHORT}/refresh-token` }),
];
