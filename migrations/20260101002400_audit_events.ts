import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // Who did what to which account, and how it ended. No foreign key: an event outlives the account that it is about.
  // `network` is a keyed digest, `details` holds words and ids: no address, no name, no secret.
  defineTable(
    'audit_events',
    `
    id bigint not null primary key
    at timestamptz not null default current_timestamp
    action text not null
    outcome text not null
    actor_type text not null
    actor_id text
    target_type text
    target_id text
    network text
    request_id text
    details jsonb not null default '{}'
    `,
    `
    idx_audit_events_at (at desc, id desc)
    idx_audit_events_target (target_type, target_id, at desc) where target_id is not null
    idx_audit_events_actor (actor_type, actor_id, at desc) where actor_id is not null
    `,
  ),
];

export const FUNCTIONS = [{ signature: 'keep_audit_events()', result: 'trigger' }];

/** Numbers the events in the order of writing, since those of one transaction have one time. */
const NUMBERED = `
do $$ begin
  if exists (select 1 from pg_attribute where attrelid = 'audit_events'::regclass and attname = 'id' and attidentity = '') then
    alter table audit_events alter column id add generated always as identity;
  end if;
end $$;`;

/**
 * The table is append-only. The database holds this, so that a defect of the service, or somebody with its connection,
 * cannot change the record: no row is changed, and none is deleted before it is a year old. There is no switch for it.
 */
const APPEND_ONLY = `
drop trigger if exists audit_events_append_only on audit_events;
drop trigger if exists audit_events_no_truncate on audit_events;
create or replace function keep_audit_events() returns trigger language plpgsql as $$
begin
  if tg_level = 'ROW' and tg_op = 'DELETE' then
    if old.at < now() - interval '365 days' then return old; end if;
  end if;
  raise exception 'audit_events is append-only: % refused', lower(tg_op) using errcode = 'restrict_violation';
end $$;
create trigger audit_events_append_only before update or delete on audit_events
  for each row execute function keep_audit_events();
create trigger audit_events_no_truncate before truncate on audit_events
  for each statement execute function keep_audit_events();
alter table audit_events enable always trigger audit_events_append_only;
alter table audit_events enable always trigger audit_events_no_truncate;`;

/** The record of security events and of what administrators change. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  await knex.raw(NUMBERED + APPEND_ONLY);
}

/** Drops the table: the record is lost. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
