/** What a form says about a webhook: which fields it sets, and which of them differ from the webhook as it is. */
import { AppError } from '../../domain/errors.ts';
import { checkWebhookUrl, type WebhookUrlRules } from '../../domain/webhook-url.ts';
import {
  maskedWebhookUrl,
  WEBHOOK_SCOPES,
  WEBHOOK_TYPES,
  type WebhookScope,
  type WebhookType,
} from '../../domain/webhooks.ts';
import type { StoredWebhook } from '../../store/webhooks/webhook-list.ts';
import type { WebhookFields } from '../../store/webhooks/webhook-store.ts';

/** Fields of a form; undefined: absent. A blank field counts as absent, and a blank description clears it. */
export interface WebhookForm {
  name?: string | null | undefined;
  webhookUrl?: string | null | undefined;
  type?: string | null | undefined;
  scope?: string | null | undefined;
  description?: string | null | undefined;
  enabled?: boolean | undefined;
}

/** Maximum characters; a name also stands in titles and lists. */
const MAX_NAME = 100;
const MAX_DESCRIPTION = 1000;
/** The URL of a webhook with its token: names and descriptions stand where no secret may stand. */
const URL_IN_TEXT = /\/webhooks\/\d+\/[\w-]/;

/** What stands in place of a URL that cannot be decrypted. */
const UNREADABLE_MASK = '••••';

/** The URL of a webhook as everybody sees it. */
export const shownUrl = ({ url }: Pick<StoredWebhook, 'url'>): string =>
  url === undefined ? UNREADABLE_MASK : maskedWebhookUrl(url);

const invalid = (publicMessage: string, hint?: string): AppError =>
  new AppError('VALIDATION_ERROR', {
    publicMessage,
    ...(hint === undefined ? {} : { hint, details: [{ path: 'body.webhookUrl', message: hint }] }),
  });

/** The refusal of a URL. @param problem a sentence without a part of the URL. */
export const invalidUrl = (problem: string): AppError => invalid('Invalid Discord webhook URL', problem);

/** A URL that may be a webhook's, in the form in which it is stored. @throws {AppError} VALIDATION_ERROR */
export function requireUrl(text: string, rules: WebhookUrlRules): string {
  const checked = checkWebhookUrl(text, rules);
  if ('problem' in checked) throw invalidUrl(checked.problem);
  return checked.url.href;
}

/** The fields of a new webhook. @throws {AppError} VALIDATION_ERROR */
export function newFields(form: WebhookForm, rules: WebhookUrlRules): WebhookFields {
  const { name, webhookUrl, type, scope, description } = trimmed(form);
  if (name === '' || webhookUrl === '') throw invalid('name and webhookUrl are required');
  return {
    name: requireText('name', name, MAX_NAME),
    url: requireUrl(webhookUrl, rules),
    type: type === '' ? 'SYSTEM' : requireType(type),
    scope: scope === '' ? 'ADMIN' : requireScope(scope),
    description: requireText('description', description, MAX_DESCRIPTION),
    enabled: form.enabled ?? true,
  };
}

/**
 * The fields that differ from the webhook as it is; only they are judged. A URL that is blank, or is the shown one, stays.
 * @throws {AppError} VALIDATION_ERROR
 */
export function changedFields(
  form: WebhookForm,
  webhook: StoredWebhook,
  rules: WebhookUrlRules,
): Partial<WebhookFields> {
  const { name, webhookUrl, type, scope, description } = trimmed(form);
  const differs = (text: string, present: string): boolean => text !== '' && text !== present;
  const changed: Partial<WebhookFields> = {};
  if (differs(name, webhook.name.trim())) changed.name = requireText('name', name, MAX_NAME);
  if (differs(webhookUrl, shownUrl(webhook)) && webhookUrl !== webhook.url) {
    const url = requireUrl(webhookUrl, rules);
    if (url !== webhook.url) changed.url = url;
  }
  if (differs(type, webhook.type)) changed.type = requireType(type);
  if (differs(scope, webhook.scope)) changed.scope = requireScope(scope);
  if (form.description !== undefined && description !== webhook.description.trim()) {
    changed.description = requireText('description', description, MAX_DESCRIPTION);
  }
  if (form.enabled !== undefined && form.enabled !== webhook.enabled) changed.enabled = form.enabled;
  return changed;
}

const trimmed = ({ name, webhookUrl, type, scope, description }: WebhookForm) => ({
  name: name?.trim() ?? '',
  webhookUrl: webhookUrl?.trim() ?? '',
  type: type?.trim() ?? '',
  scope: scope?.trim() ?? '',
  description: description?.trim() ?? '',
});

function requireText(field: string, text: string, max: number): string {
  if ([...text].length > max) throw invalid(`${field}: at most ${max} characters`);
  if (URL_IN_TEXT.test(text)) throw invalid(`${field}: the URL of a webhook is a secret, and does not belong here`);
  return text;
}

function requireType(text: string): WebhookType {
  const type = WEBHOOK_TYPES.find((known) => known === text);
  if (type === undefined) throw invalid('Invalid webhook type');
  return type;
}

function requireScope(text: string): WebhookScope {
  const scope = WEBHOOK_SCOPES.find((known) => known === text);
  if (scope === undefined) throw invalid('Invalid webhook scope');
  return scope;
}
