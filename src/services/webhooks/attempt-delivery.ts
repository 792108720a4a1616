/**
 * One attempt to deliver a message to a webhook: the claim admits it and records it, the request is sent, and the note says
 * what became of it (note-result.ts). A process that ends in between leaves an attempt that says `sending`; the next claim
 * marks it as lost.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { RESTPostAPIWebhookWithTokenJSONBody } from 'discord-api-types/v10';
import type { Logger } from 'pino';
import type { PostResult } from '../../clients/discord/answers.ts';
import { isForScope } from '../../domain/event-routing.ts';
import type { Notice } from '../../domain/events.ts';
import { DELIVERY_HOURS, scopeOf, type WebhookScope } from '../../domain/webhooks.ts';
import { type Db, inTransaction } from '../../store/db/db.ts';
import { type Encryption, looksEncrypted } from '../../store/db/encryption.ts';
import { isConnectionFailure } from '../../store/db/sql-errors.ts';
import { admit, beginAttempt, loseAttempts } from '../../store/webhooks/attempt-store.ts';
import {
  countDeliveryAttempt,
  type DeliveryInTurn,
  endDelivery,
  findDelivery,
  noteWait,
  queueAgain,
} from '../../store/webhooks/delivery-store.ts';
import type { Claim, DeliveryStep } from './delivery-step.ts';
import { noteResult, type Sent } from './note-result.ts';

export interface AttemptDeps {
  db: Db;
  log: Logger;
  encryption: Pick<Encryption, 'decrypt'>;
  /** Sends once. */
  post: (
    url: string,
    message: RESTPostAPIWebhookWithTokenJSONBody,
    options: { deliveryId: string },
  ) => Promise<PostResult>;
  /** Makes the message of an event. @param to `plain`: without our name and picture. */
  render: (notice: Notice, to: { scope: WebhookScope; plain: boolean }) => RESTPostAPIWebhookWithTokenJSONBody;
}

export interface Attempt {
  deliveryId: string;
  /** Run of the workflow that asks. */
  runId: string;
  /** The workflow goes on in a new run after a long history, so the change of the run is no reset. */
  continued: boolean;
}

/** Pause while an earlier message of the webhook is on its way: only a delivery whose workflow was reset meets one. */
const BEHIND_MS = 5_000;
/** Pause when this process lacks the key of the webhook's URL; another process may have it. */
const OTHER_KEY_MS = 60_000;
/** Shorter waits are not noted in the row: the limits of Discord cause one every few messages. */
const NOTED_WAIT_MS = 2_000;
/** How long, and how often, an answer is noted again while the database is away; the activity has longer. */
const NOTE_FOR_MS = 90_000;
const NOTE_AGAIN_MS = 500;

/** A request that is ready to be sent, or why there is none. */
type Prepared =
  | {
      state: 'ready';
      url: string;
      /** The URL as it is stored. */
      stored: string;
      message: RESTPostAPIWebhookWithTokenJSONBody;
    }
  | { state: 'not now'; why: string }
  | { state: 'never'; why: string };

/** Makes one attempt, or says why there is none. @throws errors of the database. */
export async function attemptDelivery(deps: AttemptDeps, attempt: Attempt): Promise<DeliveryStep> {
  const delivery = await findDelivery(deps.db, attempt.deliveryId, { lock: false });
  if (delivery === undefined) return { state: 'done', status: 'skipped', reason: 'the delivery was deleted' };
  const prepared = prepare(deps, delivery);
  const claim = await inTransaction(deps.db, (trx) => claimAttempt(trx, attempt, prepared));
  if (claim.state !== 'send') return claim;
  // A claim to send is only made for a request that is ready.
  if (prepared.state !== 'ready') throw new Error('a claim without a request');
  const result = await deps.post(prepared.url, prepared.message, { deliveryId: attempt.deliveryId });
  return noteUntilStored(
    deps,
    { ...claim, storedUrl: prepared.stored, plain: delivery.webhook?.plain === true },
    result,
  );
}

/** Notes the answer, also if the database is away for a while: an answer that is not noted makes a message come twice. */
async function noteUntilStored(deps: AttemptDeps, sent: Sent, result: PostResult): Promise<DeliveryStep> {
  for (const end = performance.now() + NOTE_FOR_MS; ; await delay(NOTE_AGAIN_MS)) {
    try {
      return await inTransaction(deps.db, (trx) => noteResult({ trx, log: deps.log }, sent, result));
    } catch (error) {
      if (!isConnectionFailure(error) || performance.now() > end) throw error;
    }
  }
}

