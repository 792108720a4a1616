/** What stands between the panel and its callers: gateways that answer in its place, PHP and proxies that change answers. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import type { FaultAction } from './faults.ts';
import { HTML, type Outcome } from './respond.ts';

/** Header of a challenge page (developers.cloudflare.com/cloudflare-challenges/challenge-types/challenge-pages/detect-response/). */
const CHALLENGE = { 'cf-mitigated': 'challenge' };
const AS_HTML = { 'content-type': 'text/html; charset=UTF-8' };
/** PHP writes warnings into the output where display_errors is on (php.net/manual/errorfunc.configuration.php). */
const PHP_NOTICE =
  '<br />\n<b>Deprecated</b>:  Return type of Illuminate\\Support\\Collection::offsetGet() should be compatible in <b>/var/www/pterodactyl/vendor/laravel/framework/src/Illuminate/Collections/Collection.php</b> on line <b>1277</b><br />\n';
const ENCODERS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync };

/** The answer of a gateway in front of the panel; undefined if the request reaches the panel. */
export function gatewayAnswer(actions: readonly FaultAction[]): Outcome | undefined {
  const action = actions.find(({ kind }) => kind === 'gateway');
  if (action?.kind !== 'gateway') return undefined;
  const { status, challenge = false, location } = action;
  const headers = { ...AS_HTML, ...(challenge ? CHALLENGE : {}), ...(location === undefined ? {} : { location }) };
  return { status, headers, body: HTML };
}

/** The answer of the panel as it arrives. Only successful answers are changed. */
export function passedOn(actions: readonly FaultAction[], outcome: Outcome): Outcome {
  if (outcome.status !== 200) return outcome;
  const headers = { ...outcome.headers };
  let { body } = outcome;
  for (const action of actions) {
    if (action.kind === 'html' || action.kind === 'php-notice') Object.assign(headers, AS_HTML);
    if (action.kind === 'html') body = HTML;
    if (action.kind === 'php-notice') body = Buffer.concat([Buffer.from(PHP_NOTICE), Buffer.from(body)]);
    if (action.kind !== 'encoded') continue;
    headers['content-encoding'] = action.encoding;
    body = ENCODERS[action.encoding](body);
  }
  return { status: outcome.status, headers, body };
}
