/** Nests and eggs for administrators. Reads only. */
import type { Db } from '../db/db.ts';
import { contains, query } from '../db/query.ts';

export interface NestRow {
  id: number;
  uuid: string | null;
  name: string | null;
  description: string | null;
  author: string | null;
  eggCount: number;
  serverCount: number;
  createdAt: Date | null;
  updatedAt: Date | null;
}

export interface EggRow extends Omit<NestRow, 'eggCount'> {
  nestId: number;
  nestName: string | null;
}

interface Condition {
  sql: string;
  bindings: unknown[];
}
interface Page {
  limit: number;
  offset: number;
}

export interface NestFilter {
  /** Looked for in the name, as it stands. */
  search?: string | undefined;
}

const nestCondition = ({ search }: NestFilter): Condition =>
  search === undefined ? { sql: 'true', bindings: [] } : { sql: 'n.name ilike ?', bindings: [contains(search)] };

/** Number of nests that a filter finds. */
export async function countNests(db: Db, filter: NestFilter): Promise<number> {
  const { sql, bindings } = nestCondition(filter);
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from nests n where ${sql}`, bindings);
  return count?.n ?? 0;
}

/** A page of nests by name. A server counts for the nest of its egg; without an egg, for its own nest. */
export function listNests(db: Db, page: NestFilter & Page): Promise<NestRow[]> {
  const { sql, bindings } = nestCondition(page);
  return query(
    db,
    `with page as (
       select n.id, n.uuid, n.name, n.description, n.author, n."createdAt", n."updatedAt"
         from nests n where ${sql} order by n.name, n.id limit ? offset ?)
     select p.id, p.uuid, p.name, p.description, p.author, p."createdAt", p."updatedAt",
            coalesce(e.found, 0) as "eggCount", coalesce(s.found, 0) as "serverCount"
       from page p
       left join (select e."nestId", count(*)::int as found from eggs e
                   where e."nestId" = any(array(select page.id from page)) group by 1) e on e."nestId" = p.id
       left join (select coalesce(e."nestId", s."nestId") as "nestId", count(*)::int as found
                    from servers s left join eggs e on e.id = s."eggId"
                   where coalesce(e."nestId", s."nestId") = any(array(select page.id from page))
                   group by 1) s on s."nestId" = p.id
      order by p.name, p.id`,
    [...bindings, page.limit, page.offset],
  );
}

export interface EggFilter {
  nestId?: number | undefined;
  /** Looked for in name and description, as it stands. */
  search?: string | undefined;
}

function eggCondition({ nestId, search }: EggFilter): Condition {
  const conditions: string[] = [];
  const bindings: unknown[] = [];
  if (nestId !== undefined) {
    conditions.push('e."nestId" = ?');
    bindings.push(nestId);
  }
  if (search !== undefined) {
    conditions.push('(e.name ilike ? or e.description ilike ?)');
    bindings.push(contains(search), contains(search));
  }
  return { sql: conditions.join(' and ') || 'true', bindings };
}

/** Number of eggs that a filter finds. */
export async function countEggs(db: Db, filter: EggFilter): Promise<number> {
  const { sql, bindings } = eggCondition(filter);
  const [count] = await query<{ n: number }>(db, `select count(*)::int as n from eggs e where ${sql}`, bindings);
  return count?.n ?? 0;
}

/** A page of eggs by name of the nest and name. */
export function listEggs(db: Db, page: EggFilter & Page): Promise<EggRow[]> {
  const { sql, bindings } = eggCondition(page);
  return query(
    db,
    `with page as (
       select e.id, e.uuid, e.name, e.description, e.author, e."nestId", n.name as "nestName", e."createdAt", e."updatedAt"
         from eggs e left join nests n on n.id = e."nestId"
        where ${sql} order by n.name, n.id, e.name, e.id limit ? offset ?)
     select p.id, p.uuid, p.name, p.description, p.author, p."nestId", p."nestName", p."createdAt", p."updatedAt",
            coalesce(s.found, 0) as "serverCount"
       from page p
       left join (select s."eggId", count(*)::int as found from servers s
                   where s."eggId" = any(array(select page.id from page)) group by 1) s on s."eggId" = p.id
      order by p."nestName", p."nestId", p.name, p.id`,
    [...bindings, page.limit, page.offset],
  );
}
