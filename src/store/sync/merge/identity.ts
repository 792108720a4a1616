/**
 * What the plan says about identities: ids that the panel gave again, and a panel that is not the one that was mirrored. An
 * id means something only together with a uuid.
 */
import { AppError } from '../../../domain/errors.ts';
import type { Entity, SyncWarning } from '../../../domain/sync/targets.ts';
import type { Db } from '../../db/db.ts';
import { query } from '../../db/query.ts';
import type { MergeScope } from './scope.ts';

/** Known rows up to which any number of them may have another uuid: a small panel may be installed again. */
const FEW_ROWS = 20;
/** Ids that one warning names. */
const NAMED = 20;

interface Identity {
  entity: Entity;
  /** Rows of the mirror with a uuid that a record was found to be, or that have the id of one. */
  known: number;
  /** Those whose id belongs to another uuid now, and whose own uuid the panel does not list. */
  other: number;
  ids: number[];
}

const IDENTIFIED = ['nodes', 'nests', 'eggs', 'users', 'servers'] as const satisfies readonly Entity[];
type Identified = (typeof IDENTIFIED)[number];

/** SQL: the identities of one entity. */
function identitiesOf(entity: Identified): string {
  const facts = (known: string, other: string) =>
    `select '${entity}' as entity, (${known})::int as known, count(*)::int as other, coalesce((array_agg(o.id order by o.id))[1:${NAMED}], '{}') as ids from (${other}) o`;
  switch (entity) {
    case 'users':
      return facts(
        `select count(*) from target_users target where target.found`,
        `select u.panel_id as id from unlinked_users u where u.reused`,
      );
    case 'servers':
      return facts(
        `select count(*) from target_servers target where target.found`,
        `select r.panel_id as id from released_servers r`,
      );
    default:
      return facts(
        `select count(*) from target_${entity} target where target.found`,
        `select change.id from change_${entity} change join ${entity} t on t.id = change.id
         where change.op = 'u' and change.uuid <> t.uuid and t.uuid not in (select s.uuid from staged_${entity} s)`,
      );
  }
}

/**
 * Refuses a run whose records are other things than those that were mirrored under their ids, and names single ids that were
 * given again.
 * @throws {AppError} PANEL_CHANGED when most known rows have another uuid, unless `allowed`.
 */
export async function checkIdentities(trx: Db, scope: MergeScope, allowed: boolean): Promise<SyncWarning[]> {
  const entities = IDENTIFIED.filter((entity) => scope.entities.includes(entity));
  if (entities.length === 0) return [];
  const found = await query<Identity>(trx, entities.map(identitiesOf).join(' union all '));
  const changed = found.filter(({ other }) => other > 0);
  const total = { known: sum(found, 'known'), other: sum(found, 'other') };
  if (!allowed && [...found.map(withOther), withOther(total)].some(isExchanged)) {
    const numbers = changed.map(({ entity, other }) => `${other} ${entity}`).join(', ');
    throw new AppError('PANEL_CHANGED', {
      publicMessage: `Another panel answers than the one that was mirrored: ${numbers} have a known id and another uuid. Nothing was changed. If the panel was exchanged or installed again on purpose, set sync_allow_mass_prune for one sync`,
    });
  }
  return changed.map(({ entity, other, ids }) => ({
    code: 'ID_REUSED',
    entity,
    message: `the panel gave ids of ${other} ${entity} to others (ids ${ids.join(', ')}${other > ids.length ? ', …' : ''})${KEPT[entity] ?? ''}`,
  }));
}

/** What becomes of the rows that had the id. */
const KEPT: Partial<Record<Entity, string>> = {
  users: '; the accounts of the former users stay, without a panel user',
  servers: '; the rows of the former servers stay, without a panel id',
};

const sum = (list: readonly Identity[], field: 'known' | 'other'): number => list.reduce((n, one) => n + one[field], 0);
/** Rows that were not found to be their record count as known, too. */
const withOther = ({ known, other }: Pick<Identity, 'known' | 'other'>) => ({ known: known + other, other });
const isExchanged = ({ known, other }: Pick<Identity, 'known' | 'other'>): boolean =>
  known > FEW_ROWS && other * 2 > known;
