/** Pages, filters and sorts of the panel's listings, with the panel's oddities. */
import { columnOf, type EntityName } from '../world/rows.ts';
import type { WorldStore } from '../world/world.ts';
import type { PanelAnswer, PanelCall } from './answer.ts';
import { panelError, serverError } from './answer.ts';

/** The number of the requested page; 0 or a text means page 1. */
export function pageOf(query: URLSearchParams): number {
  const text = query.get('page') ?? '';
  return /^[1-9]\d{0,14}$/.test(text) ? Number(text) : 1;
}

/** The requested page size, as far as it is a number. */
export const perPageOf = (query: URLSearchParams): number => Math.max(1, Number(query.get('per_page')) || 50);

function applicationPerPage(call: PanelCall): number {
  const text = call.query.get('per_page');
  if (text === null || text === '') return 50;
  if (!/^-?\d+$/.test(text)) throw serverError('TypeError');
  const wanted = Number(text);
  if (wanted < 0) throw serverError('QueryException');
  if (wanted === 0) return 15;
  return call.perPageMax === undefined ? wanted : Math.min(wanted, call.perPageMax);
}

/** The client API returns at most 100 objects per page. */
function clientPerPage(call: PanelCall): number {
  const wanted = Number(call.query.get('per_page') ?? 50);
  return Number.isInteger(wanted) && wanted > 0 ? Math.min(wanted, 100) : 15;
}

/** A page link of the client API: all parameters of the request, and `page` last. */
function clientLink(call: PanelCall, page: number): string {
  const params = new URLSearchParams();
  for (const [name, value] of call.query) if (name !== 'page') params.append(name, value);
  params.append('page', String(page));
  return `${call.origin}${call.path}?${params}`;
}

/** Returns the JSON text of an object, undefined when there is no such row. */
export type WriteObject = (id: number) => string | Buffer | undefined;

const HEAD = Buffer.from('{"object":"list","data":[');
const COMMA = Buffer.from(',');
function listBytes(parts: readonly Buffer[], tail: string): Buffer {
  const pieces: Buffer[] = [HEAD];
  for (const [index, part] of parts.entries()) {
    if (index > 0) pieces.push(COMMA);
    pieces.push(part);
  }
  pieces.push(Buffer.from(tail));
  return Buffer.concat(pieces);
}

function writeAll(ids: readonly number[], write: WriteObject): Buffer[] {
  const parts: Buffer[] = [];
  for (const id of ids) {
    const text = write(id);
    if (text !== undefined) parts.push(typeof text === 'string' ? Buffer.from(text) : text);
  }
  return parts;
}

/** One page of `ids`. */
export function pageAnswer(
  call: PanelCall,
  ids: readonly number[],
  write: WriteObject,
  api: 'application' | 'client' = 'application',
): PanelAnswer {
  const perPage = api === 'application' ? applicationPerPage(call) : clientPerPage(call);
  const page = pageOf(call.query);
  const { tweaks } = call;
  const total = tweaks.empty === true ? 0 : Math.max(0, ids.length + (tweaks.totalDelta ?? 0));
  const parts = tweaks.empty === true ? [] : writeAll(ids.slice((page - 1) * perPage, page * perPage), write);
  if (tweaks.half === true) parts.length = Math.floor(parts.length / 2);
  const totalPages = Math.max(1, Math.ceil(total / perPage));
  // links of the application API contain no parameter but the page
  const link = (to: number) => (api === 'application' ? `${call.origin}${call.path}?page=${to}` : clientLink(call, to));
  const links = {
    ...(page > 1 ? { previous: link(page - 1) } : {}),
    ...(page < totalPages ? { next: link(page + 1) } : {}),
  };
  const pagination = {
    total,
    count: parts.length,
    per_page: perPage,
    current_page: page,
    total_pages: totalPages,
    links,
  };
  return { body: listBytes(parts, `],"meta":{"pagination":${JSON.stringify(pagination)}}}`) };
}

