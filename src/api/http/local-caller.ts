/** Whether a request was made on this machine. */
import ipaddr from 'ipaddr.js';
import type { Context } from 'koa';

/**
 * Whether the caller sits at this machine. A caller can write every header, so a header can only speak against it: the
 * socket, every address that a proxy names, and the name by which the api was called must be of this machine. The name
 * keeps out a page whose host was pointed here after it had been loaded.
 */
export function isLocalCaller(ctx: Context): boolean {
  const named = ['X-Forwarded-For', 'X-Real-IP', 'Forwarded'].flatMap((header) => addressesIn(ctx.get(header)));
  return [ctx.req.socket.remoteAddress ?? '', ...named].every(isLoopback) && isLocalName(hostOf(ctx.get('Host')));
}

/** The addresses of a header that proxies write, such as `for="[::1]:4711";proto=http` and `127.0.0.1`. */
const addressesIn = (header: string): string[] =>
  header
    .split(',')
    .flatMap((part) => part.split(';'))
    .map((part) => part.trim())
    .filter((part) => part !== '' && !/^(by|host|proto)=/i.test(part))
    .map((part) => part.replace(/^for=/i, '').replace(/^"(.*)"$/, '$1'))
    .map((part) => part.replace(/^\[([^\]]*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1'));

function isLoopback(address: string): boolean {
  return ipaddr.isValid(address) && ipaddr.process(address).range() === 'loopback';
}

const hostOf = (header: string): string => URL.parse(`http://${header}`)?.hostname ?? '';

const isLocalName = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || isLoopback(host.replace(/^\[(.*)\]$/, '$1'));
