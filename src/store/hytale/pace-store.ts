/** `hytale_pace`: when the next call of Hytale may be made, for all workers together. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** Takes the next turn. @returns milliseconds until it. A turn that is not used is lost. */
export async function takeTurn(db: Db, environment: HytaleEnvironment, perSecond: number): Promise<number> {
  const [turn] = await query<{ ms: number }>(
    db,
    `insert into hytale_pace as p (environment, turn_at) values (?, clock_timestamp())
     on conflict (environment) do update
       set turn_at = greatest(p.turn_at + make_interval(secs => 1 / ?::float8), clock_timestamp())
     returning (extract(epoch from turn_at - clock_timestamp()) * 1000)::float8 as ms`,
    [environment, perSecond],
  );
  return Math.max(0, turn?.ms ?? 0);
}
