/**
 * Expands the staged pages into `staged_x`, and refuses what cannot be true: a listing most of which cannot be read.
 *
 * The temporary tables of a merge, for each entity x; docs/guide/merge.md shows how they follow from each other:
 *
 * | table | rows |
 * | --- | --- |
 * | `staged_x` | records as they were staged |
 * | `target_x` | each row as it will be after the merge |
 * | `change_x` | the rows of `target_x` that are inserted or updated |
 * | `deleted_x` | ids of mirrored rows that are deleted |
 *
 * `rejected_by_mapping` holds the records that were rejected before they were staged, `missing_rows` what the panel said of
 * rows that a listing did not contain, `rejected_records` what this merge does not write.
 */

import { AppError } from '../../../domain/errors.ts';
import type { StagedEntity } from '../../../domain/sync/columns.ts';
import { sourceColumns } from '../../../domain/sync/source-ref.ts';
import type { Entity } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { execute, lastRows, query } from '../../db/query.ts';
import type { MergeScope } from './scope.ts';
import { ident, recordColumns, STAGED } from './tables.ts';

/** Stores what the scripts read by current_setting(); the values hold until the transaction ends. */
async function setScope(trx: Db, scope: MergeScope): Promise<void> {
  const sources = scope.sources.map(({ source, pass, complete, pages }) => ({
    ...sourceColumns(source),
    pass,
    complete,
    pages,
  }));
  await execute(trx, `select set_config('merge.log_id', ?, true), set_config('merge.sources', ?, true)`, [
    scope.logId,
    JSON.stringify(sources),
  ]);
}
const LOG_ID = `current_setting('merge.log_id')`;
/** SQL: the page p is of the source m that is merged. */
const OF_MERGED_SOURCE = `m.source = p.source and m."sourceId" is not distinct from p.source_id and m.pass = p.pass`;

const ALL_STAGED = Object.entries(STAGED) as [StagedEntity, (typeof STAGED)[StagedEntity]][];

/**
 * Fills `staged_x`; of a record that was read twice, the newest page wins.
 * @returns entities of which a record had no readable id.
 */
export async function expandStaging(trx: Db, scope: MergeScope): Promise<Set<string>> {
  await setScope(trx, scope);
  const withoutId = await lastRows<{ entity: string }>(trx, [
    `create temp table merged_sources on commit drop as
       select * from json_to_recordset(current_setting('merge.sources')::json)
         as x (source text, "sourceId" int, pass int, complete boolean, pages int)`,
    `create temp table staged_pages on commit drop as
       select p.source, m.complete, m.pages, p.page, p.entity, p.parent_id, p.has_gaps, p.rows, p.unreadable, p.rejects, p.missing, p.fetched_at
       from sync_pages p join merged_sources m on ${OF_MERGED_SOURCE} where p.log_id = ${LOG_ID}`,
    `create temp table rejected_records (entity text, panel_id text, code text, detail text, primary key (entity, panel_id)) on commit drop`,
    `create temp table rejected_by_mapping on commit drop as
       select distinct on (r.entity, r.id, r.server) r.entity, r.id, r.server, r.code, r.detail
       from staged_pages p, json_to_recordset(p.rejects) as r (entity text, id int, server int, code text, detail text)`,
    `create temp table missing_rows on commit drop as
       select m.entity, m.panel_id, m.alive from sync_missing m where m.log_id = ${LOG_ID}`,
    ...ALL_STAGED.map(
      ([entity, { identity }]) => `create temp table staged_${entity} on commit drop as
         select distinct on (${identity}) x.*
         from sync_pages p join merged_sources m on ${OF_MERGED_SOURCE}, json_to_recordset(p.body) as x (${recordColumns(entity)})
         where p.log_id = ${LOG_ID} and p.entity = '${entity}' and p.rows > 0
         order by ${identity}, p.fetched_at desc, p.page desc`,
    ),
    // The planner needs row counts and a few values only; the default target samples 30,000 rows of each table.
    'set local default_statistics_target = 10',
    ...ALL_STAGED.map(([entity, { joins }]) => `analyze staged_${entity} (${joins.map(ident).join(', ')})`),
    'analyze missing_rows',
    'select distinct p.entity from staged_pages p where p.unreadable > 0',
  ]);
  return new Set(withoutId.map((r) => r.entity));
}

/** Records of an entity up to which any number of them may be rejected. */
const FEW_RECORDS = 20;

/**
 * Refuses a run most of whose records of an entity were rejected: then the panel speaks another language than this service,
 * and what is stored is worth more than what was read.
 * @throws {AppError} PANEL_CONTRACT
 */
export async function refuseUnreadable(trx: Db, entities: readonly Entity[]): Promise<void> {
  const counted = await query<{ entity: Entity; readable: number; unreadable: number; example: string | null }>(
    trx,
    entities
      .map(
        (entity) => `select '${entity}' as entity, (select count(*) from staged_${entity})::int as readable,
          (select count(*) from rejected_by_mapping r where r.entity = '${entity}')::int
            + (select coalesce(sum(p.unreadable), 0) from staged_pages p where p.entity = '${entity}')::int as unreadable,
          (select min(r.detail) from rejected_by_mapping r where r.entity = '${entity}') as example`,
      )
      .join(' union all '),
  );
  for (const { entity, readable, unreadable, example } of counted) {
    if (readable + unreadable <= FEW_RECORDS || unreadable <= readable) continue;
    const why = example === null ? '' : `; for example, ${example}`;
    throw new AppError('PANEL_CONTRACT', {
      publicMessage: `${unreadable} of ${readable + unreadable} ${entity} that the panel sent cannot be read${why}. Nothing was changed`,
      meta: { entity, readable, unreadable },
    });
  }
}
