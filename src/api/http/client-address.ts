/** The network address that a request counts as: for rate limits. */
import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import type { Context } from 'koa';

/**
 * Address of the client: the socket's, or the one that the last `hops` trusted proxies vouch for (Koa takes that many
 * entries of X-Forwarded-For from the right). An entry that is not an address counts as the socket's address.
 * @returns an IPv4 address, or the /64 network of an IPv6 address; empty when the socket is closed.
 */
export function clientAddress(ctx: Context): string {
  const given = withoutPort(ctx.ip);
  return countedAs(isIP(given) === 0 ? (ctx.req.socket.remoteAddress ?? '') : given);
}

/** Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`. */
const withoutPort = (text: string): string =>
  text.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1');

/** An IPv4-mapped address counts as the IPv4 address, another IPv6 address by its /64, which is one household. */
function countedAs(address: string): string {
  const [bare = ''] = address.split('%', 1);
  // isIP is strict; ipaddr.js alone would also accept octal and shortened IPv4 forms.
  if (isIP(bare) === 0) return bare;
  const parsed = ipaddr.process(bare);
  return parsed instanceof ipaddr.IPv4 ? parsed.toString() : `${ipaddr.IPv6.networkAddressFromCIDR(`${bare}/64`)}/64`;
}
