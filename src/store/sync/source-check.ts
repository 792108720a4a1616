/** Whether a source was read whole, by its staged pages. */
import { primaryEntity } from '../../domain/sync/source-ref.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';
import { bindingsOf, OF_SOURCE, type StagedSource } from './staging-store.ts';

export interface SourceVerdict {
  complete: boolean;
  /**
   * `lacking`: it has more records than were read, so it is read again; `moved`: it changed while it was read; `ignored`:
   * the panel ignores the page parameter; `missing`: pages are not staged.
   */
  reason: 'complete' | 'moved' | 'lacking' | 'ignored' | 'missing';
  /** Pages of `size` records that are not staged, whole or in parts. */
  missingPages: { page: number; size: number }[];
  /** Pages of the listing. */
  pages: number;
  total: number;
  distinct: number;
  /** Records without a readable id. */
  unreadable: number;
  /** Includes that did not come back as lists. */
  missingIncludes: string[];
}

/**
 * Decides whether a source is whole: all its pages are staged in one pass, the total never fell, and the number of its
 * records (distinct ids, and records without a readable id) is the newest total.
 */
export async function verifySource(db: Db, key: StagedSource): Promise<SourceVerdict> {
  const entity = primaryEntity(key.source);
  const pages = await primaryPages(db, key, entity);
  const missingIncludes = [...new Set(pages.flatMap((p) => p.missingIncludes))];
  const verdict = (reason: SourceVerdict['reason'], extra: Partial<SourceVerdict> = {}): SourceVerdict => ({
    complete: reason === 'complete',
    reason,
    missingPages: [],
    pages: pages.length,
    total: 0,
    distinct: 0,
    unreadable: 0,
    missingIncludes,
    ...extra,
  });
  if (key.source.kind === 'nest')
    return pages.length > 0 ? verdict('complete') : verdict('missing', { missingPages: [{ page: 1, size: 0 }] });
  const { total, fell, distinct, staged, unreadable } = await totalsRead(db, key, entity);
  const { count, missingPages } = coverageOf(pages, total);
  const facts = { total, distinct, unreadable, pages: count };
  for (let i = 1; i < pages.length; i += 1) {
    const [before, here] = [pages[i - 1], pages[i]];
    const follows = before?.perPage === here?.perPage && before?.page !== here?.page;
    if (follows && before?.firstId != null && before.firstId === here?.firstId) return verdict('ignored', facts);
  }
  if (missingPages.length > 0) return verdict('missing', { ...facts, missingPages });
  if (distinct + unreadable < total) return verdict('lacking', facts);
  if (fell || staged !== distinct || distinct + unreadable !== total) return verdict('moved', facts);
  return verdict('complete', facts);
}

/** Which pages of a listing are not covered by what is staged; its largest page counts, smaller ones are parts of such. */
function coverageOf(
  staged: readonly { page: number; perPage: number }[],
  total: number,
): { count: number; missingPages: { page: number; size: number }[] } {
  const size = staged.reduce((most, p) => Math.max(most, p.perPage), 0);
  if (size === 0) return { count: 1, missingPages: staged.length > 0 ? [] : [{ page: 1, size: 0 }] };
  const count = Math.max(1, Math.ceil(total / size));
  const missing = new Set<number>();
  /** Pages that hold records between two places. */
  const gap = (from: number, to: number) => {
    for (let page = Math.floor(from / size) + 1; page <= Math.ceil(to / size); page += 1) missing.add(page);
  };
  let reached = 0;
  const ranges = staged.map((p) => ({ from: (p.page - 1) * p.perPage, to: p.page * p.perPage }));
  for (const { from, to } of ranges.sort((a, b) => a.from - b.from)) {
    if (from > reached) gap(reached, Math.min(from, count * size));
    reached = Math.max(reached, to);
  }
  if (reached < total) gap(reached, total);
  return { count, missingPages: [...missing].filter((page) => page <= count).map((page) => ({ page, size })) };
}

/** The staged pages of a source, by its primary entity, in the order of their numbers. */
const primaryPages = (db: Db, key: StagedSource, entity: string) =>
  query<{ page: number; perPage: number; firstId: number | null; missingIncludes: string[] }>(
    db,
    `select p.page, p.per_page as "perPage", p.ids[1] as "firstId", p.missing as "missingIncludes"
     from sync_pages p where ${OF_SOURCE} and p.entity = ? order by p.per_page, p.page`,
    [...bindingsOf(key), entity],
  );

/** Totals of a source over its pages: the newest total, whether it fell, and how many records were read. */
async function totalsRead(
  db: Db,
  key: StagedSource,
  entity: string,
): Promise<{ total: number; fell: boolean; distinct: number; staged: number; unreadable: number }> {
  const [read] = await query<{ total: number; fell: boolean; distinct: number; staged: number; unreadable: number }>(
    db,
    `with page_totals as (
       select p.page, p.total, p.unreadable, p.fetched_at, lag(p.total) over (order by p.fetched_at, p.page) as before
       from sync_pages p where ${OF_SOURCE} and p.entity = ?
     ), ids as (
       select i.id from sync_pages p, unnest(p.ids) as i (id) where ${OF_SOURCE} and p.entity = ?
     )
     select coalesce((select t.total from page_totals t order by t.fetched_at desc, t.page desc limit 1), 0) as total,
       coalesce((select bool_or(t.total < t.before) from page_totals t), false) as fell,
       coalesce((select sum(t.unreadable) from page_totals t), 0)::int as unreadable,
       (select count(distinct i.id) from ids i)::int as distinct, (select count(*) from ids i)::int as staged`,
    [key, key].flatMap((k) => [...bindingsOf(k), entity]),
  );
  return read ?? { total: 0, fell: false, distinct: 0, staged: 0, unreadable: 0 };
}
