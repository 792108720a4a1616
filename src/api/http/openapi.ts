/** The OpenAPI 3.1 document, derived from the route table. */
import { createDocument, type ZodOpenApiOperationObject, type ZodOpenApiPathsObject } from 'zod-openapi';
import { bodyCodeOf, ERRORS, type ErrorCode } from '../../domain/errors.ts';
import { ErrorSchema } from './envelopes.ts';
import { bodyLimitBytes } from './middleware/body.ts';
import { type AuthMode, isRawResponse, type Route } from './route.ts';

export type OpenApiDocument = ReturnType<typeof createDocument>;

const SECURITY: Record<AuthMode, Record<string, string[]>[]> = {
  public: [],
  admin: [{ BearerAuth: [] }],
  apiKeyOrAdmin: [{ ApiKeyAuth: [] }, { ApiKeyQuery: [] }, { BearerAuth: [] }],
  apiKeyOrUser: [{ ApiKeyAuth: [] }, { ApiKeyQuery: [] }, { BearerAuth: [] }],
  user: [{ BearerAuth: [] }],
  adminQueryToken: [{ TokenQuery: [] }, { BearerAuth: [] }],
  setup: [{}, { BearerAuth: [] }],
  hytale: [{ ApiKeyAuth: [] }, { ApiKeyQuery: [] }, { BearerAuth: [] }],
  hytaleNode: [{ ApiKeyAuth: [] }, { ApiKeyQuery: [] }, { BearerAuth: [] }],
  hytaleReader: [{ ApiKeyAuth: [] }, { ApiKeyQuery: [] }, { BearerAuth: [] }],
};
const MODE_ERRORS: Record<AuthMode, readonly ErrorCode[]> = {
  public: [],
  admin: ['UNAUTHORIZED', 'FORBIDDEN'],
  apiKeyOrAdmin: ['UNAUTHORIZED', 'FORBIDDEN'],
  apiKeyOrUser: ['UNAUTHORIZED', 'FORBIDDEN'],
  user: ['UNAUTHORIZED'],
  adminQueryToken: ['UNAUTHORIZED', 'FORBIDDEN'],
  setup: ['UNAUTHORIZED', 'FORBIDDEN'],
  hytale: ['UNAUTHORIZED', 'FORBIDDEN'],
  hytaleNode: ['UNAUTHORIZED', 'FORBIDDEN'],
  hytaleReader: ['UNAUTHORIZED', 'FORBIDDEN'],
};

/** Every code a route may answer with: its own, those of its authentication and input, and the unexpected. */
export function errorCodesOf(route: Route): ErrorCode[] {
  const input = route.params !== undefined || route.query !== undefined || route.body !== undefined;
  const mode = route.authTexts === 'account' ? [] : MODE_ERRORS[route.auth];
  // A malformed path or query and a body that is too large are refused before the handler of any route.
  const codes: ErrorCode[] = [...mode, ...route.errors, 'BAD_REQUEST', 'PAYLOAD_TOO_LARGE'];
  if (input) codes.push(route.invalid?.code ?? 'VALIDATION_ERROR');
  if (route.limits !== undefined) codes.push('RATE_LIMITED');
  codes.push('INTERNAL_ERROR', 'SERVICE_UNAVAILABLE');
  return [...new Set(codes)];
}

/** Builds the document; `version` is the package's. */
export function createOpenApiDocument(routes: readonly Route[], version: string): OpenApiDocument {
  const paths: ZodOpenApiPathsObject = {};
  for (const route of routes) {
    const path = route.path.replace(/:([A-Za-z_]+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method]: operationOf(route) };
  }
  return createDocument({
    openapi: '3.1.0',
    info: {
      title: 'NodeByte API',
      version,
      description:
        'Backend of the NodeByte site. Unknown keys of a request are ignored. Every failure has the shape of `Error`; with `Accept: application/problem+json` it has the form of RFC 9457.',
      license: { name: 'AGPL-3.0-or-later', identifier: 'AGPL-3.0-or-later' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.flatMap((route) => route.tags))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        ApiKeyAuth: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        ApiKeyQuery: { type: 'apiKey', in: 'query', name: 'api_key' },
        BearerAuth: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
        TokenQuery: {
          type: 'apiKey',
          in: 'query',
          name: 'token',
          description: 'Access token, for EventSource, which sends no headers',
        },
      },
    },
  });
}

function operationOf(route: Route): ZodOpenApiOperationObject {
  const responses: ZodOpenApiOperationObject['responses'] = {};
  for (const [status, response] of Object.entries(route.responses)) {
    responses[`${Number(status)}` as '200'] = isRawResponse(response)
      ? // No schema: OpenAPI 3.1 cannot describe the events of a stream.
        {
          description: response.description,
          content: Object.fromEntries(
            [response.contentType, ...(response.otherTypes ?? [])].map((type) => [type, { schema: {} }]),
          ),
        }
      : {
          description: Number(status) < 400 ? 'Success' : 'The same shape as the success; it says what is wrong',
          content: { 'application/json': { schema: response } },
        };
  }
  const byStatus = Map.groupBy(errorCodesOf(route), (code) => ERRORS[code].status);
  for (const [status, codes] of [...byStatus].sort((a, b) => a[0] - b[0])) {
    // A body that the route itself declares for this status (health) stays.
    responses[`${status}` as '400'] ??= {
      description: [...new Set(codes.map((code) => `\`${bodyCodeOf(code)}\``))].join(', '),
      content: { 'application/json': { schema: ErrorSchema } },
    };
  }
  return {
    operationId: route.operationId,
    summary: route.summary,
    ...(route.description === undefined ? {} : { description: route.description }),
    tags: [...route.tags],
    security: SECURITY[route.auth],
    ...(route.params === undefined && route.query === undefined
      ? {}
      : {
          requestParams: {
            ...(route.params === undefined ? {} : { path: asParameters(route.params) }),
            ...(route.query === undefined ? {} : { query: asParameters(route.query) }),
          },
        }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: false,
            description: `At most ${bodyLimitBytes(route) / 1024} KiB${route.bodyReading?.gzip === true ? ', decoded; `Content-Encoding: gzip` is accepted' : ''}`,
            content: { 'application/json': { schema: route.body } },
          },
        }),
    responses,
  };
}

type Parameters = NonNullable<NonNullable<ZodOpenApiOperationObject['requestParams']>['path']>;
const asParameters = (schema: NonNullable<Route['params']>): Parameters => schema as Parameters;
