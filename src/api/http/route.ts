/**
 * One declaration per route. The registrar (mount.ts) and the OpenAPI document (openapi.ts) both read it, so no route is
 * undocumented. Here its input is parsed and the handler's answer is checked.
 */
import type { Readable } from 'node:stream';
import type { Context } from 'koa';
import { z } from 'zod';
import type { AuditAction } from '../../domain/audit.ts';
import { AppError, type ErrorCode } from '../../domain/errors.ts';
import type { RequestOrigin } from '../../services/accounts/networks.ts';
import type { Caller, Services } from '../context.ts';
import type { LimitRule } from './limits.ts';
import type { BodyReading } from './middleware/body.ts';

/**
 * Who may call a route. `apiKeyOrAdmin`: a valid API key or the bearer of an administrator. `adminQueryToken`: the token of
 * an administrator in `?token=` (EventSource sends no headers) or in the Authorization header. `setup`: everybody while the
 * setup wizard is open, otherwise an administrator. `hytale`: as `apiKeyOrAdmin`, and everybody with HYTALE_REQUIRE_AUTH=false.
 * `hytaleNode`: as `hytale`, and HYTALE_LOG_PUSH_KEY. `hytaleReader`: as `hytale`, and the bearer of a user, whose rights the route judges.
 */
export type AuthMode =
  | 'public'
  | 'admin'
  | 'apiKeyOrAdmin'
  | 'apiKeyOrUser'
  | 'user'
  | 'adminQueryToken'
  | 'setup'
  | 'hytale'
  | 'hytaleNode'
  | 'hytaleReader';
export type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** An answer that is not JSON. */
export interface RawResponse {
  contentType: string;
  /** Further types; the handler names the one that it answers with in `Content-Type`. */
  otherTypes?: readonly string[];
  description: string;
}
export type Responses = Record<number, z.ZodType | RawResponse>;

export const isRawResponse = (response: z.ZodType | RawResponse): response is RawResponse => 'contentType' in response;

type ReplyOf<R extends Responses> = {
  [S in keyof R & number]: R[S] extends z.ZodType
    ? { status: S; body: z.input<R[S]>; headers?: Record<string, string> }
    : { status: S; raw: string | Buffer | Readable; headers?: Record<string, string> };
}[keyof R & number];

export interface Call<P, Q, B> {
  input: { params: P; query: Q; body: B };
  caller: Caller;
  /** Where the request comes from. */
  origin: RequestOrigin;
  deps: Services;
  /** For handlers that read a header or distinguish HEAD from GET. */
  koa: Context;
}

interface RouteFacts {
  method: Method;
  /** Koa form, e.g. `/api/admin/sync/logs/:id`. */
  path: string;
  operationId: string;
  summary: string;
  description?: string;
  tags: readonly string[];
  auth: AuthMode;
  /** `account`: authentication failures are answered with the codes of the sign-in area. */
  authTexts?: 'account';
  /** Rate limits; one token of each is taken before the input is parsed, those of the address before the body is read. */
  limits?: readonly LimitRule[];
  /** Maximum number of bytes of the body; default 64 KiB. A larger one is answered by 413. */
  bodyLimitBytes?: number;
  /** Bodies that are compressed or hold odd characters; default: they are refused. */
  bodyReading?: BodyReading;
  /** Lets caches, shared ones too, keep a successful answer; default `no-store`. Only for answers that are the same for everybody. */
  cache?: { maxAgeSeconds: number };
  /**
   * How an invalid body, query or path is answered; default VALIDATION_ERROR. `named`: `error` names the first field and
   * its fault, for pages that show nothing else.
   */
  invalid?: { code: ErrorCode; publicMessage?: string; named?: boolean };
  /** Fields that the body does not have are taken from the query (by contract, for the short spellings of Hytale routes). */
  fieldsInQuery?: boolean;
  /** A body that cannot be read counts as `{}` (by contract, for some triggers). */
  lenientBody?: boolean;
  /**
   * The audit event that a call records in the transaction of its change, or why it records none. Every route that changes
   * something and is not a customer's own declares it; a test calls each of them and looks for the event.
   */
  audit?: AuditAction | { none: string };
  /** Public message of an unexpected failure (500). */
  failureMessage?: string;
  /** Codes that the handler may answer with, in addition to those of its authentication and input. */
  errors: readonly ErrorCode[];
}

