/** The test of a webhook: one real message, which counts towards the limits of Discord like any other. */
import type { RESTPostAPIWebhookWithTokenJSONBody } from 'discord-api-types/v10';
import type { PostResult } from '../../clients/discord/answers.ts';
import type { DiscordClient } from '../../clients/discord/client.ts';
import type { AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { inTransaction } from '../../store/db/db.ts';
import { admit, beginAttempt, lockWebhook, loseTests, type Target } from '../../store/webhooks/attempt-store.ts';
import { storeTestSuccess } from '../../store/webhooks/webhook-store.ts';
import { recordChange } from '../audit/record-change.ts';
import { requireWebhook, type WebhookDeps } from './manage-webhooks.ts';
import { noteAnswer, switchOff } from './note-result.ts';
import { requireUrl } from './webhook-form.ts';

export interface TestDeps extends Omit<WebhookDeps, 'discord'> {
  discord: Pick<DiscordClient, 'post'>;
}

/** A test that was recorded and is about to be sent. */
interface Test {
  attemptId: string;
  target: Target;
  url: string;
  storedUrl: string;
}

/**
 * Sends the test message of a webhook, also of one that is switched off. A webhook that Discord does not know any more is
 * switched off, as a delivery does.
 * @throws {AppError} NOT_FOUND; VALIDATION_ERROR or CONFLICT for a URL that cannot be used; SERVICE_UNAVAILABLE during a
 * pause; BAD_GATEWAY when the message did not arrive.
 */
export async function testWebhook(
  deps: TestDeps,
  id: string,
  message: RESTPostAPIWebhookWithTokenJSONBody,
  by: AuditOrigin,
): Promise<void> {
  const test = await beginTest(deps, id, by);
  const result = await post(deps, test, message);
  await inTransaction(deps.db, async (trx) => {
    // The row of the webhook before all others of it: the order of every writer.
    await lockWebhook(trx, id);
    await noteAnswer(trx, test, result);
    const { outcome } = result;
    if (outcome === 'refused' && result.dead)
      await switchOff({ trx, log: deps.log }, id, test.storedUrl, result.detail);
    if (outcome === 'delivered') await storeTestSuccess(trx, id, test.storedUrl);
  });
  if (result.outcome !== 'delivered') throw failure(result);
}

/** Records the test before it is sent, so that it counts whatever happens. */
function beginTest(deps: TestDeps, id: string, by: AuditOrigin): Promise<Test> {
  return inTransaction(deps.db, async (trx) => {
    const { url, storedUrl, channelId } = await requireWebhook(deps.webhooks, trx, id);
    if (url === undefined) {
      throw new AppError('CONFLICT', { publicMessage: 'The URL of this webhook cannot be decrypted: enter it again' });
    }
    requireUrl(url, deps.webhookUrlRules);
    const target = { webhookId: id, channel: channelId ?? `webhook:${id}` };
    const wait = await admit(trx, target);
    if (wait !== undefined) throw mustWait(wait);
    await loseTests(trx, id);
    const attemptId = await beginAttempt(trx, target);
    await recordChange({ trx, log: deps.log }, by, { action: 'webhook-tested', target: { type: 'webhook', id } });
    return { attemptId, target, url, storedUrl };
  });
}

async function post(
  { discord, log }: TestDeps,
  { url, attemptId }: Test,
  message: RESTPostAPIWebhookWithTokenJSONBody,
): Promise<PostResult> {
  try {
    return await discord.post(url, message, { deliveryId: attemptId });
  } catch (error) {
    // The error itself can hold the URL.
    log.error({ name: error instanceof Error ? error.name : typeof error, attemptId }, 'the test of a webhook failed');
    return { outcome: 'lost', httpStatus: null, discordCode: null, detail: 'the request failed' };
  }
}

function mustWait({ ms, why }: { ms: number; why: string }): AppError {
  const seconds = Math.ceil(ms / 1000);
  return new AppError('SERVICE_UNAVAILABLE', {
    publicMessage: `Nothing was sent: try again in ${seconds} s (${why})`,
    retryAfterMs: ms,
  });
}

/** The sentences are those that the web site knows. */
function failure(result: Exclude<PostResult, { outcome: 'delivered' }>): AppError {
  const { httpStatus, detail } = result;
  const sentence =
    httpStatus === null ? 'Failed to reach Discord webhook endpoint' : `Webhook test failed with status: ${httpStatus}`;
  return new AppError('BAD_GATEWAY', {
    publicMessage: sentence,
    hint: sentence,
    details: [{ path: 'webhook', message: detail }],
    ...(result.pause === undefined ? {} : { retryAfterMs: result.pause.ms }),
  });
}
