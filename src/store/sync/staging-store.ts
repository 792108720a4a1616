/**
 * Staging (ADR 1): the pages of a running sync as they were read. Each write passes the fence: the log row must still be
 * RUNNING, so a run that was closed, cancelled or replaced writes nothing any more.
 */
import { AppError } from '../../domain/errors.ts';
import type { MappedPage } from '../../domain/panel/records.ts';
import type { StagingSummary } from '../../domain/sync/progress.ts';
import { isListing, primaryEntity, type SourceRef, sourceColumns } from '../../domain/sync/source-ref.ts';
import { type Entity, LISTINGS, type Listing } from '../../domain/sync/targets.ts';
import { type Db, inTransaction } from '../db/db.ts';
import { COMMIT_LATER, execute, query } from '../db/query.ts';

/** A source as one pass of a run staged it. */
export interface StagedSource {
  logId: string;
  source: SourceRef;
  pass: number;
}

/** SQL condition over alias p: the page is of a {@link StagedSource}, whose {@link bindingsOf} it takes. */
export const OF_SOURCE =
  'p.log_id = ? and p.source = ? and coalesce(p.source_id, -1) = coalesce(?::int, -1) and p.pass = ?';

export function bindingsOf({ logId, source, pass }: StagedSource): (string | number | null)[] {
  const columns = sourceColumns(source);
  return [logId, columns.source, columns.sourceId, pass];
}

export interface StagePageInput {
  logId: string;
  source: SourceRef;
  pass: number;
  page: number;
  total: number;
  perPage: number;
  mapped: MappedPage;
  /**
   * The page need not outlive a crash of PostgreSQL yet. Commits reach the disk in order, so the next page without this makes
   * it durable; {@link flushPages} does so without a page.
   */
  commitLater?: boolean;
}

/** A page as the statements take it, its records as text. */
export interface EncodedPage {
  page: Omit<StagePageInput, 'mapped'>;
  missingIncludes: string;
  parts: {
    entity: string;
    parent: number | null;
    gaps: boolean;
    rows: number;
    body: string;
    rejects: string;
    unreadable: number;
    ids: number[];
  }[];
}

/**
 * Turns a page into text. A caller that waits for something should keep this and drop the page: thousands of small objects
 * that live on are what costs most when a page is read.
 */
export function encodePage({ mapped, ...page }: StagePageInput): EncodedPage {
  return {
    page,
    missingIncludes: JSON.stringify(mapped.missingIncludes),
    parts: mapped.parts.map((part, i) => ({
      entity: part.entity,
      parent: part.parent,
      gaps: part.gaps,
      rows: part.rows.length,
      body: JSON.stringify(part.rows),
      // The rejected records of a page are stored with its first part.
      rejects: i === 0 ? JSON.stringify(mapped.rejected) : '[]',
      unreadable: unreadableOf(mapped, part),
      ids: idsOf(page.source, mapped, part),
    })),
  };
}

/** Stores one page; see {@link stageEncoded}. */
export const stagePage = (db: Db, page: StagePageInput) => stageEncoded(db, encodePage(page));

/** Rows per insert statement, so that a listing of 100,000 allocations is never one string. */
const ROWS_PER_STATEMENT = 4_000;

/**
 * Stores one page, all its parts or none. A page that is staged again replaces its earlier parts; a late page of an
 * earlier pass replaces nothing.
 * @returns `cancelled` when the run is being cancelled: nothing was stored.
 * @throws {AppError} RUN_CLOSED when the row is not RUNNING any more.
 */
export async function stageEncoded(db: Db, encoded: EncodedPage): Promise<'staged' | 'cancelled'> {
  const chunks: EncodedPage['parts'][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const part of encoded.parts) {
    if (size + part.rows > ROWS_PER_STATEMENT || (chunks.at(-1)?.length ?? 0) >= 200) {
      chunks.push([]);
      size = 0;
    }
    chunks.at(-1)?.push(part);
    size += part.rows;
  }
  const write = async (target: Db) => {
    for (const chunk of chunks) {
      const outcome = await insertParts(target, encoded, chunk);
      if (outcome !== 'staged') return outcome;
    }
    return 'staged' as const;
  };
  return chunks.length === 1 ? write(db) : inTransaction(db, write);
}

