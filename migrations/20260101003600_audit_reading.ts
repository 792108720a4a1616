import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';

export const FUNCTIONS = [{ signature: 'keep_audit_events()', result: 'trigger' }];

/** One index per filter of the list, in its order, so that a page is read and not sorted. */
const INDEXES = `
create index if not exists idx_audit_events_action on audit_events (action, at desc, id desc);
create index if not exists idx_audit_events_actor_type on audit_events (actor_type, at desc, id desc);
create index if not exists idx_audit_events_refused on audit_events (at desc, id desc) where outcome = 'refused';
create index if not exists idx_audit_events_network on audit_events (network, at desc, id desc) where network is not null;
create index if not exists idx_audit_events_request on audit_events (request_id) where request_id is not null;`;

/** The function of the append-only trigger; ADR 13 says why its days are fewer than those of the retention. */
const keepFor = (days: number): string => `
create or replace function keep_audit_events() returns trigger language plpgsql as $$
begin
  if tg_level = 'ROW' and tg_op = 'DELETE' then
    if old.at < now() - interval '${days} days' then return old; end if;
  end if;
  raise exception 'audit_events is append-only: % refused', lower(tg_op) using errcode = 'restrict_violation';
end $$;`;

/** Indexes for reading the audit, and events that the retention may delete after 30 days. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(INDEXES + keepFor(30));
}

/** Drops the indexes; events are kept for a year again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
  await knex.raw(keepFor(365));
}
