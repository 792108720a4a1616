/**
 * Mounts the routes on the router. A request is judged in this order, so that a refusal costs as little as possible: its
 * announced size, its caller, the rate limits of its address, its body, the rate limits that depend on the body.
 */
import type Router from '@koa/router';
import type { Context } from 'koa';
import { AppError } from '../../domain/errors.ts';
import { isRoleRefused, recordRoleRefused } from '../../services/audit/security-events.ts';
import type { Services } from '../context.ts';
import { clientAddress } from './client-address.ts';
import { enforceLimits, type LimitSubject } from './limits.ts';
import { authenticate } from './middleware/auth.ts';
import { type BodyResult, bodyLimitBytes, readBody, refuseLargeBody } from './middleware/body.ts';
import type { Reply, Route } from './route.ts';

type RoutedContext = Context & { params?: Record<string, string> };

/** Puts every route of the table on the router. */
export function mountRoutes(router: Router, routes: readonly Route[], services: Services): void {
  for (const route of routes) {
    router.register(route.path, [route.method], (ctx: RoutedContext) => serve(route, services, ctx));
  }
}

/** Answers a request that no route took: 404, 405, or 204 for OPTIONS on a known path. */
export function unmatched(router: Router) {
  return async (ctx: Context): Promise<void> => {
    refuseLargeBody(ctx, bodyLimitBytes());
    const matching = router.match(ctx.path, ctx.method).path;
    // A path that is declared word by word is not one of the form `/:id` as well.
    const literal = matching.filter((layer) => layer.paramNames.length === 0);
    const methods = new Set((literal.length > 0 ? literal : matching).flatMap((layer) => layer.methods));
    if (methods.size === 0) throw new AppError('NOT_FOUND');
    ctx.set('Allow', [...methods, 'OPTIONS'].sort().join(', '));
    if (ctx.method !== 'OPTIONS') throw new AppError('METHOD_NOT_ALLOWED');
    ctx.status = 204;
  };
}

async function serve(route: Route, services: Services, ctx: RoutedContext): Promise<void> {
  if (route.failureMessage !== undefined) ctx.state['failureMessage'] = route.failureMessage;
  refuseLargeBody(ctx, bodyLimitBytes(route));
  const origin = services.readOrigin(clientAddress(ctx), String(ctx.state['requestId']));
  const caller = await authenticate(route, ctx, services, origin);
  const query = singleValues(ctx.query);
  const body = await readWithinLimits(route, services, ctx, { caller, origin }, query);
  const input = { params: ctx.params ?? {}, query, body: bodyOf(route, body) };
  const reply = await route
    .run({ input, caller, origin, deps: services, koa: ctx })
    .catch(async (error: unknown): Promise<never> => {
      if (caller.kind === 'user' && isRoleRefused(error)) {
        await recordRoleRefused(services, caller.user.id, route.operationId, origin);
      }
      throw error;
    });
  writeReply(ctx, route, reply);
}

/** Takes the route's rate limits around the reading of its body. @returns undefined for a route without a body. */
async function readWithinLimits(
  route: Route,
  services: Services,
  ctx: RoutedContext,
  from: Pick<LimitSubject, 'caller' | 'origin'>,
  query: Readonly<Record<string, string>>,
): Promise<BodyResult | undefined> {
  const { limits = [] } = route;
  const subject = { ...from, body: {} };
  const beforeBody = limits.filter((rule) => rule.by.beforeBody);
  const taken = await enforceLimits(ctx, services, beforeBody, subject);
  const read = route.body === undefined ? undefined : await readBody(ctx, bodyLimitBytes(route), route.bodyReading);
  const body = route.fieldsInQuery === true && read !== undefined ? withQuery(read, query) : read;
  const sent = body !== undefined && 'value' in body && isObject(body.value) ? body.value : {};
  const afterBody = limits.filter((rule) => !rule.by.beforeBody);
  await enforceLimits(ctx, services, afterBody, { ...subject, body: sent }, taken);
  return body;
}

/** The body with the fields of the query that it does not have itself. */
const withQuery = (body: BodyResult, query: Readonly<Record<string, string>>): BodyResult =>
  'value' in body && isObject(body.value) ? { value: { ...query, ...body.value } } : body;

/** The value to parse. @throws {AppError} the route's `invalid` error for a body that cannot be read. */
function bodyOf(route: Route, body: BodyResult | undefined): unknown {
  if (body === undefined) return undefined;
  if ('value' in body) return route.lenientBody === true && !isObject(body.value) ? {} : body.value;
  if (route.lenientBody === true) return {};
  const { code = 'BAD_REQUEST', publicMessage = 'Invalid request body' } = route.invalid ?? {};
  // INVALID_REQUEST puts a code into `error`: its sentence is the hint of the table.
  throw new AppError(code, code === 'INVALID_REQUEST' ? {} : { publicMessage });
}

function writeReply(ctx: Context, route: Route, reply: Reply): void {
  ctx.status = reply.status;
  if (route.cache !== undefined && reply.status < 300) {
    ctx.set('Cache-Control', `public, max-age=${route.cache.maxAgeSeconds}`);
  }
  ctx.set(reply.headers);
  if (reply.contentType !== undefined) ctx.type = reply.contentType;
  ctx.body = reply.body;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A repeated key counts once, by its first value. */
function singleValues(query: Context['query']): Record<string, string> {
  const values: [string, string][] = [];
  for (const [key, value] of Object.entries(query)) {
    const first = Array.isArray(value) ? value[0] : value;
    if (first !== undefined) values.push([key, first]);
  }
  return Object.fromEntries(values);
}
