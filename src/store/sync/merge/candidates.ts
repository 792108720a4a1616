/** Mirrored rows that a listing did not contain: the panel is asked for them. */
import { type SourceRef, sourceColumns } from '../../../domain/sync/source-ref.ts';
import type { ConfirmedEntity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { query } from '../../db/query.ts';
import { MIRROR } from './tables.ts';

/** Mirrored rows that a complete source does not contain, in the order of their panel ids: the panel must confirm them. */
export async function deletionCandidates(
  db: Db,
  filter: {
    logId: string;
    entity: ConfirmedEntity;
    source: SourceRef;
    pass: number;
    after: number;
    limit: number;
  },
): Promise<{ id: number; uuid: string | null }[]> {
  const { entity } = filter;
  const id = entity === 'servers' ? `t."pterodactylId"` : 't.id';
  return query(
    db,
    `with staged as (
       select i.id from sync_pages p, unnest(p.ids) as i (id) where p.log_id = ? and p.source = ? and p.pass = ? and p.entity = ?
     )
     select ${id} as id, ${entity === 'locations' ? 'null::text' : 't.uuid'} as uuid from ${MIRROR[entity].table} t
     where ${MIRROR[entity].isPanelRow} and ${id} > ? and not exists (select 1 from staged s where s.id = ${id}) order by ${id} limit ?`,
    [filter.logId, sourceColumns(filter.source).source, filter.pass, entity, filter.after, filter.limit],
  );
}

/** Rows of this panel, and how many of them are not staged: the numbers that the prune guard decides on. */
export async function countCandidates(
  db: Db,
  filter: { logId: string; entity: ConfirmedEntity; source: SourceRef; pass: number },
): Promise<{ gone: number; present: number }> {
  const [present] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from ${MIRROR[filter.entity].table} t where ${MIRROR[filter.entity].isPanelRow}`,
  );
  const gone = await deletionCandidates(db, { ...filter, after: 0, limit: 1_000_000 });
  return { gone: gone.length, present: present?.n ?? 0 };
}
