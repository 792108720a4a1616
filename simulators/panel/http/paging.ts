/** Pages, filters and sorts of the panel's listings, oddities included. */

import type { EntityName } from '../world/rows.ts';
import { columnOf, type WorldStore } from '../world/world.ts';
import type { PanelAnswer, PanelCall } from './answer.ts';
import { panelError, serverError } from './answer.ts';

/** `page`: 0 or text is page 1. */
export function pageOf(query: URLSearchParams): number {
  const text = query.get('page') ?? '';
  return /^[1-9]\d{0,14}$/.test(text) ? Number(text) : 1;
}

function applicationPerPage(call: PanelCall): number {
  const text = call.query.get('per_page');
  if (text === null || text === '') return 50;
  if (!/^-?\d+$/.test(text)) throw serverError('TypeError');
  const wanted = Number(text);
  if (wanted < 0) throw serverError('QueryException');
  if (wanted === 0) return 15;
  return call.perPageMax === undefined ? wanted : Math.min(wanted, call.perPageMax);
}

/** The client list is capped at 100. */
function clientPerPage(call: PanelCall): number {
  const wanted = Number(call.query.get('per_page') ?? 50);
  return Number.isInteger(wanted) && wanted > 0 ? Math.min(wanted, 100) : 15;
}

/** PHP's http_build_query of everything but `page`, then `page`. */
function clientLink(call: PanelCall, page: number): string {
  const params = new URLSearchParams();
  for (const [name, value] of call.query) if (name !== 'page') params.append(name, value);
  params.append('page', String(page));
  return `${call.origin}${call.path}?${params}`;
}

/** JSON text of the object with this id. */
export type Make = (id: number) => string | Buffer | undefined;

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

function makeAll(ids: readonly number[], make: Make): Buffer[] {
  const parts: Buffer[] = [];
  for (const id of ids) {
    const made = make(id);
    if (made !== undefined) parts.push(typeof made === 'string' ? Buffer.from(made) : made);
  }
  return parts;
}

/** One page of `ids`, each made by `make`. */
export function pageAnswer(
  call: PanelCall,
  ids: readonly number[],
  make: Make,
  api: 'application' | 'client' = 'application',
): PanelAnswer {
  const perPage = api === 'application' ? applicationPerPage(call) : clientPerPage(call);
  const page = pageOf(call.query);
  const { tweaks } = call;
  const total = tweaks.empty === true ? 0 : Math.max(0, ids.length + (tweaks.totalDelta ?? 0));
  const parts = tweaks.empty === true ? [] : makeAll(ids.slice((page - 1) * perPage, page * perPage), make);
  if (tweaks.half === true) parts.length = Math.floor(parts.length / 2);
  const totalPages = Math.max(1, Math.ceil(total / perPage));
  // the application API's links drop every parameter but the page
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

/** An unpaged list without `meta`. */
export function wholeList(call: PanelCall, ids: readonly number[], make: Make): PanelAnswer {
  const parts = call.tweaks.empty === true ? [] : makeAll(ids, make);
  if (call.tweaks.half === true) parts.length = Math.floor(parts.length / 2);
  return { body: listBytes(parts, ']}') };
}

/** How one filter name finds rows. */
export type Filter =
  | { column: string; exact?: boolean }
  | { test: (row: object, values: readonly string[]) => boolean };
export type Filters = Record<string, Filter>;

/** `filter[name]=a,b`; an unknown name is refused, an empty value ignored. */
export function applyFilters(
  call: PanelCall,
  store: WorldStore,
  entity: EntityName,
  ids: readonly number[],
  filters: Filters,
): readonly number[] {
  const asked: [Filter, string[]][] = [];
  const unknown: string[] = [];
  for (const [name, value] of call.query) {
    const filter = /^filter\[([^\]]*)\]$/.exec(name)?.[1];
    if (filter === undefined) continue;
    const known = Object.hasOwn(filters, filter) ? filters[filter] : undefined;
    if (known === undefined) unknown.push(filter);
    else if (value !== '') asked.push([known, value.split(',').filter((v) => v !== '')]);
  }
  if (unknown.length > 0) {
    const allowed = Object.keys(filters).join(', ');
    const detail = `Requested filter(s) \`${unknown.join(', ')}\` are not allowed. Allowed filter(s) are \`${allowed}\`.`;
    throw panelError(400, 'InvalidFilterQuery', detail);
  }
  if (asked.length === 0) return ids;
  const tests = asked.map(([filter, values]) => {
    if ('test' in filter) return (row: object) => filter.test(row, values);
    const lower = values.map((value) => value.toLowerCase());
    // whole uuids need no search inside the text
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

/** `sort=-id,uuid`; a name not in `allowed` is refused. */
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
