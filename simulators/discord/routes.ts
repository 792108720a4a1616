/** Paths of the webhook API (docs.discord.com/developers/reference, "API Versioning"; …/resources/webhook). */
import { errorAnswer, plainError, Refusal, refuseForm } from './errors.ts';
import { isSnowflake } from './payload/checker.ts';

/** The version of a path that names none (docs.discord.com/developers/reference, "API Versions"). */
const DEFAULT_VERSION = 6;
const VERSIONS = [6, 7, 8, 9, 10];

export interface WebhookPath {
  version: number;
  id: string;
  token: string;
  /** What follows the token. */
  form: 'message' | 'slack' | 'github' | 'messages';
  messageId?: string;
}

/** Whether a path belongs to the API. */
export const isApiPath = (path: string): boolean => path === '/api' || path.startsWith('/api/');

/** The version that answers to a path. */
export const versionOf = (path: string): number => Number(/^\/api\/v(\d+)(?:\/|$)/.exec(path)?.[1] ?? DEFAULT_VERSION);

/** Reads a path. @throws {Refusal} as Discord refuses it. */
export function readPath(path: string): WebhookPath {
  const version = versionOf(path);
  if (!VERSIONS.includes(version)) throw new Refusal(errorAnswer(50041));
  const [resource, id = '', token, ...rest] = path.replace(/^\/api(?:\/v\d+)?\/?/, '').split('/');
  if (resource !== 'webhooks' || id === '') throw notFound();
  // Seen by mymoomin/RSStoWebhook; a slash at the end is another path.
  if (token === undefined) throw new Refusal(plainError(405, 'Method Not Allowed'));
  if (token === '') throw notFound();
  if (!isSnowflake(id)) {
    const message = `Value "${id}" is not snowflake.`;
    throw refuseForm([{ path: ['webhook_id'], code: 'NUMBER_TYPE_COERCE', message }], version);
  }
  const [form, messageId, ...more] = rest;
  if (form === undefined) return { version, id, token, form: 'message' };
  if ((form === 'slack' || form === 'github') && messageId === undefined) return { version, id, token, form };
  if (form === 'messages' && messageId !== undefined && messageId !== '' && more.length === 0) {
    return { version, id, token, form, messageId };
  }
  throw notFound();
}

const notFound = (): Refusal => new Refusal(plainError(404, 'Not Found'));
