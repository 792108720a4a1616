/** The message of an event for one webhook, always within the limits of Discord. */
import type { RESTPostAPIWebhookWithTokenJSONBody } from 'discord-api-types/v10';
import { shownData } from '../../domain/event-routing.ts';
import type { Notice } from '../../domain/events.ts';
import type { WebhookScope } from '../../domain/webhooks.ts';
import { fitted } from './embed.ts';
import { notification } from './notifications.ts';
import { REPORTS } from './reports.ts';

/** Under whose name notifications appear. */
const SENDER = { username: 'NodeByte', avatar_url: 'https://nodebyte.host/logo.png' };

/**
 * Makes the message. The data of the event is not trusted: it shows as text, on one line, and mentions no one.
 * @param to.scope who reads the channel: what names a person is left out unless administrators do.
 * @param to.plain without our name and picture, for a webhook for which Discord refused them.
 */
export function renderMessage(
  notice: Notice,
  to: { scope: WebhookScope; plain: boolean },
): RESTPostAPIWebhookWithTokenJSONBody {
  const { event, origin, occurredAt } = notice;
  const data = shownData(to.scope, notice);
  const report = origin === 'service' && Object.hasOwn(REPORTS, event) ? REPORTS[event] : undefined;
  const embed = report?.(data, occurredAt) ?? notification({ event, origin, data });
  return {
    ...(report === undefined && !to.plain ? SENDER : {}),
    embeds: [fitted(embed, occurredAt)],
    allowed_mentions: { parse: [] },
  };
}
