/** `/api/v1/hytale/oauth/{validate-token,jwks}`: tokens of game sessions, and the keys of Hytale that verify them. */
import { z } from 'zod';
import type { JwksStatus } from '../../../clients/hytale/answers.ts';
import { AppError } from '../../../domain/errors.ts';
import { Secret } from '../../../domain/secret.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { BodyText, OptionalText } from '../../http/fields.ts';
import { isoOrNull } from '../../http/lists.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { KEYS_LIMIT, VERIFY_LIMIT } from './limits.ts';
import { hytaleArea, OAUTH, required } from './shapes.ts';

const TYPES = ['session', 'identity'] as const;

/** @throws {AppError} VALIDATION_ERROR. */
function typeIn(text: string): (typeof TYPES)[number] {
  const type = TYPES.find((one) => one === required('token_type', text));
  if (type !== undefined) return type;
  throw new AppError('VALIDATION_ERROR', { publicMessage: 'token_type must be session or identity' });
}

/** Nothing can be said without the keys, and that passes. */
const keysAway = (hint: string): AppError => new AppError('HYTALE_UNAVAILABLE', { hint, retryAfterMs: 10_000 });

const KEYS = { success: z.literal(true), last_refresh: IsoDate.nullable() };
/** The state of the keys, and what the last fetch failed by. */
const toWireStatus = ({ cacheValid, keysCount, lastRefresh, nextRefresh, problem }: JwksStatus) => ({
  success: true as const,
  cache_valid: cacheValid,
  keys_count: keysCount,
  last_refresh: isoOrNull(lastRefresh),
  next_refresh: isoOrNull(nextRefresh),
  ...(problem === null ? {} : { error: problem }),
});

export const hytaleTokenRoutes: Route[] = [
  defineRoute({
    ...hytaleArea,
    method: 'post',
    path: `${OAUTH}/validate-token`,
    operationId: 'validateHytaleToken',
    summary: 'Whether a session or identity token of Hytale is valid',
    limits: VERIFY_LIMIT,
    body: z.object({
      token: BodyText,
      token_type: BodyText.meta({ description: '`session` or `identity`' }),
      expected_audience: OptionalText.meta({ description: 'An audience that the token must name' }),
    }),
    responses: {
      200: z.object({
        success: z.literal(true),
        valid: z.boolean(),
        message: z.string().optional(),
        error: z.string().optional().meta({ description: '`EXPIRED_TOKEN` or `INVALID_TOKEN`' }),
        claims: z.record(z.string(), z.unknown()).optional(),
        expires_at: IsoDate.optional(),
      }),
    },
    errors: ['HYTALE_UNAVAILABLE'],
    audit: { none: 'it looks at a token' },
    async handler({ input: { body }, deps }) {
      const token = new Secret(required('token', body.token));
      const type = typeIn(body.token_type);
      const found = await deps.tokenVerifier.verify(token, { type, audience: body.expected_audience || undefined });
      if (found.state === 'unknown') throw keysAway(found.detail);
      if (found.state === 'invalid') {
        return { status: 200, body: { success: true, valid: false, error: found.code, message: found.detail } };
      }
      const { claims, expiresAt } = found;
      return { status: 200, body: { success: true, valid: true, claims, expires_at: expiresAt.toISOString() } };
    },
  }),
  defineRoute({
    ...hytaleArea,
    method: 'get',
    path: `${OAUTH}/jwks`,
    operationId: 'getHytaleKeys',
    summary: 'Which keys of Hytale are known, and since when',
    responses: {
      200: z.object({
        ...KEYS,
        cache_valid: z.boolean().meta({ description: 'The keys are younger than an hour' }),
        keys_count: Count,
        next_refresh: IsoDate.nullable(),
        error: z.string().optional().meta({ description: 'Why the last attempt to fetch them failed' }),
      }),
    },
    errors: [],
    async handler({ deps }) {
      return { status: 200, body: toWireStatus(deps.tokenVerifier.status()) };
    },
  }),
  defineRoute({
    ...hytaleArea,
    method: 'post',
    path: `${OAUTH}/jwks/refresh`,
    operationId: 'refreshHytaleKeys',
    summary: 'Fetch the keys of Hytale now',
    limits: KEYS_LIMIT,
    responses: { 200: z.object({ ...KEYS, keys_loaded: Count }) },
    errors: ['HYTALE_UNAVAILABLE'],
    audit: { none: 'it fetches public keys' },
    async handler({ deps }) {
      const status = await deps.tokenVerifier.refresh();
      if (status.problem !== null) throw keysAway(status.problem);
      const { keysCount: keys_loaded, lastRefresh } = status;
      return { status: 200, body: { success: true, keys_loaded, last_refresh: isoOrNull(lastRefresh) } };
    },
  }),
];