/** Decrypts the URL and makes the message, before the attempt is recorded: what fails here was never sent. */
function prepare(deps: AttemptDeps, delivery: DeliveryInTurn): Prepared {
  const { webhook, event, origin, data, occurredAt } = delivery;
  if (webhook === null) return { state: 'never', why: DELETED };
  const clear = deps.encryption.decrypt(webhook.url);
  // Without a key, `decrypt` returns encrypted text as if it were clear text.
  if ('unreadable' in clear || looksEncrypted(clear.value)) {
    return { state: 'not now', why: 'the URL of the webhook was encrypted with another key: check ENCRYPTION_KEY' };
  }
  try {
    const scope = scopeOf(webhook.scope);
    // An administrator has changed the scope since the event was routed.
    if (!isForScope(scope, { event, origin })) return { state: 'never', why: NOT_FOR_SCOPE };
    const message = deps.render({ event, origin, data, occurredAt }, { scope, plain: webhook.plain });
    return { state: 'ready', url: clear.value, stored: webhook.url, message };
  } catch (error) {
    deps.log.error({ err: error, deliveryId: delivery.id, event }, 'a message could not be made');
    return { state: 'never', why: 'its message could not be made' };
  }
}

const DELETED = 'the webhook was deleted';
const NOT_FOR_SCOPE = 'the event is for webhooks of scope ADMIN only';

/** Decides under the lock of the delivery whether it is sent now, and records the attempt. */
async function claimAttempt(trx: Db, attempt: Attempt, prepared: Prepared): Promise<DeliveryStep | Claim> {
  const { deliveryId, runId } = attempt;
  const delivery = await findDelivery(trx, deliveryId, { lock: true });
  if (delivery === undefined) return { state: 'done', status: 'skipped', reason: 'the delivery was deleted' };
  if (delivery.status !== 'queued') {
    if (!wasReset(delivery, attempt)) return { state: 'done', status: delivery.status, reason: delivery.reason };
    await queueAgain(trx, deliveryId, runId);
    return { state: 'wait', ms: 0, why: 'its workflow was reset' };
  }
  await loseAttempts(trx, deliveryId);
  const end = endOf(delivery, prepared);
  if (end !== undefined) {
    await endDelivery(trx, deliveryId, end.status, end.reason);
    return end;
  }
  const { webhookId, webhook } = delivery;
  const target = { webhookId, channel: webhook?.channel ?? '' };
  const wait = delivery.behind
    ? { ms: BEHIND_MS, why: 'an earlier message of the webhook is on its way' }
    : prepared.state === 'not now'
      ? { ms: OTHER_KEY_MS, why: prepared.why }
      : await admit(trx, target);
  if (wait !== undefined) {
    if (wait.ms >= NOTED_WAIT_MS) await noteWait(trx, deliveryId, wait.why);
    return { state: 'wait', ...wait };
  }
  const number = delivery.attempts + 1;
  await countDeliveryAttempt(trx, deliveryId, runId);
  const attemptId = await beginAttempt(trx, target, { id: deliveryId, number });
  return { state: 'send', deliveryId, attemptId, target };
}

/**
 * Whether the workflow of an ended delivery was reset in Temporal: another run asks than the one that ended it. A message
 * that arrived is not sent again.
 */
const wasReset = (delivery: DeliveryInTurn, attempt: Attempt): boolean =>
  delivery.status !== 'delivered' && !attempt.continued && delivery.runId !== null && delivery.runId !== attempt.runId;

/** How a queued delivery ends without an attempt. */
function endOf(delivery: DeliveryInTurn, prepared: Prepared): Extract<DeliveryStep, { state: 'done' }> | undefined {
  const end = (status: 'failed' | 'skipped', reason: string) => ({ state: 'done', status, reason }) as const;
  if (delivery.webhook === null) return end('skipped', DELETED);
  if (!delivery.webhook.enabled) return end('skipped', 'the webhook is switched off');
  if (delivery.late) {
    const last = delivery.reason === null ? '' : `; at last: ${delivery.reason}`;
    return end('failed', `it did not arrive within ${DELIVERY_HOURS} hours${last}`);
  }
  return prepared.state === 'never' ? end('failed', prepared.why) : undefined;
}
