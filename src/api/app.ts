/** The HTTP API as a Koa application without a socket: the server and the tests both listen with it. */
import cors from '@koa/cors';
import Router from '@koa/router';
import Koa, { type Context, type Next } from 'koa';
import helmet from 'koa-helmet';
import { AppError } from '../domain/errors.ts';
import { createTokens } from '../services/accounts/access-tokens.ts';
import { createOriginReader } from '../services/accounts/networks.ts';
import { createStatsCache } from '../services/inventory/statistics-cache.ts';
import { createListTotals } from '../services/list-totals.ts';
import type { UserCounts } from '../store/accounts/user-list.ts';
import type { NodeCount } from '../store/inventory/allocations.ts';
import type { AppDeps, Services } from './context.ts';
import { docs } from './http/docs.ts';
import { isStorable } from './http/middleware/body.ts';
import { errorBody } from './http/middleware/error-body.ts';
import { requestId } from './http/middleware/request-id.ts';
import { mountRoutes, unmatched } from './http/mount.ts';
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
    readOrigin: createOriginReader(deps.config.jwtSecret ?? deps.config.nextAuthSecret),
    stats: createStatsCache(deps),
    totals: createListTotals(),
    userCounts: createListTotals<UserCounts>(),
    allocationCounts: createListTotals<readonly NodeCount[]>(),
  };
  const app = new Koa();
  // Only the last `trustedProxyHops` entries of X-Forwarded-For are believed: a caller can write the others.
  app.proxy = deps.config.trustedProxyHops > 0;
  app.maxIpsCount = deps.config.trustedProxyHops;
  // Only sockets that break while an answer is sent reach this: the error body layer catches everything else.
  app.on('error', (error: unknown) => deps.log.debug({ err: error }, 'connection error'));
  const router = new Router();
  mountRoutes(router, routes, services);

  app.use(requestId(deps.log));
  app.use(noStore);
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
  app.use(errorBody(deps));
  app.use(refuseMalformed);
  app.use(docs(() => createOpenApiDocument(routes, deps.version)));
  app.use(router.routes());
  app.use(unmatched(router));
  return app;
}

/** No answer is stored by a cache, unless a route or a document asset declares otherwise. */
async function noStore(ctx: Context, next: Next): Promise<void> {
  ctx.set('Cache-Control', 'no-store');
  await next();
}

/** Refuses a path or a query that is no text, or text that the database cannot hold, before it becomes a statement. */
async function refuseMalformed(ctx: Context, next: Next): Promise<void> {
  let path: string;
  try {
    path = decodeURIComponent(ctx.path);
  } catch {
    throw new AppError('BAD_REQUEST', { publicMessage: 'Malformed path' });
  }
  if (!isStorable([path, { ...ctx.query }])) throw new AppError('BAD_REQUEST', { publicMessage: 'Malformed request' });
  await next();
}
