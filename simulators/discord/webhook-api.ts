/** The calls with a webhook's token (docs.discord.com/developers/resources/webhook): execute, get, modify, delete. */
import type { ApiAnswer } from './answer.ts';
import type { StoredMessage } from './contract.ts';
import { plainError, Refusal, refuse, refuseForm } from './errors.ts';
import { readBody } from './payload/body.ts';
import { createChecker, isSnowflake, parseBoolean } from './payload/checker.ts';
import { fromGitHub, fromSlack, readMessage } from './payload/message.ts';
import type { WebhookPath } from './routes.ts';
import type { DiscordState, OwnWebhook } from './state.ts';

/** One request to a webhook that exists, with its token. */
export interface WebhookCall {
  state: DiscordState;
  webhook: OwnWebhook;
  method: string;
  path: WebhookPath;
  query: URLSearchParams;
  bytes: Buffer;
  contentType: string | undefined;
  deliveryId: string | null;
  /** Value of `X-GitHub-Event`. */
  githubEvent: string | undefined;
}

/** Answers a call. @throws {Refusal} as Discord refuses it. */
export async function answerCall(call: WebhookCall): Promise<{ answer: ApiAnswer; messageId?: string }> {
  const { method, path } = call;
  if (path.form === 'messages') return { answer: await answerMessageCall(call, path.messageId ?? '') };
  if (method === 'POST') return execute(call);
  if (path.form === 'message') {
    if (method === 'GET') return { answer: { status: 200, json: webhookObject(call.webhook) } };
    if (method === 'DELETE') {
      call.webhook.deleted = true;
      return { answer: { status: 204 } };
    }
    if (method === 'PATCH') return { answer: await modify(call) };
  }
  return { answer: plainError(405, 'Method Not Allowed') };
}

/** Without a login the answer has no `user`; it does contain the token. */
const webhookObject = ({ id, token, name, channelId, type }: OwnWebhook) => ({
  application_id: null,
  avatar: null,
  channel_id: channelId,
  guild_id: '1',
  id,
  name,
  type,
  token,
});

/** The message as the API answers it (…/resources/message, "Message Object"); in a thread, the thread is its channel. */
const messageObject = (message: StoredMessage) => ({
  id: message.id,
  type: 0,
  content: message.content,
  channel_id: message.threadId ?? message.channelId,
  author: {
    id: message.webhookId,
    username: message.username,
    avatar: null,
    discriminator: '0000',
    public_flags: 0,
    bot: true,
  },
  attachments: [],
  embeds: message.embeds.map((embed) => ({ type: 'rich', ...embed })),
  mentions: [],
  mention_roles: [],
  mention_everyone: false,
  pinned: false,
  tts: false,
  timestamp: new Date(message.at).toISOString().replace('Z', '000+00:00'),
  edited_timestamp: null,
  flags: message.flags,
  components: [],
  webhook_id: message.webhookId,
});

function queryFlag({ query, path }: WebhookCall, name: string): boolean | undefined {
  const value = query.get(name);
  if (value === null) return undefined;
  const flag = parseBoolean(value);
  if (flag !== undefined) return flag;
  throw refuseForm(
    [{ path: [name], code: 'BOOLEAN_TYPE_CONVERT', message: 'Must be either true or false.' }],
    path.version,
  );
}

/** `thread_id`: a thread of the webhook's own channel. */
function threadOf({ state, webhook, query, path }: WebhookCall): string | null {
  const id = query.get('thread_id');
  if (id === null) return null;
  if (!isSnowflake(id)) {
    const message = `Value "${id}" is not snowflake.`;
    throw refuseForm([{ path: ['thread_id'], code: 'NUMBER_TYPE_COERCE', message }], path.version);
  }
  if (state.channels.get(id)?.parentId !== webhook.channelId) throw refuse(10003);
  return id;
}

/** Posts a message. */
async function execute(call: WebhookCall): Promise<{ answer: ApiAnswer; messageId: string }> {
  const { state, webhook, path } = call;
  const service = path.form !== 'message';
  const wait = queryFlag(call, 'wait') ?? service;
  const withComponents = queryFlag(call, 'with_components') ?? false;
  const { body, files } = await readBody(call.bytes, call.contentType, path.version);
  const threadId = threadOf(call);
  const given =
    path.form === 'slack' ? fromSlack(body) : path.form === 'github' ? fromGitHub(body, call.githubEvent ?? '') : body;
  const settings = { version: path.version, withComponents, files, refusedNames: webhook.refusedNames };
  const message = readMessage(given, settings);
  const forum = state.channels.get(webhook.channelId)?.forum ?? false;
  if (forum && service) throw refuse(220004);
  if (forum && threadId === null && message.threadName === null) throw refuse(220001);
  if (forum && threadId !== null && message.threadName !== null) throw refuse(220002);
  if (!forum && message.threadName !== null) throw refuse(220003);
  const opened =
    message.threadName === null ? null : state.addChannel(message.threadName, { parentId: webhook.channelId }).id;
  const stored: StoredMessage = {
    id: state.newId(),
    channelId: webhook.channelId,
    threadId: threadId ?? opened,
    webhookId: webhook.id,
    at: Date.now(),
    deliveryId: call.deliveryId,
    username: message.username ?? webhook.name,
    avatarUrl: message.avatarUrl,
    content: message.content,
    embeds: message.embeds,
    allowedMentions: message.allowedMentions,
    flags: message.flags,
  };
  state.store(stored);
  // `/slack` answers `ok` (discord/discord-api-docs#1067). With a file there is a body without `wait`, too (#5099).
  const answer: ApiAnswer =
    path.form === 'slack' && wait
      ? { status: 200, text: { type: 'text/html; charset=utf-8', body: 'ok' } }
      : wait || files > 0
        ? { status: 200, json: messageObject(stored) }
        : { status: 204 };
  return { answer, messageId: stored.id };
}

/** A new name for the webhook. The rules of names are those of `username`. */
async function modify(call: WebhookCall): Promise<ApiAnswer> {
  const { webhook, path } = call;
  const { body } = await readBody(call.bytes, call.contentType, path.version);
  const checker = createChecker();
  const given = checker.fields(body, []) ?? {};
  const name = checker.text(given['name'], ['name'], 80);
  if (checker.issues.length > 0) throw refuseForm(checker.issues, path.version);
  if (name !== undefined && name !== '') webhook.name = name;
  return { status: 200, json: webhookObject(webhook) };
}

/** Gets, edits or deletes one message of this webhook, by its id; there is no list. */
async function answerMessageCall(call: WebhookCall, messageId: string): Promise<ApiAnswer> {
  const { state, webhook, method, path } = call;
  const message = state.messages.get(messageId);
  if (message === undefined || message.webhookId !== webhook.id) throw refuse(10008);
  if (method === 'GET') return { status: 200, json: messageObject(message) };
  if (method === 'DELETE') {
    state.messages.delete(messageId);
    return { status: 204 };
  }
  if (method !== 'PATCH') throw new Refusal(plainError(405, 'Method Not Allowed'));
  const { body, files } = await readBody(call.bytes, call.contentType, path.version);
  const settings = { version: path.version, withComponents: false, files, refusedNames: [] };
  const { content, embeds } = readMessage(body, settings);
  const edited = { ...message, content, embeds };
  state.messages.set(messageId, edited);
  return { status: 200, json: messageObject(edited) };
}
