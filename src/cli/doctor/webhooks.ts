/** What `doctor` finds out about webhooks and the deliveries to them. It sends nothing. */
import type { Db } from '../../store/db/db.ts';
import type { Encryption } from '../../store/db/encryption.ts';
import {
  type DeliveryFigures,
  type DeliveryRow,
  deliveryFigures,
  oldestQueued,
  pausesInForce,
} from '../../store/webhooks/delivery-list.ts';
import { listWebhooks, type StoredWebhook } from '../../store/webhooks/webhook-list.ts';
import { printable } from '../support/terminal.ts';
import type { Check } from './check.ts';

const NAME = 'Webhooks';
/** Seconds that a delivery may wait without a word about it. */
const PATIENCE_SECONDS = 300;

const warning = (detail: string, advice: string): Check => ({
  name: NAME,
  state: 'warning',
  detail: printable(detail),
  advice,
});

/** Webhooks that receive nothing, and deliveries that wait or failed; nothing without webhooks and deliveries. */
export async function checkWebhooks(db: Db, encryption: Pick<Encryption, 'decrypt'>): Promise<Check[]> {
  const webhooks = await listWebhooks(db, encryption);
  const figures = await deliveryFigures(db);
  const pauses = await pausesInForce(db);
  const problems = [
    ...webhookProblems(webhooks),
    ...deliveryProblems(figures, await oldestQueued(db)),
    ...pauses.map(({ scope, until, reason }) =>
      warning(
        `nothing is sent to ${scope === 'all' ? 'Discord' : `the ${scope.replace(':', ' ')}`} until ${until.toISOString()}: ${reason}`,
        'messages wait and are sent by themselves',
      ),
    ),
  ];
  if (problems.length > 0 || webhooks.length + figures.queued === 0) return problems;
  const enabled = webhooks.filter((webhook) => webhook.enabled).length;
  return [
    { name: NAME, state: 'ok', detail: `${enabled} of ${webhooks.length} enabled, ${figures.queued} messages wait` },
  ];
}

function webhookProblems(webhooks: readonly StoredWebhook[]): Check[] {
  return webhooks.flatMap(({ name, url, enabled, disabledReason }) => {
    if (url === undefined) {
      return [warning(`the URL of "${name}" cannot be decrypted`, 'check ENCRYPTION_KEY, or enter the URL again')];
    }
    if (enabled || disabledReason === null) return [];
    return [
      warning(`"${name}" was switched off: ${disabledReason}`, 'enter the URL of a new webhook and switch it on'),
    ];
  });
}

function deliveryProblems({ failed, oldestSeconds }: DeliveryFigures, oldest: DeliveryRow | undefined): Check[] {
  const checks: Check[] = [];
  if (failed > 0) {
    checks.push(warning(`${failed} messages failed in the last 24 hours`, 'webhook deliveries --status failed'));
  }
  if (oldest !== undefined && oldestSeconds > PATIENCE_SECONDS) {
    const since = oldest.createdAt.toISOString();
    const detail = `the oldest message waits since ${since}, ${oldest.event} to "${oldest.webhookName}": ${whyOf(oldest)}`;
    checks.push(warning(detail, 'check that a worker and Temporal run'));
  }
  return checks;
}

const whyOf = ({ pauseReason, reason, startedAt }: DeliveryRow): string =>
  pauseReason ?? reason ?? (startedAt === null ? 'its workflow was not started yet' : 'its workflow was started');
