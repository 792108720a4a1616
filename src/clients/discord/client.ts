/**
 * Discord webhooks: one attempt per call, no retries. The URL of a webhook is its secret: no result, error or log has a part
 * of it. It is checked again at each request, because it may have been stored before a rule changed.
 */
import type { RESTPostAPIWebhookWithTokenJSONBody } from 'discord-api-types/v10';
import { isAppError } from '../../domain/errors.ts';
import { checkWebhookUrl, type WebhookUrlRules, webhookPath } from '../../domain/webhook-url.ts';
import { packageVersion } from '../../version.ts';
import { createAddressGuard, type Resolver } from '../http/address-guard.ts';
import { failureText, HttpFailure } from '../http/failures.ts';
import { createHttpClient, type HttpAnswer, type HttpClient, type HttpRequest } from '../http/http.ts';
import type { InspectResult, PostResult } from './answers.ts';
import { type Called, readInspectAnswer, readPostAnswer, readPostFailure } from './read-answer.ts';

export interface DiscordClientOptions extends WebhookUrlRules {
  /** Milliseconds for one request and its answer; default 10,000. */
  timeoutMs?: number;
  /** Default: the resolver of the operating system. */
  resolve?: Resolver;
}

export interface PostOptions {
  /** Sent as a header, so that a message which came twice can be recognised. */
  deliveryId: string;
  signal?: AbortSignal;
}

export interface DiscordClient {
  /** Posts a message once. @throws the reason of `options.signal` if the caller aborted. */
  post(url: string, message: RESTPostAPIWebhookWithTokenJSONBody, options: PostOptions): Promise<PostResult>;
  /** Asks Discord about a webhook; nothing is posted. */
  inspect(url: string): Promise<InspectResult>;
  /** Waits for requests in flight, then closes the connections. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 10_000;
/** An answer holds one message: at most 10 embeds with 6,000 characters. */
const MAX_BODY_BYTES = 256 * 1024;
/**
 * Per host: as many requests as one worker sends at a time (src/worker/workers.ts), so that none waits for a slow webhook.
 * A connection is opened when it is needed, and closed after 10 idle seconds.
 */
const CONNECTIONS = 100;

/** Discord demands this form (docs.discord.com/developers/reference, "User Agent"). */
const USER_AGENT = `DiscordBot (https://nodebyte.host, ${packageVersion()})`;

/** A URL that may be called, and how. */
interface Endpoint {
  origin: string;
  /** Path and query of a POST. */
  path: string;
  /** Path and query of a GET. */
  askedPath: string;
  loopback: boolean;
  called: Called;
}

/**
 * A path of Discord's API is called in version 10, which gives errors a code and seconds a fraction, and with `wait`:
 * without it, a message that Discord does not save counts as sent. Other paths are called as they are.
 */
function endpointOf(text: string, rules: WebhookUrlRules): Endpoint | { problem: string } {
  const checked = checkWebhookUrl(text, rules);
  if ('problem' in checked) return checked;
  const { url, discord, loopback } = checked;
  const webhook = webhookPath(url.pathname);
  if (webhook !== undefined) {
    url.pathname = `/api/v10/webhooks/${webhook.id}/${webhook.token}`;
    url.searchParams.set('wait', 'true');
  }
  const called: Called = {
    who: discord || loopback ? 'Discord' : 'the host of the webhook',
    discord: discord || loopback,
    version10: webhook !== undefined,
    thread: url.searchParams.has('thread_id'),
  };
  const path = `${url.pathname}${url.search}`;
  // A GET of Discord's API has no use for the query; another host may have one.
  return { origin: url.origin, path, askedPath: webhook === undefined ? path : url.pathname, loopback, called };
}

const NOT_ALLOWED = 'The address of its host may not be reached from here: correct the URL of the webhook';

/** A client with a pool per host; the caller closes it. The hosts are those of the rules, so the pools are few. */
export function createDiscordClient(options: DiscordClientOptions): DiscordClient {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, resolve } = options;
  const pools = new Map<string, HttpClient>();
  const poolOf = ({ origin, loopback }: Endpoint): HttpClient => {
    const known = pools.get(origin);
    if (known !== undefined) return known;
    const guard = createAddressGuard({ policy: 'public', loopback, ...(resolve === undefined ? {} : { resolve }) });
    const pool = createHttpClient({
      origin,
      guard,
      timeoutMs,
      connectTimeoutMs: Math.ceil(timeoutMs / 2),
      maxBodyBytes: MAX_BODY_BYTES,
      connections: CONNECTIONS,
    });
    pools.set(origin, pool);
    return pool;
  };
  return {
    post: (url, message, { deliveryId, signal }) => {
      const endpoint = endpointOf(url, options);
      if ('problem' in endpoint) return Promise.resolve(neverAllowed(endpoint.problem));
      return post(poolOf(endpoint), endpoint, {
        headers: { 'content-type': 'application/json', 'x-nodebyte-delivery': deliveryId },
        body: JSON.stringify(message),
        signal,
      });
    },
    inspect: (url) => {
      const endpoint = endpointOf(url, options);
      if ('problem' in endpoint) return Promise.resolve({ state: 'dead', detail: endpoint.problem });
      return inspect(poolOf(endpoint), endpoint);
    },
    close: async () => {
      await Promise.all([...pools.values()].map((pool) => pool.close()));
    },
  };
}

const neverAllowed = (detail: string): PostResult => ({
  outcome: 'refused',
  httpStatus: null,
  discordCode: null,
  detail,
  dead: false,
  plainHelps: false,
});

async function post(
  pool: HttpClient,
  { path, called }: Endpoint,
  request: Pick<HttpRequest, 'headers' | 'body' | 'signal'>,
): Promise<PostResult> {
  const answer = await send(pool, { ...request, method: 'POST', path });
  if (answer === 'not allowed') return neverAllowed(NOT_ALLOWED);
  return answer instanceof HttpFailure ? readPostFailure(called, answer) : readPostAnswer(called, answer);
}

async function inspect(pool: HttpClient, { askedPath, called }: Endpoint): Promise<InspectResult> {
  const answer = await send(pool, { method: 'GET', path: askedPath, headers: {} });
  if (answer === 'not allowed') return { state: 'dead', detail: NOT_ALLOWED };
  if (answer instanceof HttpFailure) return { state: 'unknown', detail: failureText(called.who, answer) };
  return readInspectAnswer(called, answer);
}

/** One request. Everything that is no answer is a value, except for an abort of the caller. */
async function send(pool: HttpClient, request: HttpRequest): Promise<HttpAnswer | HttpFailure | 'not allowed'> {
  try {
    const headers = { accept: 'application/json', 'user-agent': USER_AGENT, ...request.headers };
    return await pool.send({ ...request, headers });
  } catch (error) {
    if (isAppError(error, 'ADDRESS_REFUSED')) return 'not allowed';
    if (error instanceof HttpFailure) return error;
    throw error;
  }
}