/** All objects in one list, without `meta`. */
export function wholeList(call: PanelCall, ids: readonly number[], write: WriteObject): PanelAnswer {
  const parts = call.tweaks.empty === true ? [] : writeAll(ids, write);
  if (call.tweaks.half === true) parts.length = Math.floor(parts.length / 2);
  return { body: listBytes(parts, ']}') };
}

/** How one filter selects rows: by the text of a column, or by a test. */
export type Filter =
  | { column: string; exact?: boolean }
  | { test: (row: object, values: readonly string[]) => boolean };
export type Filters = Record<string, Filter>;

/** `filter[name]=a,b`. An empty value is ignored. @throws {PanelHttpError} 400 for an unknown name. */
export function applyFilters(
  call: PanelCall,
  store: WorldStore,
  entity: EntityName,
  ids: readonly number[],
  filters: Filters,
): readonly number[] {
  if (call.tweaks.noFilters === true) return ids;
  const requested: [Filter, string[]][] = [];
  const unknown: string[] = [];
  for (const [name, value] of call.query) {
    const filter = /^filter\[([^\]]*)\]$/.exec(name)?.[1];
    if (filter === undefined) continue;
    const known = Object.hasOwn(filters, filter) ? filters[filter] : undefined;
    if (known === undefined) unknown.push(filter);
    else if (value !== '') requested.push([known, value.split(',').filter((v) => v !== '')]);
  }
  if (unknown.length > 0) {
    const allowed = Object.keys(filters).join(', ');
    const detail = `Requested filter(s) \`${unknown.join(', ')}\` are not allowed. Allowed filter(s) are \`${allowed}\`.`;
    throw panelError(400, 'InvalidFilterQuery', detail);
  }
  if (requested.length === 0) return ids;
  const tests = requested.map(([filter, values]) => {
    if ('test' in filter) return (row: object) => filter.test(row, values);
    const lower = values.map((value) => value.toLowerCase());
    // a complete uuid is compared as a whole, which is faster than a search inside the text
    const whole = filter.exact === true || (filter.column === 'uuid' && lower.every((value) => value.length === 36));
    const set = new Set(lower);
    return (row: object) => {
      const value = columnOf(row, filter.column);
      if (value === null || value === undefined) return false;
      const text = String(value).toLowerCase();
      return whole ? set.has(text) : lower.some((part) => text.includes(part));
    };
  });
  return ids.filter((id) => {
    const row = store.world[entity].get(id);
    return row !== undefined && tests.every((test) => test(row));
  });
}

/** `sort=-id,uuid`. @throws {PanelHttpError} 400 for a name that is not in `allowed`. */
export function applySorts(
  call: PanelCall,
  store: WorldStore,
  entity: EntityName,
  ids: readonly number[],
  allowed: readonly string[],
): readonly number[] {
  const sorts = (call.query.get('sort') ?? '').split(',').filter((name) => name !== '');
  const unknown = sorts.map((name) => name.replace(/^-/, '')).filter((name) => !allowed.includes(name));
  if (unknown.length > 0) {
    const detail = `Requested sort(s) \`${unknown.join(', ')}\` is not allowed. Allowed sort(s) are \`${allowed.join(', ')}\`.`;
    throw panelError(400, 'InvalidSortQuery', detail);
  }
  if (sorts.length === 0 || (sorts.length === 1 && sorts[0] === 'id')) return ids;
  const compare = (a: unknown, b: unknown) => {
    if (typeof a === 'number' && typeof b === 'number') return a - b;
    const [left, right] = [String(a), String(b)];
    return left < right ? -1 : left > right ? 1 : 0;
  };
  const rows = store.world[entity];
  return [...ids].sort((a, b) => {
    for (const sort of sorts) {
      const column = sort.replace(/^-/, '');
      const order = compare(columnOf(rows.get(a), column), columnOf(rows.get(b), column));
      if (order !== 0) return sort.startsWith('-') ? -order : order;
    }
    return a - b;
  });
}
