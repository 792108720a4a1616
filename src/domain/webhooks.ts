/** Discord webhooks. The URL of a webhook is its secret: who knows it can post to the channel. */
import { SECRET_MASK } from './settings.ts';

/** A URL that may be shown: with the mask in place of its token, which is the end of the path. */
export function maskedWebhookUrl(url: string): string {
  const parsed = URL.parse(url.trim());
  if (parsed === null || parsed.origin === 'null') return url.trim() === '' ? '' : SECRET_MASK;
  const path = parsed.pathname.replace(/\/+$/, '');
  return `${parsed.origin}${path.slice(0, path.lastIndexOf('/') + 1) || '/'}${SECRET_MASK}`;
}