export interface RouteSpec<
  P extends z.ZodType,
  Q extends z.ZodType,
  B extends z.ZodType,
  R extends Responses,
  Out extends ReplyOf<R>,
> extends RouteFacts {
  params?: P;
  query?: Q;
  body?: B;
  responses: R;
  handler(call: Call<z.output<P>, z.output<Q>, z.output<B>>): Promise<Out>;
}

/** The handler's answer once it is checked. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  contentType: string | undefined;
  body: unknown;
}

export interface RawInput {
  params: unknown;
  query: unknown;
  body: unknown;
}

/** A declared route, as it is mounted and documented. */
export interface Route extends RouteFacts {
  params: z.ZodType | undefined;
  query: z.ZodType | undefined;
  body: z.ZodType | undefined;
  responses: Responses;
  run(call: Omit<Call<never, never, never>, 'input'> & { input: RawInput }): Promise<Reply>;
}

/** Declares a route. The types of the handler's `input` and of its answer follow from the schemas. */
export function defineRoute<
  R extends Responses,
  P extends z.ZodType = z.ZodUndefined,
  Q extends z.ZodType = z.ZodUndefined,
  B extends z.ZodType = z.ZodUndefined,
  const Out extends ReplyOf<R> = ReplyOf<R>,
>(spec: RouteSpec<P, Q, B, R, Out>): Route {
  const { handler, params, query, body, ...rest } = spec;
  const parse = <S extends z.ZodType>(schema: S | undefined, value: unknown, at: string): z.output<S> => {
    // Without a schema the input is undefined.
    let result = (schema ?? z.undefined()).safeParse(schema === undefined ? undefined : value);
    if (!result.success && at === 'body' && spec.lenientBody === true) result = (schema ?? z.undefined()).safeParse({});
    if (!result.success) throw invalidInput(spec, result.error, at);
    return result.data as z.output<S>;
  };
  return {
    ...rest,
    params,
    query,
    body,
    async run({ input, ...call }) {
      const parsed = {
        params: parse(params, input.params, 'path'),
        query: parse(query, input.query, 'query'),
        body: parse(body, input.body, 'body'),
      };
      const reply = await handler({ input: parsed, ...call });
      return checkReply(rest, reply);
    },
  };
}

function invalidInput(spec: RouteFacts, error: z.ZodError, at: string): AppError {
  const [issue] = error.issues;
  return new AppError(spec.invalid?.code ?? 'VALIDATION_ERROR', {
    ...(spec.invalid?.publicMessage === undefined ? {} : { publicMessage: spec.invalid.publicMessage }),
    ...(spec.invalid?.named === true && issue !== undefined ? { publicMessage: describeIssue(issue) } : {}),
    details: error.issues
      .slice(0, 20)
      .map((issue) => ({ path: [at, ...issue.path].join('.'), message: issue.message })),
  });
}

/**
 * Holds the handler to its declared responses. Parsing drops every key that is not declared; an answer that does not match
 * is a defect of ours and becomes a 500, so that nothing undeclared leaves.
 */
function checkReply(
  route: RouteFacts & { responses: Responses },
  reply: { status: number; body?: unknown; raw?: unknown; headers?: Record<string, string> },
): Reply {
  const declared = route.responses[reply.status];
  const headers = reply.headers ?? {};
  if (declared === undefined) {
    throw new AppError('INTERNAL_ERROR', { meta: { reason: 'undeclared status', status: reply.status } });
  }
  if (isRawResponse(declared)) {
    const contentType = declared.otherTypes?.find((type) => type === headers['Content-Type']) ?? declared.contentType;
    return { status: reply.status, headers, contentType, body: reply.raw };
  }
  const result = declared.safeParse(reply.body);
  if (result.success) return { status: reply.status, headers, contentType: undefined, body: result.data };
  const meta = {
    reason: 'answer does not match its declaration',
    operationId: route.operationId,
    issues: result.error.issues.slice(0, 5).map(describeIssue),
  };
  throw new AppError('INTERNAL_ERROR', { meta, cause: result.error });
}

const describeIssue = (issue: z.core.$ZodIssue): string => `${issue.path.join('.')}: ${issue.message}`;
