/** Unique values that two rows want: one row keeps the value, the other record is rejected. */
import type { Db } from '../../db/db.ts';
import { query } from '../../db/query.ts';
import type { MirrorSpec, UniqueKey } from './tables.ts';

const unique = (key: UniqueKey, alias: string) => key.columns(alias).join(', ');

/**
 * SQL condition: a wanted value is wanted twice, or another row has it. It costs two hash passes; the statement that
 * finds out which row keeps the value is seldom needed.
 */
export const conflictOf = ({ entity, table }: MirrorSpec, key: UniqueKey): string =>
  `(exists (select 1 from change_${entity} change group by ${unique(key, 'change')} having count(*) > 1)
    or exists (select 1 from change_${entity} change join ${table} t on (${unique(key, 't')}) = (${unique(key, 'change')}) where t.id <> change.id))`;

/** Takes rows whose unique value is not free out of `change_x` and rejects them. */
export async function resolveConflicts(trx: Db, spec: MirrorSpec): Promise<void> {
  for (const key of spec.unique) {
    // Each round may release or block further values; a chain is never longer than the number of changed rows.
    for (let round = 0; round < 50; round += 1) {
      if (!(await mayConflict(trx, spec, key)) || (await rejectConflicts(trx, spec, key)) === 0) break;
    }
  }
}

async function mayConflict(trx: Db, spec: MirrorSpec, key: UniqueKey): Promise<boolean> {
  const [found] = await query<{ conflict: boolean }>(trx, `select ${conflictOf(spec, key)} as conflict`);
  return found?.conflict === true;
}

async function rejectConflicts(trx: Db, spec: MirrorSpec, key: UniqueKey): Promise<number> {
  const { entity, table } = spec;
  const releasable = key.release !== undefined;
  // A wanted value stays with the row that has it today and does not give it up (rank 0: a row that is not written at
  // all), else it goes to the row with the lower panel id.
  const [result] = await query<{ n: number }>(
    trx,
    `with changed as (
       select distinct ${key
         .columns('change')
         .map((c, i) => `${c} as k${i}`)
         .join(', ')} from change_${entity} change left join ${table} t on t.id = change.id
       where change.op = 'c' or (${unique(key, 't')}) is distinct from (${unique(key, 'change')})
     ), holders as (
       select t.id::text as id, ${key
         .columns('t')
         .map((c, i) => `${c} as k${i}`)
         .join(', ')}, 0 as rank, 0::bigint as "panelId"
       from ${table} t join changed c on ${key
         .columns('t')
         .map((k, i) => `${k} = c.k${i}`)
         .join(' and ')}
       where ${
         releasable
           ? `not exists (select 1 from deleted_${entity} deleted where deleted.id = t.id) and not exists (select 1 from change_${entity} change where change.id = t.id)`
           : `not exists (select 1 from change_${entity} change where change.id = t.id and (${unique(key, 'change')}) is not distinct from (${unique(key, 't')}))`
       }
       union all
       select change.id::text, ${unique(key, 'change')}, case when (${unique(key, 't')}) is not distinct from (${unique(key, 'change')}) then 1 else 2 end, change.panel_id::bigint
       from change_${entity} change join changed c on ${key
         .columns('change')
         .map((k, i) => `${k} = c.k${i}`)
         .join(' and ')} left join ${table} t on t.id = change.id
     ), ranked as (
       select h.id, h.rank, row_number() over (partition by ${key
         .columns('h')
         .map((_, i) => `h.k${i}`)
         .join(', ')} order by h.rank, h."panelId") as place from holders h
     ), losers as (
       select r.id from ranked r where r.place > 1 and r.rank > 1
     ), removed as (
       delete from change_${entity} change using losers l where change.id::text = l.id returning change.panel_id
     ), marked as (
       update target_${entity} target set rejected = true from removed r where target.panel_id = r.panel_id returning target.panel_id
     ), noted as (
       insert into rejected_records select '${entity}', m.panel_id, '${key.code}', '${key.detail}' from marked m on conflict do nothing
     ) select count(*)::int as n from removed`,
  );
  return result?.n ?? 0;
}
