import type { Knex } from 'knex';
import { query } from '../../src/store/db/query.ts';

/**
 * Closes runs that the service before this one left open, in any of its spellings: nothing runs them any more, and the
 * site would show them for ever. Once `sync_logs_one_active` exists, open rows are ours and are left alone.
 */
export async function closeInterruptedRuns(knex: Knex): Promise<void> {
  const [own] = await query<{ found: boolean }>(
    knex,
    "select to_regclass('sync_logs_one_active') is not null as found",
  );
  if (own?.found === true) return;
  await knex.raw(`
    update sync_logs
       set status = 'FAILED', error = 'interrupted',
           "completedAt" = now() at time zone 'utc', "updatedAt" = now() at time zone 'utc'
     where replace(upper(trim(status::text)), '-', '_')
           in ('PENDING', 'RUNNING', 'IN_PROGRESS', 'CANCELLING', 'CANCELING')`);
}
