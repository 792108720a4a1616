/** How late renewals are: each change of a pair is noted by the database, with the moment for which it was planned. */
import type { Database } from '../../src/store/db/db.ts';
import { execute, query } from '../../src/store/db/query.ts';

/** Notes each renewal from now on. */
export async function recordRenewals(db: Database): Promise<void> {
  await execute(
    db,
    `
    create unlogged table bench_renewals (due timestamptz not null, expires timestamp, at timestamptz not null);
    create table bench_begin (at timestamptz not null);
    create function bench_renewal() returns trigger language plpgsql as $$ begin
      insert into bench_renewals values (coalesce(old.next_at, now()), old.expires_at, clock_timestamp()); return new;
    end $$;
    create trigger bench_renewal after update on hytale_game_sessions for each row
      when (old.version > 0 and new.version > old.version) execute function bench_renewal();`,
  );
}

/** Renewals that were due earlier than now do not count: they waited for the start of the workflows. */
export async function beginTimes(db: Database): Promise<void> {
  await execute(db, 'insert into bench_begin values (clock_timestamp())');
}

/** Seconds from the planned moment to the stored pair, of those that were due since the beginning. */
export async function lateness(db: Database) {
  const [row] = await query<Record<string, number>>(
    db,
    `with l as (select extract(epoch from r.at - r.due)::float8 as late, r.expires < r.at at time zone 'utc' as dead
                  from bench_renewals r, bench_begin b where r.due >= b.at)
     select count(*)::int as renewals, round((percentile_disc(0.5) within group (order by late))::numeric, 3)::float8 as p50,
            round((percentile_disc(0.99) within group (order by late))::numeric, 3)::float8 as p99,
            round(max(late)::numeric, 3)::float8 as max,
            round(100.0 * count(*) filter (where late <= 5) / greatest(count(*), 1), 3)::float8 as "percentWithin5s",
            count(*) filter (where dead)::int as "afterTheirEnd",
            (select count(*)::int from hytale_game_sessions g where g.next_at < now() - interval '5 seconds') as "overdueNow",
            (select count(*)::int from hytale_game_sessions g where coalesce(g.status, 'active') <> 'active') as "notActive"
       from l`,
  );
  return row;
}
