/** The api as a Koa application, without a socket: tests and the server listen with it as it is. */
import cors from '@koa/cors';
import Router from '@koa/router';
import Koa, { type Context, type Next } from 'koa';
import helmet from 'koa-helmet';
import { AppError } from '../domain/errors.ts';
import { createTokens } from '../services/accounts/access-tokens.ts';
import { createStatsCache } from '../services/inventory/statistics-cache.ts';
import type { AppDeps, Services } from './context.ts';
import { clientAddress } from './http/client-address.ts';
import { docs } from './http/docs.ts';
import { enforceLimits } from './http/limits.ts';
import { authenticate } from './http/middleware/auth.ts';
import { type BodyResult, hasStorableText, readBody, refuseLargeBody } from './http/middleware/body.ts';
import { errorBody } from './http/middleware/error-body.ts';
import { requestId } from './http/middleware/request-id.ts';
import { createOpenApiDocument } from './http/openapi.ts';
import type { Route } from './http/route.ts';
import { routes as allRoutes } from './routes/index.ts';

/** Composes the application. Opens nothing; the caller closes what it passed in. */
export function createApp(deps: AppDeps, routes: readonly Route[] = allRoutes): Koa {
  const services: Services = {
    ...deps,
    tokens: createTokens({
      jwtSecret: deps.config.jwtSecret,
      nextAuthSecret: deps.config.nextAuthSecret,
      accessTtlSeconds: deps.config.jwtAccessTtlSeconds,
    }),
    stats: createStatsCache(deps),
  };
  const app = new Koa();
  // So many entries of X-Forwarded-For are believed, from the right: the rest is what a caller may write there.
  app.proxy = deps.config.trustedProxyHops > 0;
  app.maxIpsCount = deps.config.trustedProxyHops;
  // Sockets that break under an answer surface here; the error body layer has seen everything else.
  app.on('error', (error: unknown) => deps.log.debug({ err: error }, 'connection error'));
  const router = new Router();
  for (const route of routes) router.register(route.path, [route.method], mount(route, services));

  app.use(requestId(deps.log));
  app.use(
    helmet({
      contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] } },
      crossOriginResourcePolicy: { policy: 'cross-origin' },
      strictTransportSecurity: deps.config.production,
    }),
  );
  const origins = new Set(deps.config.corsOrigins);
  app.use(
    cors({
      origin: (ctx) => (origins.has(ctx.get('Origin')) ? ctx.get('Origin') : ''),
      credentials: true,
      allowMethods: 'GET,POST,PUT,DELETE,OPTIONS,PATCH',
      allowHeaders: 'Origin,Content-Type,Accept,Authorization,X-API-Key',
      exposeHeaders: 'X-Request-Id,X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset,Retry-After',
      maxAge: 600,
    }),
  );
  app.use(errorBody(deps.log));
  app.use(refuseGarbage);
  app.use(docs(() => createOpenApiDocument(routes, deps.version)));
  app.use(router.routes());
  app.use(notMatched(router));
  return app;
}

/** One route as Koa middleware: who calls, what they send, what they get. */
function mount(route: Route, services: Services) {
  return async (ctx: Context & { params?: Record<string, string> }): Promise<void> => {
    if (route.failureText !== undefined) ctx.state['failureText'] = route.failureText;
    const caller = await authenticate(route, ctx, services);
    const body = route.body === undefined ? undefined : await readBody(ctx);
    if (route.limits !== undefined) {
      const sent = body !== undefined && 'value' in body && isObject(body.value) ? body.value : {};
      const subject = { address: clientAddress(ctx), body: sent, caller };
      await enforceLimits(ctx, services, route.limits, subject);
    }
    const reply = await route.run({
      input: { params: ctx.params ?? {}, query: singleValues(ctx.query), body: bodyOf(route, body) },
      caller,
      deps: services,
      koa: ctx,
    });
    ctx.status = reply.status;
    ctx.set(reply.headers);
    if (reply.contentType !== undefined) ctx.type = reply.contentType;
    ctx.body = reply.body;
  };
}

function bodyOf(route: Route, body: BodyResult | undefined): unknown {
  if (body === undefined) return undefined;
  if ('value' in body) return route.lenientBody === true && !isObject(body.value) ? {} : body.value;
  if (route.lenientBody === true) return {};
  const { code = 'BAD_REQUEST', detail } = route.invalid ?? {};
  // Where `error` is a code, the table has the sentence.
  throw new AppError(code, code === 'INVALID_REQUEST' ? {} : { detail: detail ?? 'Invalid request body' });
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

/** Addresses that are no text, or text the database cannot hold, end here and not in a query. */
async function refuseGarbage(ctx: Context, next: Next): Promise<void> {
  refuseLargeBody(ctx);
  let path: string;
  try {
    path = decodeURIComponent(ctx.path);
  } catch {
    throw new AppError('BAD_REQUEST', { detail: 'Malformed path' });
  }
  if (!hasStorableText([path, { ...ctx.query }])) throw new AppError('BAD_REQUEST', { detail: 'Malformed request' });
  await next();
}

/** No route took the request: unknown path, or a known one with another method. */
function notMatched(router: Router) {
  return async (ctx: Context): Promise<void> => {
    const methods = new Set(router.match(ctx.path, ctx.method).path.flatMap((layer) => layer.methods));
    if (methods.size === 0) throw new AppError('NOT_FOUND');
    ctx.set('Allow', [...methods, 'OPTIONS'].sort().join(', '));
    if (ctx.method !== 'OPTIONS') throw new AppError('METHOD_NOT_ALLOWED');
    ctx.status = 204;
  };
}
