/** Gives each request an id and one log line. */
import { randomUUID } from 'node:crypto';
import type { Context, Next } from 'koa';
import type { Logger } from 'pino';

const ACCEPTED = /^[A-Za-z0-9._-]{1,64}$/;
/** Uses the caller's `X-Request-Id` when it is short and plain, else makes one; the answer carries it. */
export function requestId(log: Logger) {
  // No key of this line is a secret's. Looking for secrets in it would take ten times as long as writing it.
  const lines = log.child({}, { redact: [] });
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
        // Without the query, which may hold tokens, keys, email addresses and search texts.
        path: ctx.path,
        status: ctx.status,
        latencyMs: Math.round((performance.now() - startedAt) * 10) / 10,
      };
      // The site requests health before every page: at level info these lines would hide the others.
      if (ctx.path.startsWith('/health') && ctx.status < 500) lines.debug(fields, 'request');
      else lines.info(fields, 'request');
    }
  };
}
