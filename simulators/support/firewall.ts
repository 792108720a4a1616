/** The firewall in front of an upstream, which refuses a request without a name. */
import type { IncomingMessage } from 'node:http';

export interface FirewallAnswer {
  status: 403;
  headers: Record<string, string>;
  body: string;
}

/**
 * The answer to a request without `User-Agent`; undefined if the request may pass. Resend documents it as 403 with error
 * code 1010 (resend.com/docs/api-reference/introduction). The code is Cloudflare's, whose Browser Integrity Check does
 * the same in front of many panels (developers.cloudflare.com/waf/tools/browser-integrity-check).
 */
export function refuseUnnamed(request: IncomingMessage): FirewallAnswer | undefined {
  if ((request.headers['user-agent'] ?? '').trim() !== '') return undefined;
  return { status: 403, headers: { 'content-type': 'text/plain; charset=UTF-8' }, body: 'error code: 1010' };
}
