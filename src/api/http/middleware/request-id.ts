/** An id for each request, and one log line for each. */
import { randomUUID } from 'node:crypto';
import type { Context, Next } from 'koa';
import type { Logger } from 'pino';

const ACCEPTED = /^[A-Za-z0-9._-]{1,64}$/;
/** Takes over `X-Request-Id` when it is harmless, makes one otherwise, and echoes it. */
export function requestId(log: Logger) {
  return async (ctx: Context, next: Next): Promise<void> => {
    const given = ctx.get('X-Request-Id');
    const id = ACCEPTED.test(given) ? given : randomUUID();
    ctx.state['requestId'] = id;
    ctx.set('X-Request-Id', id);
    const startedAt = performance.now();
    try {
      await next();
    } finally {
      const fields = {
        requestId: id,
        method: ctx.method,
        // The path alone: a query may hold tokens, keys, addresses and what somebody searches for.
        path: ctx.path,
        status: ctx.status,
        latencyMs: Math.round((performance.now() - startedAt) * 10) / 10,
      };
      // The site's guard asks health before every page; its lines would drown the others.
      if (ctx.path.startsWith('/health') && ctx.status < 500) log.debug(fields, 'request');
      else log.info(fields, 'request');
    }
  };
}
