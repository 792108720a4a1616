/**
 * Unique values that two rows want. One row gets the value. Of the others, a new record is rejected, and a row of the mirror
 * keeps the value that it has: only that column, everything else of it is written.
 */
import type { Db } from '../../db/db.ts';
import { query, script } from '../../db/query.ts';
import { differsFrom, ident, type MirrorSpec, type UniqueKey } from './tables.ts';

const values = (key: UniqueKey, alias: string) => key.values(alias).join(', ');

/**
 * SQL condition: a wanted value is wanted twice, or another row has it. It costs two hash passes; the statement that
 * finds out which row gets the value is seldom needed.
 */
export const isContested = ({ entity, table }: MirrorSpec, key: UniqueKey): string =>
  `(exists (select 1 from change_${entity} change where (${values(key, 'change')}) is not null group by ${values(key, 'change')} having count(*) > 1)
    or exists (select 1 from change_${entity} change join ${table} t on (${values(key, 't')}) = (${values(key, 'change')}) where t.id <> change.id))`;

/**
 * SQL: `losing`, the rows that do not get the value that they want.
 *
 * Of several rows that want a value, the one with the lowest panel id may get it. It does not get it from a row that keeps
 * it: one that is not written, or wants nothing else, or does not get what it wants itself; so losing goes along the chain.
 */
function losingRows({ entity, table }: MirrorSpec, key: UniqueKey): string {
  const columns = (alias: string) => key.values(alias).map((value, i) => `${value} as k${i}`);
  const same = (alias: string) => key.values(alias).map((value, i) => `${value} = w.k${i}`);
  const partition = key.values('w').map((_, i) => `w.k${i}`);
  const isReleased = RELEASED[entity];
  const released =
    key.release === undefined
      ? 'false'
      : [
          `exists (select 1 from deleted_${entity} deleted where deleted.id = t.id)`,
          ...(isReleased === undefined ? [] : [isReleased]),
        ].join(' or ');
  return `create temp table losing on commit drop as
    with recursive wanted as (
      select change.id, change.op, change.panel_id, ${columns('change').join(', ')}
      from change_${entity} change left join ${table} t on t.id = change.id
      where (${values(key, 'change')}) is not null and (change.op = 'c' or (${values(key, 't')}) is distinct from (${values(key, 'change')}))
    ), ranked as (
      select w.id, row_number() over (partition by ${partition.join(', ')} order by w.panel_id::bigint) as place from wanted w
    ), held as (
      select w.id, t.id as holder, ${key.release === undefined ? 'false' : 'x.id is not null'} as moves
      from wanted w join ${table} t on ${same('t').join(' and ')} and t.id <> w.id left join wanted x on x.id = t.id
      where not (${released})
    ), lost as (
      (select r.id from ranked r where r.place > 1 union select h.id from held h where not h.moves)
      union select h.id from held h join lost l on l.id = h.holder
    ) select l.id, w.op, w.panel_id from lost l join wanted w on w.id = l.id`;
}

/** SQL over alias t: rows that give up the panel's id before anything is written. */
const RELEASED: Partial<Record<MirrorSpec['entity'], string>> = {
  users: 'exists (select 1 from unlinked_users u where u.id = t.id)',
  servers: 'exists (select 1 from released_servers r where r.id = t.id)',
};

/**
 * Settles each unique key: new records that lose are taken out of `change_x`, rows that lose keep what they have.
 */
export async function resolveConflicts(trx: Db, spec: MirrorSpec): Promise<void> {
  const { entity, table } = spec;
  const differs = differsFrom(spec, 't', 'change');
  for (const key of spec.unique) {
    const kept = key.columns.map(ident);
    const keep = (to: string) =>
      `update ${to}_${entity} ${to} set ${kept.map((column) => `${column} = t.${column}`).join(', ')} from losing l join ${table} t on t.id = l.id where l.op = 'u' and ${to}.id = l.id`;
    await query(
      trx,
      script([
        losingRows(spec, key),
        `insert into rejected_records select '${entity}', l.panel_id, '${key.code}', '${key.detail}' from losing l on conflict do nothing`,
        `update target_${entity} target set rejected = true from losing l where l.op = 'c' and target.id = l.id`,
        `delete from change_${entity} change using losing l where l.op = 'c' and change.id = l.id`,
        keep('target'),
        keep('change'),
        `delete from change_${entity} change using losing l, ${table} t where l.op = 'u' and change.id = l.id and t.id = change.id and not (${differs})`,
        'drop table losing',
      ]),
    );
  }
}
