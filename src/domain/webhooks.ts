/** Discord webhooks and the deliveries to them. The URL of a webhook is its secret: who knows it can post to the channel. */

/** What a webhook is for; `CUSTOM` receives events of every type. */
export const WEBHOOK_TYPES = ['GAME_SERVER', 'VPS', 'SYSTEM', 'BILLING', 'SECURITY', 'SUPPORT', 'CUSTOM'] as const;
export type WebhookType = (typeof WEBHOOK_TYPES)[number];

/** Who reads the channel. What names a person goes to `ADMIN` only. */
export const WEBHOOK_SCOPES = ['ADMIN', 'USER', 'PUBLIC'] as const;
export type WebhookScope = (typeof WEBHOOK_SCOPES)[number];

/** The scope that a stored text means. What is no scope counts as the widest audience, which is shown least. */
export const scopeOf = (text: string): WebhookScope =>
  WEBHOOK_SCOPES.find((scope) => scope === text.trim().toUpperCase()) ?? 'PUBLIC';

/** `skipped`: the webhook was switched off, or deleted, before its turn. */
export const DELIVERY_STATUSES = ['queued', 'delivered', 'failed', 'skipped', 'cancelled'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];

/** `lost`: no answer came, so the message may have arrived. `limited`: Discord asked to wait. */
export const ATTEMPT_OUTCOMES = ['sending', 'delivered', 'refused', 'limited', 'unavailable', 'lost'] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];

/** Hours after which a delivery that did not arrive is given up. */
export const DELIVERY_HOURS = 24;

/** Begins what stands for the token in a masked URL. */
const TOKEN_MASK = '••••';

/**
 * A URL that may be shown: of its token, which is the end of the path, only the last four characters, and without its
 * query. What is no URL is masked whole.
 */
export function maskedWebhookUrl(url: string): string {
  const parsed = URL.parse(url.trim());
  if (parsed === null || parsed.origin === 'null') return url.trim() === '' ? '' : TOKEN_MASK;
  const path = parsed.pathname.replace(/\/+$/, '');
  const slash = path.lastIndexOf('/') + 1;
  const token = path.slice(slash);
  // Of a short token, four characters would be too much of it.
  const end = token.length >= 16 ? token.slice(-4) : '';
  return `${parsed.origin}${path.slice(0, slash) || '/'}${TOKEN_MASK}${end}`;
}

/** Whether a text is, or holds, the mask of a token. */
export const isMaskedUrl = (text: string): boolean => text.includes(TOKEN_MASK);
