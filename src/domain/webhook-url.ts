/**
 * Which URL may be a Discord webhook. The rule is applied when a webhook is saved and again before each request. A host
 * is compared as it is written: what a URL parser would turn into an allowed host is refused.
 */
import { isMaskedUrl } from './webhooks.ts';

/** The configuration that the rule depends on. */
export interface WebhookUrlRules {
  /** DISCORD_WEBHOOK_HOSTS. */
  hosts: readonly string[];
  /** In production no webhook leads to this machine. */
  production: boolean;
}

export type CheckedWebhookUrl =
  | {
      /** Its path and query as they were written. */
      url: URL;
      /** The host is Discord's own. */
      discord: boolean;
      /** It leads to this machine, over http. */
      loopback: boolean;
    }
  /** A sentence for the person who entered the URL, without a part of it. */
  | { problem: string };

/**
 * Hosts of the app's channels; "Copy Webhook URL" shows the one that is in use. Discord's other subdomains are not here,
 * because companies that are not Discord serve some of them.
 */
const DISCORD_HOSTS: readonly string[] = ['discord.com', 'discordapp.com'].flatMap((name) =>
  ['', 'ptb.', 'canary.', 'www.'].map((prefix) => `${prefix}${name}`),
);
/** Longer than any URL of Discord, also with a query. */
const MAX_LENGTH = 1024;
/** Discord keeps ids in 64 bits with a sign. */
const MAX_ID = 9_223_372_036_854_775_807n;

/** Scheme, authority, path, query. */
const PARTS = /^(https?):\/\/([^/?]*)(\/[^?]*)?(\?.*)?$/i;
/** Segments that no parser rewrites. */
const PLAIN_PATH = /^(?:\/(?!\.{1,2}(?:\/|$))[\w.~-]+)+\/?$/;
const WEBHOOK_PATH = /^\/api(?:\/v\d{1,2})?\/webhooks\/([1-9]\d{0,18})\/([\w-]+)\/?$/;
const OTHER_FORMAT = /\/(?:slack|github)\/?$/i;

const FORM = 'https://discord.com/api/webhooks/<id>/<token>';
const NO_URL = `The URL of a webhook has the form ${FORM}: copy it in Discord with "Copy Webhook URL"`;

/** Id and token of a path in the form of Discord's API. */
export function webhookPath(pathname: string): { id: string; token: string } | undefined {
  const [, id = '', token = ''] = WEBHOOK_PATH.exec(pathname) ?? [];
  return id === '' || BigInt(id) > MAX_ID ? undefined : { id, token };
}

/** The URL of a webhook, or what is wrong with the text. */
export function checkWebhookUrl(text: string, rules: WebhookUrlRules): CheckedWebhookUrl {
  const written = text.trim();
  if (isMaskedUrl(written)) return { problem: 'The URL is masked: enter the whole URL of the webhook' };
  if (written.length > MAX_LENGTH) return { problem: `The URL is longer than ${MAX_LENGTH} characters` };
  if (!/^[\x21-\x7e]*$/.test(written) || written.includes('#')) {
    return { problem: 'The URL has a space, a fragment or a character that no URL of a webhook has' };
  }
  const [, scheme = '', authority = '', path = ''] = PARTS.exec(written) ?? [];
  const url = URL.parse(written);
  if (url === null) return { problem: NO_URL };
  const place = placeOf(url, authority, rules);
  if (place === undefined) return { problem: hostProblem(rules) };
  const wanted = place.loopback ? 'http' : 'https';
  if (scheme.toLowerCase() !== wanted) return { problem: `The URL of this host must begin with ${wanted}://` };
  const problem = pathProblem(path, place.discord);
  return problem === undefined ? { url, ...place } : { problem };
}

/** Undefined: the host is not allowed. */
function placeOf(url: URL, authority: string, rules: WebhookUrlRules): Place | undefined {
  // A host after a user name, an address in another notation and the like are not written as they are parsed.
  if (authority.toLowerCase().replace(/:\d+$/, '') !== url.hostname) return undefined;
  if (DISCORD_HOSTS.includes(url.hostname)) return url.port === '' ? { discord: true, loopback: false } : undefined;
  const listed = rules.hosts.map(webhookHost).filter((host) => host !== undefined);
  const host = listed.find(({ hostname, port }) => hostname === url.hostname && port === portOf(url));
  if (host === undefined || (host.loopback && rules.production)) return undefined;
  return { discord: false, loopback: host.loopback };
}
interface Place {
  discord: boolean;
  loopback: boolean;
}

const portOf = (url: URL): number => Number(url.port || (url.protocol === 'http:' ? 80 : 443));

const hostProblem = ({ hosts, production }: WebhookUrlRules): string => {
  const shown = hosts.filter((host) => !production || webhookHost(host)?.loopback === false);
  const others = shown.length === 0 ? '' : `, or of ${shown.join(', ')}`;
  return `The URL must be one of discord.com or discordapp.com${others}; DISCORD_WEBHOOK_HOSTS allows further hosts`;
};

function pathProblem(path: string, discord: boolean): string | undefined {
  if (OTHER_FORMAT.test(path) && webhookPath(path.replace(OTHER_FORMAT, '')) !== undefined) {
    return 'The URL ends with /slack or /github, which takes messages of another form: remove that end';
  }
  if (discord) return webhookPath(path) === undefined ? NO_URL : undefined;
  return PLAIN_PATH.test(path) && /\/webhooks\/./.test(path) ? undefined : NO_URL;
}

/** A host of DISCORD_WEBHOOK_HOSTS. */
interface WebhookHost {
  hostname: string;
  port: number;
  loopback: boolean;
}

/** This machine, which is reached over http and by a port. */
const LOOPBACK = /^(?:localhost|127(?:\.(?:0|[1-9]\d{0,2})){3}|\[::1\])$/;
/** A name with a dot, whose last label is no number: not an address. */
const NAME = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Reads an entry of DISCORD_WEBHOOK_HOSTS: `name`, `name:port`, or `host:port` of this machine. */
export function webhookHost(entry: string): WebhookHost | undefined {
  const [, hostname = '', digits] = /^(.*?)(?::(\d{1,5}))?$/.exec(entry.toLowerCase()) ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  if (LOOPBACK.test(hostname)) return port === undefined ? undefined : { hostname, port, loopback: true };
  return NAME.test(hostname) ? { hostname, port: port ?? 443, loopback: false } : undefined;
}
