/** An id for each request, one log line for each, without what a query may hold in secret. */
import { randomUUID } from 'node:crypto';
import type { Context, Next } from 'koa';
import type { Logger } from 'pino';

const ACCEPTED = /^[A-Za-z0-9._-]{1,64}$/;
const SECRET_QUERY = /([?&](?:token|api_key)=)[^&#]*/gi;

/** The address of a request as it may be logged: `token` and `api_key`, however spelt, are cut. */
export function redactUrl(url: string): string {
  const plain = url.replace(SECRET_QUERY, '$1[redacted]');
  // An encoded name (`%74oken=`) would slip by: such a query is not logged at all.
  return /[?&][^=&]*%[^=&]*=/.test(plain) ? `${plain.slice(0, plain.indexOf('?'))}?[redacted]` : plain;
}

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
        url: redactUrl(ctx.url),
        status: ctx.status,
        latencyMs: Math.round((performance.now() - startedAt) * 10) / 10,
      };
      // The site's guard asks health before every page; its lines would drown the others.
      if (ctx.path.startsWith('/health') && ctx.status < 500) log.debug(fields, 'request');
      else log.info(fields, 'request');
    }
  };
}
