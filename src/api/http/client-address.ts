/** The network address that a request comes from. */
import { isIP } from 'node:net';
import type { Context } from 'koa';

/**
 * Address of the client: the socket's, or the one that the last `hops` trusted proxies vouch for (Koa takes that many
 * entries of X-Forwarded-For from the right). An entry that is not an address counts as the socket's address.
 * @returns empty when the socket is closed.
 */
export function clientAddress(ctx: Context): string {
  const given = withoutPort(ctx.ip);
  return isIP(given) === 0 ? (ctx.req.socket.remoteAddress ?? '') : given;
}

/** Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`. */
const withoutPort = (text: string): string =>
  text.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1');
