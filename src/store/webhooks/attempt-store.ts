/**
 * Writes to `webhook_attempts`, `webhook_pauses` and `webhook_states`: requests to webhooks, and what limits them. All
 * processes count the same rows, so the limits hold however many of them send.
 */
import type { AttemptOutcome } from '../../domain/webhooks.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** Key of the advisory lock under which requests are counted and admitted; an arbitrary number. */
const ADMISSION_LOCK = 7_305_110_003;

/**
 * Requests that all webhooks of one channel may receive in 60 seconds (github.com/discord/discord-api-docs/issues/367). No
 * header tells it. One second more, because Discord counts arrivals and we count departures.
 */
const CHANNEL_LIMIT = { requests: 30, seconds: 61 };
/** Discord allows 50 requests a second per IP address without a login (docs.discord.com/developers/topics/rate-limits). */
const GLOBAL_LIMIT = { requests: 45, seconds: 1 };
/** A pause never ends in less than this, so that what waits for it does not spin. */
const LEAST_WAIT_MS = 100;

/** Where a request goes. */
export interface Target {
  webhookId: string;
  /** Id of the channel, or `webhook:<id>` while it is not known. */
  channel: string;
}

export interface Wait {
  ms: number;
  /** For administrators, in the middle of a sentence. */
  why: string;
}

/** What stands for the channel of a webhook while it is not known. */
const unknownChannel = (webhookId: string): string => `webhook:${webhookId}`;

/** Scopes of `webhook_pauses` that a target obeys. */
const scopesOf = ({ webhookId, channel }: Target): string[] => ['all', `webhook:${webhookId}`, `channel:${channel}`];

/**
 * How long a request must wait for pauses and limits; undefined: it may be sent. Holds the admission lock until the
 * transaction ends, so that the request is counted before another one is admitted.
 */
export async function admit(trx: Db, target: Target): Promise<Wait | undefined> {
  await query(trx, `select pg_advisory_xact_lock(${ADMISSION_LOCK})`);
  const [row] = await query<{ pauseMs: number | null; pause: string | null; channelMs: number; globalMs: number }>(
    trx,
    `select p.ms as "pauseMs", p.reason as pause,
       ${msUntilFree(CHANNEL_LIMIT, 'and a.channel = any(?::text[])')} as "channelMs",
       ${msUntilFree(GLOBAL_LIMIT, '')} as "globalMs"
     from (select 1) one left join lateral (
       select extract(epoch from x.until - clock_timestamp()) * 1000 as ms, x.reason from webhook_pauses x
       where x.scope = any(?::text[]) and x.until > clock_timestamp() order by x.until desc limit 1) p on true`,
    // Its first message was sent before its answer named the channel.
    [[target.channel, unknownChannel(target.webhookId)], scopesOf(target)],
  );
  const waits: [ms: number, why: string][] = [
    [Number(row?.pauseMs ?? 0), row?.pause ?? ''],
    [Number(row?.channelMs ?? 0), `Discord accepts ${CHANNEL_LIMIT.requests} messages a minute in a channel`],
    [Number(row?.globalMs ?? 0), 'Discord accepts 50 requests a second'],
  ];
  const [ms, why] = waits.reduce((longest, wait) => (wait[0] > longest[0] ? wait : longest));
  return ms > 0 ? { ms: Math.max(Math.ceil(ms), LEAST_WAIT_MS), why } : undefined;
}

/** SQL: milliseconds until the oldest of the last `requests` requests is `seconds` old; 0 if there are fewer. */
const msUntilFree = ({ requests, seconds }: typeof CHANNEL_LIMIT, condition: string): string => `
  coalesce((select extract(epoch from a.started_at + interval '${seconds} s' - clock_timestamp()) * 1000
    from webhook_attempts a where a.started_at > clock_timestamp() - interval '${seconds} s' ${condition}
    order by a.started_at desc offset ${requests - 1} limit 1), 0)::float8`;

/** Records a request that is about to be sent. @param delivery absent: the test of a webhook. @returns id of the attempt. */
export async function beginAttempt(
  trx: Db,
  target: Target,
  delivery?: { id: string; number: number },
): Promise<string> {
  const [row] = await query<{ id: string }>(
    trx,
    `insert into webhook_attempts (delivery_id, number, webhook_id, channel) values (?::uuid, ?, ?, ?) returning webhook_attempts.id`,
    [delivery?.id ?? null, delivery?.number ?? 0, target.webhookId, target.channel],
  );
  if (row === undefined) throw new Error('insert without a row');
  return row.id;
}

/** How a request ended. */
export interface AttemptEnd {
  outcome: Exclude<AttemptOutcome, 'sending'>;
  httpStatus: number | null;
  discordCode: number | null;
  detail: string | null;
  messageId: string | null;
}

