/** One page of a source: which request it is, and what its answer becomes. */
import type { ListQuery, PanelClient, PanelPage, Throttle } from '../../clients/panel/client.ts';
import { AppError, isAppError } from '../../domain/errors.ts';
import type { PanelItem } from '../../domain/panel/envelope.ts';
import {
  type MappedPage,
  mapEggs,
  mapLocations,
  mapNests,
  mapNodeAllocations,
  mapNodes,
  mapServers,
  mapUsers,
} from '../../domain/panel/records.ts';
import { parseSource } from '../../domain/sync/source-ref.ts';

export interface ReadPage {
  mapped: MappedPage;
  total: number;
  perPage: number;
  totalPages: number;
  throttle: Throttle[];
}

export interface PageRequest {
  /** `locations`, `nodes`, `nests`, `users`, `servers`, `node:<id>`, `nest:<id>`. */
  source: string;
  include: string;
  page: number;
  perPage: number;
  /** A page the panel cannot serve whole is asked for in this many parts. */
  split: number;
}

const includesOf = (include: string) => include.split(',').map((name) => name.split('.')[0] ?? name);

function requestOf(source: string, include: string): { path: string; query: ListQuery } {
  const ref = parseSource(source);
  if (ref?.kind === 'node') return { path: `/nodes/${ref.id}/allocations`, query: {} };
  if (ref?.kind === 'nest') return { path: `/nests/${ref.id}/eggs`, query: { include: 'variables' } };
  const query: ListQuery = include === '' ? {} : { include };
  // Nests cannot be sorted; everywhere else new rows come last, so that a page that was read stays what it was.
  if (source !== 'nests') query.sort = 'id';
  return { path: `/${source}`, query };
}

export function mapItems(source: string, include: string, items: PanelItem[]): MappedPage {
  const ref = parseSource(source);
  if (ref?.kind === 'node') return mapNodeAllocations(items, ref.id);
  if (ref?.kind === 'nest') return mapEggs(items, ref.id);
  switch (ref?.kind === 'listing' ? ref.listing : undefined) {
    case 'locations':
      return mapLocations(items, include !== '');
    case 'nodes':
      return mapNodes(items, include !== '');
    case 'nests':
      return mapNests(items, include !== '');
    case 'users':
      return mapUsers(items);
    case 'servers':
      return mapServers(items, includesOf(include));
    default:
      throw new AppError('INTERNAL_ERROR', { meta: { source } });
  }
}

/** Size of the parts of a page: a divisor of it, so that the parts end where the page ends. */
export function partSize(perPage: number, split: number): number {
  let size = Math.max(1, Math.floor(perPage / split));
  while (perPage % size !== 0) size -= 1;
  return size;
}

/** Reads one page. With `split` it is put together from smaller pages at the same offset. */
export async function readPage(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  const { path, query } = requestOf(request.source, request.include);
  if (parseSource(request.source)?.kind === 'nest') {
    const answer = await client.list(path, query, { signal });
    return {
      mapped: mapItems(request.source, request.include, answer.items),
      total: answer.items.length,
      perPage: 0,
      totalPages: 1,
      throttle: [answer.throttle],
    };
  }
  if (request.split === 1) {
    const answer = await client.list(path, { ...query, page: request.page, perPage: request.perPage }, { signal });
    const { total, perPage } = pagination(answer);
    return {
      mapped: mapItems(request.source, request.include, answer.items),
      total,
      perPage,
      totalPages: Math.max(1, perPage === 0 ? 1 : Math.ceil(total / perPage)),
      throttle: [answer.throttle],
    };
  }
  const size = partSize(request.perPage, request.split);
  const parts = request.perPage / size;
  const items: PanelItem[] = [];
  const throttle: Throttle[] = [];
  let total = 0;
  for (let part = 1; part <= parts; part += 1) {
    const answer = await client.list(
      path,
      { ...query, page: (request.page - 1) * parts + part, perPage: size },
      { signal },
    );
    total = pagination(answer).total;
    throttle.push(answer.throttle);
    items.push(...answer.items);
    if (answer.items.length < size) break;
  }
  return {
    mapped: mapItems(request.source, request.include, items),
    total,
    perPage: request.perPage,
    totalPages: Math.max(1, Math.ceil(total / request.perPage)),
    throttle,
  };
}

function pagination(answer: PanelPage): { total: number; perPage: number } {
  if (answer.pagination === undefined) {
    throw new AppError('PANEL_CONTRACT', { details: [{ path: 'meta.pagination', message: 'missing' }] });
  }
  return { total: answer.pagination.total, perPage: answer.pagination.perPage };
}

/**
 * Eggs of a nest one by one: an egg that breaks the panel's answer (a known bug with inherited configuration) costs
 * only itself. The parts are negative: the list has gaps, so nothing of this nest counts as gone.
 */
export async function readEggsSingly(
  client: PanelClient,
  nestId: number,
  eggIds: readonly number[],
  signal: AbortSignal,
): Promise<{ mapped: MappedPage; failed: number[]; throttle: Throttle[] }> {
  const items: PanelItem[] = [];
  const failed: number[] = [];
  const throttle: Throttle[] = [];
  for (const egg of eggIds) {
    try {
      const answer = await client.get(`/nests/${nestId}/eggs/${egg}`, { include: 'variables' }, { signal });
      items.push(answer.item);
      throttle.push(answer.throttle);
    } catch (error) {
      if (isAppError(error, 'PANEL_NOT_FOUND')) continue;
      if (!isAppError(error, 'PANEL_UNAVAILABLE')) throw error;
      failed.push(egg);
    }
  }
  const mapped = mapEggs(items, nestId);
  return { mapped: { ...mapped, parts: mapped.parts.map((p) => ({ ...p, part: -p.part })) }, failed, throttle };
}
