import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

/** An index for each filter of the list of deliveries, in its order, and for what ended before or since a time. */
const INDEXES = [
  'idx_webhook_deliveries_status on webhook_deliveries (status, created_at desc, id desc)',
  'idx_webhook_deliveries_webhook on webhook_deliveries (webhook_id, created_at desc, id desc)',
  'idx_webhook_deliveries_event on webhook_deliveries (event text_pattern_ops, created_at desc, id desc)',
  'idx_webhook_deliveries_ended on webhook_deliveries (ended_at) where ended_at is not null',
  `idx_webhook_deliveries_failed on webhook_deliveries (ended_at) where status = 'failed'`,
];

/** Indexes for the list of deliveries, for their retention and for what failed lately. */
export async function up(knex: Knex): Promise<void> {
  for (const index of INDEXES) await knex.raw(`create index if not exists ${index}`);
}

/** Drops the indexes. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
