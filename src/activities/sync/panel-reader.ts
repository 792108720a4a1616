/** One page of a source: its request, its mapped answer, and which failures are final. */
import { ApplicationFailure } from '@temporalio/common';
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
import { isListing, type SourceRef } from '../../domain/sync/source-ref.ts';

export interface ReadPage {
  mapped: MappedPage;
  total: number;
  perPage: number;
  totalPages: number;
  throttle: Throttle[];
}

export interface PageRequest {
  source: SourceRef;
  include: string;
  page: number;
  perPage: number;
  /** Number of parts in which a page is requested that the panel cannot serve whole. */
  split: number;
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

/** Size of the parts of a page: a divisor of the page size, so that the last part ends where the page ends. */
export function partSize(perPage: number, split: number): number {
  let size = Math.max(1, Math.floor(perPage / split));
  while (perPage % size !== 0) size -= 1;
  return size;
}

/** Reads one page. With `split` > 1 it is composed of smaller pages at the same offset. */
export async function readPage(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  if (request.source.kind === 'nest') return readEggList(client, request, signal);
  return request.split === 1 ? readWhole(client, request, signal) : readInParts(client, request, signal);
}

/** The eggs of a nest are one list without pages. */
async function readEggList(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  const { path, query } = requestOf(request.source, request.include);
  const answer = await client.list(path, query, { signal });
  return {
    mapped: mapItems(request.source, request.include, answer.items),
    total: answer.items.length,
    perPage: 0,
    totalPages: 1,
    throttle: [answer.throttle],
  };
}

async function readWhole(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  const { path, query } = requestOf(request.source, request.include);
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

async function readInParts(client: PanelClient, request: PageRequest, signal: AbortSignal): Promise<ReadPage> {
  const { path, query } = requestOf(request.source, request.include);
  const size = partSize(request.perPage, request.split);
  const parts = request.perPage / size;
  const items: PanelItem[] = [];
  const throttle: Throttle[] = [];
  let total = 0;
  for (let part = 1; part <= parts; part += 1) {
    const page = (request.page - 1) * parts + part;
    const answer = await client.list(path, { ...query, page, perPage: size }, { signal });
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
 * Reads the eggs of a nest one by one, so that an egg that breaks the panel's answer (a known bug with inherited
 * configuration) leaves the others readable. The list has gaps, so no egg of the nest is deleted.
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
  return { mapped: { ...mapped, parts: mapped.parts.map((p) => ({ ...p, gaps: true })) }, failed, throttle };
}

/** Why a batch ended before its last page; null = it did not. */
export type Stopped = { kind: 'throttled'; retryAfterMs: number } | { kind: 'cancelled' } | null;

/** A 429 of the panel as the end of a batch. The pause is 60 s where the panel names none. */
export const throttled = (error: AppError): Stopped => ({
  kind: 'throttled',
  retryAfterMs: error.retryAfterMs ?? 60_000,
});

/**
 * Attempts after which a failure of the panel is final. Errors of the panel or a gateway (5xx, except 503: maintenance) and
 * timeouts have a fallback (smaller pages, other listings); for other failures the panel is given more time.
 */
export const FINAL_ATTEMPT = { fallback: 3, other: 8 };

/** Details of a final failure for the workflow: the page, and whether a fallback may avoid it. */
export interface PanelFailureDetail {
  page: number;
  fallback: boolean;
}

/** The error to throw: a final failure of the panel becomes non-retryable, so that the workflow's fallback takes over. */
export function panelFailure(error: unknown, attempt: number, page: number): unknown {
  if (!isAppError(error, 'PANEL_UNAVAILABLE')) return error;
  const { status, kind } = error.meta ?? {};
  // Gateways have statuses of their own for a panel that ends in the middle of a page: 520, 522, 524 and others.
  const broken = typeof status === 'number' && status >= 500 && status !== 503;
  const fallback = kind === 'timeout' || kind === 'too-large' || broken;
  const final = kind === 'too-large' || attempt >= (fallback ? FINAL_ATTEMPT.fallback : FINAL_ATTEMPT.other);
  if (!final) return error;
  const detail: PanelFailureDetail = { page, fallback };
  return ApplicationFailure.create({
    type: 'PANEL_UNAVAILABLE',
    message: error.message,
    nonRetryable: true,
    details: [detail],
  });
}
