/** One request to the API: who may pass, what is counted, which fault applies, what is answered and noted. */
import type { IncomingMessage } from 'node:http';
import { type ApiAnswer, banJson, banPage, cloudflareAnswer } from './answer.ts';
import type { DiscordFault, LimitKind, LoggedRequest } from './contract.ts';
import { errorAnswer, Refusal, refuse } from './errors.ts';
import { type Ending, faultAnswer, isAfterStore, spoiled } from './faults.ts';
import { type Limits, limitedAnswer } from './limits.ts';
import { MAX_BODY_BYTES } from './payload/body.ts';
import { readPath, versionOf, type WebhookPath } from './routes.ts';
import type { DiscordState, OwnWebhook } from './state.ts';
import { answerCall } from './webhook-api.ts';

/** What the requests of one simulator share. */
export interface ApiParts {
  state: DiscordState;
  limits: Limits;
  latencyMs: number;
  /** How a ban is answered. */
  banAnswer: Extract<DiscordFault, { kind: 'ban-json' | 'ban-page' }>;
}

/** An answer, how its connection ends, and how long it takes. */
interface Outcome {
  answer: ApiAnswer;
  ending: Ending;
  waitMs: number;
}

/** A request, and what is noted of it. */
interface Handled {
  parts: ApiParts;
  request: IncomingMessage;
  url: URL;
  entry: LoggedRequest & { limited: LimitKind | null };
  /** Rate limit headers for every answer of a webhook. */
  headers: Record<string, string>;
}

const header = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** Answers one request, and notes it. The answer is written when `waitMs` have passed. */
export async function answerApi(parts: ApiParts, request: IncomingMessage, url: URL): Promise<Outcome> {
  const { state, limits } = parts;
  const entry = state.log({
    at: Date.now(),
    method: request.method ?? 'GET',
    version: versionOf(url.pathname),
    query: url.search,
    userAgent: header(request, 'user-agent') ?? null,
    contentType: header(request, 'content-type') ?? null,
    deliveryId: header(request, 'x-nodebyte-delivery') ?? null,
  });
  const handled: Handled = { parts, request, url, entry, headers: {} };
  const bytes = await readBytes(request);
  const outcome = await pass(handled, bytes).catch((error: unknown) => {
    if (error instanceof Refusal) return answered(error.answer);
    throw error;
  });
  const { answer, ending } = outcome;
  const answers = ending === 'whole' || ending === 'half';
  entry.status = answers ? answer.status : 0;
  entry.code = answers ? (answer.code ?? null) : null;
  entry.answeredAt = answers ? Date.now() + outcome.waitMs : null;
  state.counts.statuses[entry.status] = (state.counts.statuses[entry.status] ?? 0) + 1;
  if (entry.limited !== null) state.counts.limited[entry.limited] += 1;
  // 401, 403 and 429, but not a 429 of a shared limit (docs.discord.com/developers/topics/rate-limits).
  const shared = answer.headers?.['x-ratelimit-scope'] === 'shared';
  if (
    answers &&
    ([401, 403].includes(answer.status) || (answer.status === 429 && !shared && entry.limited !== 'ban'))
  ) {
    state.counts.invalid += 1;
    limits.invalid(Date.now());
  }
  return { ...outcome, answer: { ...answer, headers: { ...handled.headers, ...answer.headers } } };
}

const answered = (answer: ApiAnswer): Outcome => ({ answer, ending: 'whole', waitMs: 0 });

/** The whole body; longer than a message can be, only its beginning. */
async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    if (size <= MAX_BODY_BYTES) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks);
}

/** The way of a request through firewall, limits and API. @throws {Refusal} */
async function pass(handled: Handled, bytes: Buffer): Promise<Outcome> {
  const { parts, request, url, entry } = handled;
  const { state, limits } = parts;
  const blocked = refuseAgent(entry.userAgent);
  if (blocked !== undefined) return answered(blocked);
  if (entry.at < limits.bannedUntil) {
    entry.limited = 'ban';
    return answered(parts.banAnswer.kind === 'ban-json' ? banJson() : banPage(parts.banAnswer));
  }
  const globalMs = limits.global(request.socket.remoteAddress ?? '', entry.at);
  if (globalMs !== undefined) {
    entry.limited = 'global';
    return answered(limitedAnswer(globalMs, entry.version, 'global'));
  }
  const path = readPath(url.pathname);
  // The top-level resource is id and token. Whether GET shares the bucket of POST is unknown: here it does.
  const hit = limits.webhook(`${path.id}/${path.token}`, entry.at);
  handled.headers = hit.headers;
  if (hit.waitMs !== undefined) {
    entry.webhookId = state.webhooks.has(path.id) ? path.id : null;
    entry.limited = 'webhook';
    return answered(limitedAnswer(hit.waitMs, entry.version, 'user'));
  }
  return answerWebhook(handled, path, bytes);
}