async function insertParts(
  db: Db,
  { page, missingIncludes }: EncodedPage,
  parts: EncodedPage['parts'],
): Promise<'staged' | 'cancelled'> {
  const { source, sourceId } = sourceColumns(page.source);
  const values = parts
    .map(() => '(?::text, ?::int, ?::boolean, ?::int, ?::json, ?::json, ?::int, ?::int[])')
    .join(', ');
  const [result] = await query<{ open: boolean | null }>(
    db,
    `with fence as (
       select "cancelledAt" is null as open, case when ?::boolean then ${COMMIT_LATER} end as later
       from sync_logs where id = ? and status = 'RUNNING' for key share
     ), stored as (
       insert into sync_pages (log_id, source, source_id, page, entity, parent_id, has_gaps, pass, rows, total, per_page, body, rejects, unreadable, ids, missing, fetched_at)
       select ?, ?, ?::int, ?, v.entity, v.parent_id, v.has_gaps, ?, v.rows, ?, ?, v.body, v.rejects, v.unreadable, v.ids, ?::json, clock_timestamp()
       from (values ${values}) as v (entity, parent_id, has_gaps, rows, body, rejects, unreadable, ids), fence
       where fence.open
       on conflict (log_id, source, coalesce(source_id, -1), per_page, page, entity, coalesce(parent_id, -1)) do update set pass = excluded.pass,
         has_gaps = excluded.has_gaps, rows = excluded.rows, total = excluded.total, body = excluded.body, rejects = excluded.rejects, unreadable = excluded.unreadable,
         ids = excluded.ids, missing = excluded.missing, fetched_at = excluded.fetched_at
         where sync_pages.pass <= excluded.pass
     ) select (select open from fence) as open`,
    [
      page.commitLater ?? false,
      page.logId,
      page.logId,
      source,
      sourceId,
      page.page,
      page.pass,
      page.total,
      page.perPage,
      missingIncludes,
      ...parts.flatMap((p) => [p.entity, p.parent, p.gaps, p.rows, p.body, p.rejects, p.unreadable, p.ids]),
    ],
  );
  if (result?.open === null || result === undefined) throw new AppError('RUN_CLOSED');
  return result.open ? 'staged' : 'cancelled';
}

/** Makes the pages durable that were stored before: the lock is written to the log, and the commit waits for all before it. */
export async function flushPages(db: Db, logId: string): Promise<void> {
  await execute(db, 'select id from sync_logs where id = ? for key share', [logId]);
}

/** Records without an id that the page has of the part's entity. They are counted with its first part. */
function unreadableOf({ parts, rejectedWithoutId }: MappedPage, part: MappedPage['parts'][number]): number {
  if (rejectedWithoutId.length === 0 || part !== parts.find(({ entity }) => entity === part.entity)) return 0;
  return rejectedWithoutId.filter((entity) => entity === part.entity).length;
}

/** Entities whose listings are checked for being whole. */
const LISTED: ReadonlySet<string> = new Set(LISTINGS);

/** Column of the panel id; other entities have `id`. */
const ID_COLUMN: Record<string, string> = { users: 'panelId', servers: 'panelId' };

/** Panel ids of a part's records, with those of rejected records; none for parts that are not checked. */
function idsOf(source: SourceRef, mapped: MappedPage, part: MappedPage['parts'][number]): number[] {
  const checked = LISTED.has(part.entity) || source.kind === 'node';
  if (!checked) return [];
  const own = part.rows.map((row) => Number(row[ID_COLUMN[part.entity] ?? 'id']));
  const rejected = mapped.rejected.filter((record) => record.entity === part.entity).map((record) => record.id);
  return [...own, ...rejected];
}

export interface StagedPageInfo {
  page: number;
  rows: number;
  total: number;
  /** Records per page; 0: the list has no pages. */
  perPage: number;
  rejected: number;
  /** Records that the panel cannot print, see {@link MappedPage.rejected}; `failure`: what it said of the last. */
  unprintable: number;
  failure?: string;
  missingIncludes: string[];
  ids?: number[];
}

/** Those of the given pages of `size` records that this pass has staged already. */
export async function stagedPages(
  db: Db,
  key: StagedSource & { pages: readonly number[]; size: number; include: string },
): Promise<StagedPageInfo[]> {
  const found = await query<StagedPageInfo>(
    db,
    `select p.page, coalesce(sum(cardinality(p.ids)) filter (where p.entity = ?), 0)::int as rows,
       max(p.total)::int as total, max(p.per_page)::int as "perPage", sum(json_array_length(p.rejects))::int as rejected,
       0 as unprintable, (array_agg(p.missing))[1] as "missingIncludes"
     from sync_pages p where ${OF_SOURCE} and p.per_page = ? and p.page = any(?::int[]) group by p.page order by p.page`,
    [primaryEntity(key.source), ...bindingsOf(key), key.size, [...key.pages]],
  );
  const bare = key.include === '' && (isListing(key.source, 'nodes') || isListing(key.source, 'nests'));
  const ids = bare && found.length > 0 ? await stagedIds(db, key) : undefined;
  return found.map((f) => ({
    ...f,
    ...(ids === undefined ? {} : { ids: ids.filter((i) => i.page === f.page).map((i) => i.id) }),
  }));
}

const stagedIds = (db: Db, key: StagedSource) =>
  query<{ page: number; id: number }>(
    db,
    `select p.page, i.id from sync_pages p, unnest(p.ids[1:p.rows]) as i (id)
     where ${OF_SOURCE} and p.entity = ?`,
    [...bindingsOf(key), primaryEntity(key.source)],
  );

/** A place in the staged servers: a page, and how many of its servers were read. */
export interface StagedServersPlace {
  page: number;
  perPage: number;
  read: number;
}

/**
 * The next staged servers, of one page, in the order of the pages: each page is parsed as often as it has batches.
 * @param filter `after`: null = from the first page on.
 * @returns no servers and no `next` after the last page.
 */
