/** `/metrics`: what waits and what failed, for Prometheus. */
import { MAIL_STATUSES } from '../../domain/email.ts';
import { countMails } from '../../store/email/email-list.ts';
import { outboxBacklog } from '../../store/outbox-store.ts';
import { defineRoute, type Route } from '../http/route.ts';

interface Sample {
  label: string;
  value: number;
}

/** A label's value in the text format: backslash, quote and line break are escaped. */
const escaped = (text: string): string => text.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n');

/** One gauge in the text format of Prometheus, version 0.0.4. */
function gauge(name: string, help: string, label: string, samples: readonly Sample[]): string {
  const lines = samples.map((sample) => `${name}{${label}="${escaped(sample.label)}"} ${sample.value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...lines, ''].join('\n');
}

export const metricsRoutes: Route[] = [
  defineRoute({
    method: 'get',
    path: '/metrics',
    operationId: 'getMetrics',
    summary: 'Backlog of effects and mails in the text format of Prometheus',
    tags: ['Health'],
    auth: 'apiKeyOrAdmin',
    responses: { 200: { contentType: 'text/plain; version=0.0.4', description: 'Gauges' } },
    errors: [],
    async handler({ deps }) {
      const backlog = await outboxBacklog(deps.db);
      const mails = await countMails(deps.db);
      const byKind = (value: (row: (typeof backlog)[number]) => number): Sample[] =>
        backlog.map((row) => ({ label: row.kind, value: value(row) }));
      const raw = [
        gauge(
          'nodebyte_outbox_pending',
          'Effects that wait to be dispatched.',
          'kind',
          byKind((row) => row.pending),
        ),
        gauge(
          'nodebyte_outbox_failed',
          'Effects that nobody tries to dispatch any more.',
          'kind',
          byKind((row) => row.failed),
        ),
        gauge(
          'nodebyte_outbox_oldest_seconds',
          'Age in seconds of the oldest effect that waits; 0 when none does.',
          'kind',
          byKind((row) => row.oldestSeconds),
        ),
        gauge(
          'nodebyte_emails',
          'Mails by status.',
          'status',
          MAIL_STATUSES.map((status) => ({ label: status, value: mails.find((m) => m.status === status)?.count ?? 0 })),
        ),
      ].join('');
      return { status: 200, raw, headers: { 'Cache-Control': 'no-store' } };
    },
  }),
];
