import type { Knex } from 'knex';
import { query } from '../../src/store/db/query.ts';

/**
 * Closes the runs that an earlier service left open, in any of its spellings. No process executes them, and the site
 * would show them as running for ever. What a run says of its end stays. When `sync_logs_one_active` exists, open rows belong to this service and stay.
 */
export async function closeInterruptedRuns(knex: Knex): Promise<void> {
  const [own] = await query<{ found: boolean }>(
    knex,
    "select to_regclass('sync_logs_one_active') is not null as found",
  );
  if (own?.found === true) return;
  await knex.raw(`
    update sync_logs
       set status = 'FAILED', error = coalesce(error, 'interrupted'),
           "completedAt" = coalesce("completedAt", now() at time zone 'utc'), "updatedAt" = now() at time zone 'utc'
     where replace(upper(trim(status::text)), '-', '_')
           in ('PENDING', 'RUNNING', 'IN_PROGRESS', 'CANCELLING', 'CANCELING')`);
}