export async function stagedServers(
  db: Db,
  filter: { logId: string; pass: number; after: StagedServersPlace | null; limit: number },
): Promise<{ servers: { panelId: number; uuid: string }[]; next: StagedServersPlace | null }> {
  const { page, perPage, read } = filter.after ?? { page: 0, perPage: 0, read: 0 };
  const found = await query<{ panelId: number; uuid: string; page: number; perPage: number }>(
    db,
    `with one as (
       select p.page, p.per_page, p.body from sync_pages p
       where p.log_id = ? and p.source = 'servers' and p.entity = 'servers' and p.pass = ? and p.rows > 0
         and ((p.page, p.per_page) > (?, ?) or (p.page, p.per_page) = (?, ?) and p.rows > ?)
       order by p.page, p.per_page limit 1
     ) select x."panelId", x.uuid, o.page, o.per_page as "perPage" from one o, json_to_recordset(o.body) as x ("panelId" int, uuid text)
     order by x."panelId"`,
    [filter.logId, filter.pass, page, perPage, page, perPage, read],
  );
  const [first] = found;
  if (first === undefined) return { servers: [], next: null };
  const skip = first.page === page && first.perPage === perPage ? read : 0;
  const servers = found.slice(skip, skip + filter.limit).map(({ panelId, uuid }) => ({ panelId, uuid }));
  return { servers, next: { page: first.page, perPage: first.perPage, read: skip + servers.length } };
}

/** Ids to ask for where a nest's list cannot be read; above this many only known ones are asked for. */
const MAX_UNKNOWN_EGGS = 500;

/**
 * Ids by which the eggs of a nest are asked for one by one: up to the highest known id of any egg (of the mirror, of staged
 * servers and nests), without those that other nests listed in this run.
 */
export async function eggsToAsk(db: Db, logId: string, nestId: number): Promise<number[]> {
  const found = await query<{ id: number; known: boolean }>(
    db,
    `with used as materialized (
       select distinct x.egg, x.nest from sync_pages p, json_to_recordset(p.body) as x (egg int, nest int)
       where p.log_id = ? and p.source = 'servers' and p.entity = 'servers' and x.egg is not null
     ), listed as materialized (
       select x.id, x."nestId" from sync_pages p, json_to_recordset(p.body) as x (id int, "nestId" int)
       where p.log_id = ? and p.entity = 'eggs'
     ), own as (
       select e.id from eggs e where e."nestId" = ? and e."panelType" = 'pterodactyl' union select u.egg from used u where u.nest = ?
     ), highest as (
       select greatest((select max(e.id) from eggs e where e."panelType" = 'pterodactyl'), (select max(u.egg) from used u),
         (select max(l.id) from listed l), 0) as id
     )
     select i.id, i.id in (select o.id from own o) as known from highest h, generate_series(1, h.id) as i (id)
     where i.id not in (select l.id from listed l where l."nestId" <> ?) order by known desc, i.id limit ?`,
    [logId, logId, nestId, nestId, nestId, MAX_UNKNOWN_EGGS * 4],
  );
  const known = found.filter((f) => f.known).map((f) => f.id);
  const unknown = found.filter((f) => !f.known).map((f) => f.id);
  return unknown.length > MAX_UNKNOWN_EGGS ? known : [...known, ...unknown].sort((a, b) => a - b);
}

/**
 * Sums over the staged pages of each source's newest pass, for progress. A page counts once, however often it was read. The pages
 * are read once, without a join: the planner does not know the pages of a new run, and would take them for few.
 */
export async function stagingSummary(db: Db, logId: string): Promise<StagingSummary> {
  const found = await query<{
    source: string;
    entity: string;
    covered: number;
    rows: number;
    total: number;
    perPage: number;
  }>(
    db,
    `with passes as (
       select p.source, p.source_id, p.entity, p.page, p.per_page, p.rows, p.total, p.fetched_at, p.pass,
         max(p.pass) over (partition by p.source, p.source_id) as newest
       from sync_pages p where p.log_id = ?
     ), pages as (
       select p.source, p.source_id, p.entity, p.page, p.per_page, sum(p.rows) as rows, max(p.fetched_at) as fetched_at,
         (array_agg(p.total order by p.fetched_at desc))[1] as total
       from passes p where p.pass = p.newest group by 1, 2, 3, 4, 5
     )
     select p.source, p.entity, sum(p.per_page)::int as covered, sum(p.rows)::int as rows,
       (array_agg(p.total order by p.fetched_at desc))[1]::int as total, max(p.per_page)::int as "perPage"
     from pages p where p.entity <> 'links' group by 1, 2`,
    [logId],
  );
  const summary: StagingSummary = { listings: {}, rows: {} };
  for (const { source, entity, covered, rows, total, perPage } of found) {
    summary.rows[entity as Entity] = (summary.rows[entity as Entity] ?? 0) + rows;
    if (source !== entity) continue;
    const totalPages = perPage === 0 ? 1 : Math.max(1, Math.ceil(total / perPage));
    const pages = covered >= total ? totalPages : Math.floor(covered / perPage);
    summary.listings[source as Listing] = { pages, totalPages, total };
  }
  return summary;
}