/** Notes how a request ended. */
export const endAttempt = (trx: Db, id: string, end: AttemptEnd): Promise<unknown> =>
  execute(
    trx,
    `update webhook_attempts set outcome = ?, http_status = ?, discord_code = ?, detail = ?, message_id = ?, ended_at = clock_timestamp()
     where id = ?::uuid`,
    [end.outcome, end.httpStatus, end.discordCode, end.detail, end.messageId, id],
  );

/** Marks attempts of a delivery that never ended as lost: the process that made them ended first. */
export const loseAttempts = (trx: Db, deliveryId: string): Promise<unknown> =>
  execute(
    trx,
    `update webhook_attempts set outcome = 'lost', detail = 'the process that sent it ended before the answer', ended_at = clock_timestamp()
     where delivery_id = ?::uuid and outcome = 'sending'`,
    [deliveryId],
  );

/** The same for tests of a webhook: a test ends within a minute. */
export const loseTests = (trx: Db, webhookId: string): Promise<unknown> =>
  execute(
    trx,
    `update webhook_attempts set outcome = 'lost', detail = 'the process that sent it ended before the answer', ended_at = clock_timestamp()
     where webhook_id = ? and delivery_id is null and outcome = 'sending' and started_at < now() - interval '1 minute'`,
    [webhookId],
  );

/** Attempts of a delivery, in a row up to its last one, that met no fault of the message. */
export async function failuresInARow(trx: Db, deliveryId: string): Promise<number> {
  const [row] = await query<{ n: number }>(
    trx,
    `select count(*)::int as n from webhook_attempts a where a.delivery_id = ?::uuid and a.outcome in ('unavailable', 'lost')
       and a.number > coalesce((select max(b.number) from webhook_attempts b
         where b.delivery_id = a.delivery_id and b.outcome not in ('unavailable', 'lost')), 0)`,
    [deliveryId],
  );
  return row?.n ?? 0;
}

/** Lets nothing be sent to a webhook, a channel, or at all for a time. A longer pause stays. */
export const pause = (
  trx: Db,
  target: Target,
  wanted: { scope: 'webhook' | 'channel' | 'all'; ms: number; reason: string },
): Promise<unknown> => {
  const scopes = { all: 'all', webhook: `webhook:${target.webhookId}`, channel: `channel:${target.channel}` };
  return execute(
    trx,
    `insert into webhook_pauses as p (scope, until, reason) values (?, clock_timestamp() + make_interval(secs => ?), ?)
     on conflict (scope) do update set until = excluded.until, reason = excluded.reason where p.until < excluded.until`,
    [scopes[wanted.scope], wanted.ms / 1000, wanted.reason],
  );
};

/** Stores the channel that a webhook posts to. */
export const storeChannel = (trx: Db, webhookId: string, channelId: string): Promise<unknown> =>
  execute(
    trx,
    `insert into webhook_states as s (webhook_id, channel_id) values (?, ?)
     on conflict (webhook_id) do update set channel_id = excluded.channel_id where s.channel_id is distinct from excluded.channel_id`,
    [webhookId, channelId],
  );

/** Notes that Discord refuses our name or picture for a webhook: its messages go without them. */
export const storePlain = (trx: Db, webhookId: string): Promise<unknown> =>
  execute(
    trx,
    `insert into webhook_states (webhook_id, plain) values (?, true) on conflict (webhook_id) do update set plain = true`,
    [webhookId],
  );

/** Keeps a webhook as it is until the transaction ends. */
export const lockWebhook = (trx: Db, webhookId: string): Promise<unknown> =>
  execute(trx, `select w.id from discord_webhooks w where w.id = ? for update`, [webhookId]);

/**
 * Switches a webhook off, because no further request to this URL can succeed.
 * @param storedUrl as it was stored when the request was sent: a webhook with a new URL stays on.
 * @returns false if it was off, or has another URL by now.
 */
export async function disableWebhook(trx: Db, webhookId: string, storedUrl: string, reason: string): Promise<boolean> {
  const disabled = await execute(
    trx,
    `update discord_webhooks set enabled = false, "updatedAt" = now() at time zone 'utc' where id = ? and enabled and "webhookUrl" = ?`,
    [webhookId, storedUrl],
  );
  if (disabled === 0) return false;
  await execute(
    trx,
    `insert into webhook_states (webhook_id, disabled_reason, disabled_at) values (?, ?, now())
     on conflict (webhook_id) do update set disabled_reason = excluded.disabled_reason, disabled_at = excluded.disabled_at`,
    [webhookId, reason],
  );
  return true;
}