/**
 * Cloudflare's rules on names of clients: none and `Python-urllib` get a text (rotki/rotki#12752), `Java/1` a 403
 * (discord/discord-api-docs#1504), browsers an error of the API (#6473). What a missing name gets is assumed.
 */
function refuseAgent(agent: string | null): ApiAnswer | undefined {
  const name = agent?.trim() ?? '';
  if (name === '' || /^(?:Python-urllib|Java)\//.test(name)) return cloudflareAnswer(403, 1010);
  return name.startsWith('Mozilla/') ? errorAnswer(40333) : undefined;
}

/** @throws {Refusal} if Discord does not know the webhook or its token. */
function findWebhook({ parts, entry }: Handled, path: WebhookPath): OwnWebhook {
  const { state, limits } = parts;
  const webhook = state.webhooks.get(path.id);
  if (webhook === undefined) throw refuse(10015);
  entry.webhookId = webhook.id;
  if (webhook.deleted) {
    // 404 is no invalid request, but repeats lead to a ban as well.
    if (state.knownDead.has(webhook.id)) {
      state.counts.deadRepeats += 1;
      limits.deadRepeat(webhook.id, entry.at);
    }
    state.knownDead.add(webhook.id);
    throw refuse(10015);
  }
  if (webhook.tokenWrong || webhook.token !== path.token) throw refuse(50027);
  return webhook;
}

async function answerWebhook(handled: Handled, path: WebhookPath, bytes: Buffer): Promise<Outcome> {
  const { parts, request, url, entry, headers } = handled;
  const { state, limits, latencyMs } = parts;
  const webhook = findWebhook(handled, path);
  const waitMs = latencyMs + webhook.delayMs;
  if (webhook.unresponsive) return { answer: { status: 0 }, ending: 'silence', waitMs: 0 };
  if (entry.method === 'POST') {
    // Refused messages are counted too (seen by birdie0/discord-webhooks-guide, for the limit of the webhook).
    const channelMs = limits.channel(webhook.channelId, entry.at);
    if (channelMs !== undefined) {
      entry.limited = 'channel';
      return { ...answered(limitedAnswer(channelMs, entry.version, 'shared')), waitMs };
    }
  }
  const fault = state.takeFault(webhook.id, entry.method);
  if (fault !== undefined && !isAfterStore(fault)) {
    if (fault.kind === 'cut') return { answer: { status: 0 }, ending: 'cut', waitMs };
    const answer = faultAnswer(fault, entry.version, headers);
    if (answer === undefined) return { answer: { status: 0 }, ending: 'silence', waitMs };
    if (answer.status === 429) entry.limited = 'fault';
    // A page of something in between has no header of the API.
    if (!['error', 'limited'].includes(fault.kind) || answer.headers === undefined) handled.headers = {};
    if (fault.kind === 'limited' && (fault.headers === false || fault.retryAfter === null)) handled.headers = {};
    return { ...answered(answer), waitMs };
  }
  if (bytes.length > MAX_BODY_BYTES) throw refuse(40005);
  const { answer, messageId } = await answerCall({
    state,
    webhook,
    method: entry.method,
    path,
    query: url.searchParams,
    bytes,
    contentType: entry.contentType ?? undefined,
    deliveryId: entry.deliveryId,
    githubEvent: header(request, 'x-github-event'),
  }).catch((error: unknown) => {
    if (error instanceof Refusal) return { answer: error.answer, messageId: undefined };
    throw error;
  });
  entry.messageId = messageId ?? null;
  const slow = fault?.kind === 'slow' ? fault.ms : 0;
  const { answer: sent, ending } =
    messageId === undefined ? { answer, ending: 'whole' as const } : spoiled(answer, fault);
  return { answer: sent, ending, waitMs: waitMs + slow };
}
