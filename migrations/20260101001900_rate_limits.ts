import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

export const TABLES = [
  // Token buckets: one row per limiter and identity. A key is a digest of fixed length, so no address is stored.
  defineTable(
    'rate_limits',
    `
    key text not null primary key
    tokens double precision not null
    capacity double precision not null
    refill_per_second double precision not null
    updated_at timestamptz not null default current_timestamp
    `,
    'idx_rate_limits_updated_at (updated_at)',
  ),
];

export const FUNCTIONS = [
  {
    signature: 'take_rate_limit_tokens(json)',
    result: 'TABLE(bucket text, left_over double precision, had_one boolean)',
  },
];

/**
 * Takes one token from each bucket, or no token when one bucket is empty. A missing row is a full bucket.
 * - It is a function, because a row must exist before it can be locked. In one SQL statement, concurrent requests that
 *   create the same bucket would all find it full.
 * - A refused call creates no further buckets, so that refused callers cannot fill the table.
 * - Rows are locked in the order of their keys, so that calls cannot deadlock.
 * - A call that waited for a lock may have an older time than the row. The function then uses the time of the row.
 */
const FUNCTION = `
create or replace function take_rate_limit_tokens(wanted json)
returns table (bucket text, left_over double precision, had_one boolean) language plpgsql as $$
declare
  at timestamptz := clock_timestamp();
  all_had boolean;
begin
  if not exists (
    select 1 from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) join rate_limits r on r.key = w.key
    where least(w.capacity, r.tokens + w.refill * greatest(0, extract(epoch from at - r.updated_at))) < 1
  ) then
    insert into rate_limits (key, tokens, capacity, refill_per_second, updated_at)
      select w.key, w.capacity, w.capacity, w.refill, at
      from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) order by w.key
      on conflict (key) do nothing;
  end if;
  perform 1 from rate_limits r
    where r.key in (select w.key from json_to_recordset(wanted) as w (key text)) order by r.key for update;
  at := clock_timestamp();
  update rate_limits r set capacity = w.capacity, refill_per_second = w.refill, updated_at = greatest(r.updated_at, at),
      tokens = least(w.capacity, r.tokens + w.refill * greatest(0, extract(epoch from at - r.updated_at)))
    from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) where w.key = r.key;
  select bool_and(coalesce(r.tokens, w.capacity) >= 1) into all_had
    from json_to_recordset(wanted) as w (key text, capacity float8) left join rate_limits r on r.key = w.key;
  if all_had then
    update rate_limits r set tokens = r.tokens - 1
      from json_to_recordset(wanted) as w (key text) where w.key = r.key;
  end if;
  return query
    select w.key, coalesce(r.tokens, w.capacity), all_had or coalesce(r.tokens, w.capacity) >= 1
    from json_to_recordset(wanted) as w (key text, capacity float8) left join rate_limits r on r.key = w.key;
end $$`;

/** Rate limits that all api processes share. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  await knex.raw(FUNCTION);
}

/** Drops the table and the function: every bucket is full again. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
