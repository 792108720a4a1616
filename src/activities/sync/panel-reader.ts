/** One page of a source: its request and its mapped answer. */
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient, PanelPage } from '../../clients/panel/client.ts';
import type { ListQuery } from '../../clients/panel/request.ts';
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
import { isListing, primaryEntity, type SourceRef } from '../../domain/sync/source-ref.ts';

export interface ReadPage {
  mapped: MappedPage;
  total: number;
  /** 0: the list has no pages. */
  perPage: number;
  totalPages: number;
  throttle: Throttle[];
}

export interface PageRequest {
  source: SourceRef;
  include: string;
  page: number;
  perPage: number;
}

const includesOf = (include: string) => include.split(',').map((name) => name.split('.')[0] ?? name);

function requestOf(source: SourceRef, include: string): { path: string; query: ListQuery } {
  if (source.kind === 'node') return { path: `/nodes/${source.id}/allocations`, query: {} };
  if (source.kind === 'nest') return { path: `/nests/${source.id}/eggs`, query: { include: 'variables' } };
  if (source.kind === 'client') throw new AppError('INTERNAL_ERROR', { meta: { source: source.kind } });
  const query: ListQuery = include === '' ? {} : { include };
  // Sorted by id, new rows come last, so that a page that was read stays as it was. Nests cannot be sorted.
  if (!isListing(source, 'nests')) query.sort = 'id';
  return { path: `/${source.listing}`, query };
}

function mapItems(source: SourceRef, include: string, items: PanelItem[]): MappedPage {
  if (source.kind === 'node') return mapNodeAllocations(items, source.id);
  if (source.kind === 'nest') return mapEggs(items, source.id);
  switch (source.kind === 'listing' ? source.listing : undefined) {
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
      throw new AppError('INTERNAL_ERROR', { meta: { source: source.kind } });
  }
}

/** Reads one page. The eggs of a nest are one list without pages. */
export async function readPage(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  const { source, include, page, perPage } = request;
  const { path, query } = requestOf(source, include);
  const paged = source.kind === 'nest' ? query : { ...query, page, perPage };
  const answer = await client.list(path, paged, { signal });
  const mapped = mapItems(source, include, answer.items);
  const throttle = [answer.throttle];
  if (source.kind === 'nest') return { mapped, total: answer.items.length, perPage: 0, totalPages: 1, throttle };
  const pages = pagination(answer);
  const totalPages = Math.max(1, pages.perPage === 0 ? 1 : Math.ceil(pages.total / pages.perPage));
  return { mapped, ...pages, totalPages, throttle };
}

function pagination(answer: PanelPage): { total: number; perPage: number } {
  if (answer.pagination === undefined) {
    throw new AppError('PANEL_CONTRACT', { details: [{ path: 'meta.pagination', message: 'missing' }] });
  }
  return { total: answer.pagination.total, perPage: answer.pagination.perPage };
}

/** The list of a node or a nest that was deleted after it had been listed: it is empty. */
export function emptyList({ source, include, perPage }: PageRequest): ReadPage {
  const size = source.kind === 'nest' ? 0 : perPage;
  return { mapped: mapItems(source, include, []), total: 0, perPage: size, totalPages: 1, throttle: [{}] };
}

/**
 * The page of a single record that the panel cannot print. Without includes it may print the record, and so tell its id.
 * @param total records of the listing, as far as they are known.
 */
export async function unprintablePage(
  client: PanelClient,
  request: PageRequest,
  total: number,
  signal: AbortSignal,
): Promise<{ read: ReadPage; id: number | undefined }> {
  const { source, page } = request;
  const entity = primaryEntity(source);
  const id = await idWithoutIncludes(client, request, signal);
  return {
    id,
    read: {
      mapped: {
        parts: [{ entity, parent: source.kind === 'node' ? source.id : null, gaps: false, rows: [] }],
        rejected:
          id === undefined ? [] : [{ entity, id, code: 'INVALID_RECORD', detail: 'record: the panel cannot print it' }],
        rejectedWithoutId: id === undefined ? [entity] : [],
        missingIncludes: [],
      },
      total: Math.max(total, page),
      perPage: 1,
      totalPages: Math.max(total, page),
      throttle: [],
    },
  };
}

async function idWithoutIncludes(
  client: PanelClient,
  { source, include, page }: PageRequest,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (include === '') return undefined;
  const { path, query } = requestOf(source, '');
  try {
    const { items } = await client.list(path, { ...query, page, perPage: 1 }, { signal });
    const id = items[0]?.attributes['id'];
    return items.length === 1 && typeof id === 'number' && Number.isInteger(id) ? id : undefined;
  } catch (error) {
    if (isAppError(error, 'PANEL_UNAVAILABLE')) return undefined;
    throw error;
  }
}
