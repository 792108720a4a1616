/** What follows from the answer to a message: for its delivery, for its webhook, and for what is sent next. */
import type { Logger } from 'pino';
import type { PostResult } from '../../clients/discord/answers.ts';
import type { Transaction } from '../../store/db/db.ts';
import {
  disableWebhook,
  endAttempt,
  failuresInARow,
  lockWebhook,
  pause,
  storeChannel,
  storePlain,
} from '../../store/webhooks/attempt-store.ts';
import { endDelivery, endQueued, findDelivery, noteWait } from '../../store/webhooks/delivery-store.ts';
import { recordChange } from '../audit/record-change.ts';
import type { Claim, DeliveryStep } from './delivery-step.ts';

/** First and longest pause after an attempt that met no fault of the message. */
const FIRST_BACKOFF_MS = 5_000;
const LAST_BACKOFF_MS = 10 * 60_000;

interface Deps {
  trx: Transaction;
  log: Logger;
}
/** A request that was sent. */
export type Sent = Claim & {
  /** The webhook's URL as it was stored then. */
  storedUrl: string;
  /** It was sent without our name and picture. */
  plain: boolean;
};

/** Notes the answer in the transaction. A message that arrived counts as delivered, whatever was said of it meanwhile. */
export async function noteResult(deps: Deps, sent: Sent, result: PostResult): Promise<DeliveryStep> {
  const { trx } = deps;
  // The row of the webhook before those of its deliveries, in the order in which a change or deletion of the webhook takes them.
  if (result.outcome === 'refused' && result.dead) await lockWebhook(trx, sent.target.webhookId);
  const delivery = await findDelivery(trx, sent.deliveryId, { lock: true });
  await noteAnswer(trx, sent, result);
  if (result.outcome === 'delivered') {
    await endDelivery(trx, sent.deliveryId, 'delivered', null);
    return { state: 'done', status: 'delivered', reason: null };
  }
  if (delivery !== undefined && delivery.status !== 'queued') {
    return { state: 'done', status: delivery.status, reason: delivery.reason };
  }
  return result.outcome === 'refused' ? noteRefusal(deps, sent, result) : noteObstacle(deps, sent, result);
}

/** Notes what an answer says of its attempt, of the channel and of the limits. */
export async function noteAnswer(
  trx: Transaction,
  { attemptId, target }: Pick<Claim, 'attemptId' | 'target'>,
  result: PostResult,
): Promise<void> {
  const delivered = result.outcome === 'delivered';
  await endAttempt(trx, attemptId, {
    outcome: result.outcome,
    httpStatus: result.httpStatus,
    discordCode: delivered ? null : result.discordCode,
    detail: delivered ? null : result.detail,
    messageId: delivered ? result.messageId : null,
  });
  if (delivered && result.channelId !== null) await storeChannel(trx, target.webhookId, result.channelId);
  if (result.pause === undefined) return;
  const reason = delivered ? 'Discord accepts no more messages of the webhook for a moment' : result.detail;
  await pause(trx, target, { ...result.pause, reason });
}

async function noteRefusal(
  deps: Deps,
  { deliveryId, target, storedUrl, plain }: Sent,
  { detail, dead, plainHelps }: Extract<PostResult, { outcome: 'refused' }>,
): Promise<DeliveryStep> {
  const { trx } = deps;
  if (dead) {
    if (!(await switchOff(deps, target.webhookId, storedUrl, detail))) {
      return { state: 'wait', ms: 0, why: 'the webhook was changed meanwhile' };
    }
    return { state: 'done', status: 'failed', reason: switchedOff(detail) };
  }
  if (plainHelps && !plain) {
    await storePlain(trx, target.webhookId);
    return { state: 'wait', ms: 0, why: 'it is sent without our name and picture' };
  }
  await endDelivery(trx, deliveryId, 'failed', detail);
  return { state: 'done', status: 'failed', reason: detail };
}

const switchedOff = (detail: string): string => `the webhook was switched off: ${detail}`;

/** Switches a webhook off whose URL is dead, and fails what waits for it: each further request would be held against us. */
export async function switchOff(deps: Deps, webhookId: string, storedUrl: string, detail: string): Promise<boolean> {
  const { trx, log } = deps;
  if (!(await disableWebhook(trx, webhookId, storedUrl, detail))) return false;
  const failed = await endQueued(trx, webhookId, 'failed', switchedOff(detail));
  await recordChange(
    { trx, log },
    { actor: { type: 'system' } },
    {
      action: 'webhook-disabled',
      target: { type: 'webhook', id: webhookId },
      details: { reason: detail, failed },
    },
  );
  return true;
}

/** Neither delivered nor refused: it is sent again later. */
async function noteObstacle(
  { trx }: Deps,
  { deliveryId }: Sent,
  result: Extract<PostResult, { outcome: 'limited' | 'unavailable' | 'lost' }>,
): Promise<DeliveryStep> {
  await noteWait(trx, deliveryId, result.detail);
  if (result.outcome === 'limited') return { state: 'wait', ms: result.pause.ms, why: result.detail };
  const failures = Math.max(await failuresInARow(trx, deliveryId), 1);
  const backoff = Math.min(FIRST_BACKOFF_MS * 2 ** (failures - 1), LAST_BACKOFF_MS);
  return { state: 'wait', ms: Math.max(backoff, result.pause?.ms ?? 0), why: result.detail };
}
