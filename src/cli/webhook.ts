/** `webhook list|deliveries|resend|test`: on the command line what the API offers administrators. */
import { type Command, Option } from 'commander';
import pino from 'pino';
import { createDiscordClient } from '../clients/discord/client.ts';
import { DELIVERY_STATUSES, type DeliveryStatus } from '../domain/webhooks.ts';
import { webhookTestMessage } from '../messages/discord/test-message.ts';
import { OPERATOR } from '../services/audit/record-change.ts';
import { requireDeliveryId, resendDelivery } from '../services/webhooks/resend-delivery.ts';
import { testWebhook } from '../services/webhooks/test-webhook.ts';
import { shownUrl } from '../services/webhooks/webhook-form.ts';
import { createEncryption } from '../store/db/encryption.ts';
import { countDeliveries, type DeliveryRow, listDeliveries } from '../store/webhooks/delivery-list.ts';
import type { StoredWebhook } from '../store/webhooks/webhook-list.ts';
import { createWebhookStore } from '../store/webhooks/webhook-store.ts';
import { type CommandIo, runCommand } from './support/command.ts';
import { wholeNumber, withJson } from './support/options.ts';
import { type ServiceRun, withServices } from './support/services.ts';
import { printable, table } from './support/terminal.ts';

interface Flags {
  json?: boolean;
}
interface DeliveryFlags extends Flags {
  status: DeliveryStatus | 'all';
  webhook?: string;
  limit: number;
  page: number;
}

/** Adds the `webhook` commands. A command that fails prints why and sets the exit code. */
export function registerWebhookCommands(program: Command, io: CommandIo = process): void {
  const webhook = program.command('webhook').description('webhooks, their deliveries and tests');
  const run = (flags: Flags, work: (run: ServiceRun) => Promise<void>): Promise<void> =>
    runCommand(io, flags, (command) => withServices(command, work));

  withJson(webhook.command('list'))
    .description('webhooks, newest first; their URLs are masked')
    .action((flags: Flags) => run(flags, list));
  withJson(webhook.command('deliveries'))
    .description('deliveries, newest first, and why they failed or wait')
    .addOption(new Option('--status <status>', 'status').choices(['all', ...DELIVERY_STATUSES]).default('all'))
    .option('--webhook <id>', 'only those to this webhook')
    .option('-n, --limit <n>', 'deliveries per page', wholeNumber(1, 500), 25)
    .option('--page <n>', 'page', wholeNumber(1, 1_000_000), 1)
    .action((flags: DeliveryFlags) => run(flags, (one) => deliveries(one, flags)));
  withJson(webhook.command('resend'))
    .description('send the message of an ended delivery again')
    .argument('<id>', 'id of the delivery')
    .action((id: string, flags: Flags) => run(flags, (one) => resend(one, id)));
  withJson(webhook.command('test'))
    .description('send a test message to a webhook')
    .argument('<id>', 'id of the webhook')
    .action((id: string, flags: Flags) => run(flags, (one) => sendTest(one, id)));
}

const quiet = pino({ level: 'silent' });

const storeOf = ({ services: { config, encryptionKey: key } }: ServiceRun) =>
  createWebhookStore(createEncryption({ key, previousKey: config.encryptionKeyPrevious }));

async function list(run: ServiceRun): Promise<void> {
  const webhooks = (await storeOf(run).list(run.db)).map(shown);
  const header = ['id', 'name', 'type', 'scope', 'enabled', 'url', 'switched off because'];
  const rows = webhooks.map(({ id, name, type, scope, enabled, webhookUrl, disabledReason }) =>
    [id, name, type, scope, enabled ? 'yes' : 'no', webhookUrl, disabledReason ?? ''].map(printable),
  );
  run.print({ webhooks }, webhooks.length === 0 ? ['no webhooks'] : table(header, rows));
}

/** A webhook without its token. */
const shown = (webhook: StoredWebhook) => {
  const { id, name, type, scope, description, enabled, testSuccessAt, createdAt, disabledReason, disabledAt } = webhook;
  const webhookUrl = shownUrl(webhook);
  return {
    id,
    name,
    webhookUrl,
    type,
    scope,
    description,
    enabled,
    testSuccessAt,
    createdAt,
    disabledReason,
    disabledAt,
  };
};

async function deliveries(run: ServiceRun, { status, webhook: webhookId, limit, page }: DeliveryFlags): Promise<void> {
  const filter = { status: status === 'all' ? undefined : status, webhookId };
  const total = await countDeliveries(run.db, filter);
  const rows = await listDeliveries(run.db, { ...filter, limit, offset: (page - 1) * limit });
  const header = ['created', 'event', 'webhook', 'status', 'attempts', 'id', 'reason'];
  run.print({ deliveries: rows, total }, [
    ...(rows.length === 0 ? ['no such deliveries'] : table(header, rows.map(cells))),
    ...(page * limit < total ? [`${total} in all; more: --page ${page + 1}`] : []),
  ]);
}

const cells = (row: DeliveryRow): string[] =>
  [
    row.createdAt.toISOString(),
    row.event,
    row.webhookName,
    row.status,
    String(row.attempts),
    row.id,
    row.pauseReason ?? row.reason ?? '',
  ].map(printable);

async function resend({ db, print }: ServiceRun, text: string): Promise<void> {
  const id = requireDeliveryId(text);
  const { id: deliveryId, repeated } = await resendDelivery({ db, log: quiet }, id, OPERATOR);
  print({ deliveryId, repeated }, [`${repeated ? 'sent again before' : 'sent again'}: ${deliveryId}`]);
}

async function sendTest(run: ServiceRun, id: string): Promise<void> {
  const { db, services, print } = run;
  const webhookUrlRules = services.config.discord;
  const discord = createDiscordClient(webhookUrlRules);
  try {
    const deps = { db, webhooks: storeOf(run), webhookUrlRules, discord, log: quiet };
    await testWebhook(deps, id, webhookTestMessage(new Date()), OPERATOR);
  } finally {
    await discord.close();
  }
  print({ id, success: true }, ['the test message arrived']);
}
