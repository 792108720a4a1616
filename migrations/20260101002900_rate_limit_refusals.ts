import type { Knex } from 'knex';

export const FUNCTIONS = [
  {
    signature: 'take_rate_limit_tokens(json)',
    result: 'TABLE(bucket text, left_over double precision, had_one boolean)',
  },
];

/**
 * As in `rate_limits`, but a call that finds an empty bucket only reads: a flood of refused requests would otherwise
 * write and lock one row after another.
 */
const FUNCTION = `
create or replace function take_rate_limit_tokens(wanted json)
returns table (bucket text, left_over double precision, had_one boolean) language plpgsql as $$
declare
  at timestamptz := clock_timestamp();
  all_had boolean;
begin
  return query
    with present as (
      select w.key, coalesce(least(w.capacity,
        r.tokens + w.refill * greatest(0, extract(epoch from at - r.updated_at))), w.capacity)::float8 as tokens
      from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) left join rate_limits r on r.key = w.key
    )
    select p.key, p.tokens, p.tokens >= 1 from present p where exists (select 1 from present e where e.tokens < 1);
  if found then return; end if;
  insert into rate_limits (key, tokens, capacity, refill_per_second, updated_at)
    select w.key, w.capacity, w.capacity, w.refill, at
    from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) order by w.key
    on conflict (key) do nothing;
  perform 1 from rate_limits r
    where r.key in (select w.key from json_to_recordset(wanted) as w (key text)) order by r.key for update;
  at := clock_timestamp();
  update rate_limits r set capacity = w.capacity, refill_per_second = w.refill, updated_at = greatest(r.updated_at, at),
      tokens = least(w.capacity, r.tokens + w.refill * greatest(0, extract(epoch from at - r.updated_at)))
    from json_to_recordset(wanted) as w (key text, capacity float8, refill float8) where w.key = r.key;
  select bool_and(r.tokens >= 1) into all_had
    from json_to_recordset(wanted) as w (key text) join rate_limits r on r.key = w.key;
  if all_had then
    update rate_limits r set tokens = r.tokens - 1
      from json_to_recordset(wanted) as w (key text) where w.key = r.key;
  end if;
  return query
    select w.key, r.tokens, all_had or r.tokens >= 1
    from json_to_recordset(wanted) as w (key text) join rate_limits r on r.key = w.key;
end $$`;

/** Replaces the function. */
export async function up(knex: Knex): Promise<void> {
  await knex.raw(FUNCTION);
}

/** Keeps the function: a release before this one calls it in the same way. */
export async function down(_knex: Knex): Promise<void> {}
