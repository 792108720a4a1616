/** `/metrics`: the backlog of effects, emails and deliveries to webhooks, the age of the mirror, and the states of Hytale, for Prometheus. */
import { Gauge, Registry } from 'prom-client';
import { countEmails, heldEmails } from '../../store/email/email-list.ts';
import { hytaleFigures } from '../../store/hytale/figures.ts';
import { consoleFigures } from '../../store/hytale/pull-reads.ts';
import { outboxBacklog } from '../../store/outbox-store.ts';
import { deliveryFigures } from '../../store/webhooks/delivery-list.ts';
import type { Services } from '../context.ts';
import { defineRoute, type Route } from '../http/route.ts';

/**
 * The gauges in Prometheus' text format, version 0.0.4. Each scrape has a registry of its own: the figures are the
 * database's, so nothing of this process is kept between scrapes or shared with another app.
 */
async function renderGauges(deps: Pick<Services, 'db' | 'config' | 'mirror'>): Promise<string> {
  const { db, config } = deps;
  const { environment } = config.hytale;
  const registry = new Registry();
  const gauge = <Label extends string>(name: string, help: string, label: Label): Gauge<Label> =>
    new Gauge({ name, help, labelNames: [label], registers: [registry] });

  const pending = gauge('nodebyte_outbox_pending', 'Effects that wait to be dispatched.', 'kind');
  const failed = gauge('nodebyte_outbox_failed', 'Effects that failed and are not dispatched again.', 'kind');
  const oldest = gauge(
    'nodebyte_outbox_oldest_seconds',
    'Age in seconds of the oldest pending effect; 0 when none is pending.',
    'kind',
  );
  for (const row of await outboxBacklog(db)) {
    pending.set({ kind: row.kind }, row.pending);
    failed.set({ kind: row.kind }, row.failed);
    oldest.set({ kind: row.kind }, row.oldestSeconds);
  }

  const emails = gauge('nodebyte_emails', 'Emails by status.', 'status');
  for (const [status, count] of Object.entries(await countEmails(db))) emails.set({ status }, count);

  new Gauge({
    name: 'nodebyte_emails_held',
    help: 'Queued emails that wait for the operator.',
    registers: [registry],
  }).set((await heldEmails(db))?.count ?? 0);

  const figures = await deliveryFigures(db);
  const deliveries = gauge(
    'nodebyte_webhook_deliveries',
    'Deliveries to webhooks: queued, and failed in 24 hours.',
    'status',
  );
  deliveries.set({ status: 'queued' }, figures.queued);
  deliveries.set({ status: 'failed' }, figures.failed);
  const single = (name: string, help: string, value: number) =>
    new Gauge({ name, help, registers: [registry] }).set(value);
  single(
    'nodebyte_webhook_oldest_seconds',
    'Age in seconds of the oldest queued delivery; 0 when none is queued.',
    figures.oldestSeconds,
  );
  single('nodebyte_webhooks_switched_off', 'Webhooks that are switched off.', figures.switchedOff);
  single('nodebyte_webhook_pauses', 'Pauses of webhooks, channels or all messages that are in force.', figures.pauses);

  const mirror = await deps.mirror();
  const known = (name: string, help: string, value: number | null) => value !== null && single(name, help, value);
  known(
    'nodebyte_mirror_age_seconds',
    'Seconds since the newest completed full sync began; absent before the first one.',
    mirror.ageSeconds,
  );
  known('nodebyte_mirror_requests', 'Panel requests of the newest full sync.', mirror.requests);
  known(
    'nodebyte_mirror_share_used_percent',
    "Percent of the panel's limit that automatic syncs take at their present pace; absent while they are off.",
    mirror.shareUsed,
  );
  single('nodebyte_mirror_budget_share_percent', 'Percent that the live mirror spends at most.', mirror.budgetShare);

  const hytale = await hytaleFigures(db, environment);
  const counts = {
    nodebyte_hytale_accounts: ['Hytale accounts by status.', hytale.accounts],
    nodebyte_hytale_sessions: ['Hytale game sessions by status.', hytale.sessions],
    nodebyte_hytale_pushes: ['Sessions of servers by what became of the push of their tokens.', hytale.pushes],
  } as const;
  for (const [name, [help, byStatus]] of Object.entries(counts)) {
    const states = gauge(name, help, 'status');
    for (const [status, count] of Object.entries(byStatus)) states.set({ status }, count);
  }

  const consoles = await consoleFigures(db, environment);
  const states = gauge(
    'nodebyte_hytale_log_servers',
    'Servers with a session by the state of their console.',
    'status',
  );
  for (const [status, count] of Object.entries(consoles.states)) states.set({ status }, count);
  single('nodebyte_hytale_log_pushed', 'Of them, servers whose lines were pushed within 15 minutes.', consoles.pushed);
  single(
    'nodebyte_hytale_log_oldest_pull_seconds',
    'Age in seconds of the oldest pull of a console that is not pushed; 0 when there is none.',
    consoles.oldestPullSeconds,
  );

  // The library separates metrics by an empty line.
  return (await registry.metrics()).replaceAll('\n\n', '\n');
}

export const metricsRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'getMetrics',
    summary:
      'Backlog of effects, emails and deliveries to webhooks, age of the mirror, states of Hytale, in the text format of Prometheus',
    tags: ['Health'],
    auth: 'apiKeyOrAdmin',
    responses: { 200: { contentType: 'text/plain; version=0.0.4', description: 'Gauges' } },
    errors: [],
    async handler({ deps }) {
      return { status: 200, raw: await renderGauges(deps) };
    },
  }),
];
