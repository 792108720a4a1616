/** Recorded answers of the panel in which one value was replaced by any other: what the mapping must survive. */
import fc from 'fast-check';
import { type PanelItem, parseListEnvelope } from '../../src/domain/panel/envelope.ts';
import {
  type MappedPage,
  mapEggs,
  mapLocations,
  mapNests,
  mapNodeAllocations,
  mapNodes,
  mapServers,
  mapUsers,
} from '../../src/domain/panel/records.ts';
import { COLUMNS, type ColumnType, type StagedEntity } from '../../src/domain/sync/columns.ts';
import { panelExamples } from './panel.ts';

const MAPPINGS: Record<string, (items: PanelItem[]) => MappedPage> = {
  'app-locations-include-nodes.allocations': (items) => mapLocations(items, true),
  'app-locations': (items) => mapLocations(items, false),
  'app-nodes-include-allocations,location': (items) => mapNodes(items, true),
  'app-nodes': (items) => mapNodes(items, false),
  'app-node-allocations': (items) => mapNodeAllocations(items, 1),
  'app-nests-include-eggs.variables': (items) => mapNests(items, true),
  'app-nests': (items) => mapNests(items, false),
  'app-eggs-include-config,script,variables': (items) => mapEggs(items, 1),
  'app-users': mapUsers,
  'app-servers-include-allocations,databases,subusers,variables': (items) =>
    mapServers(items, ['allocations', 'databases', 'subusers']),
};
const RECORDED = panelExamples().filter(({ name }) => Object.hasOwn(MAPPINGS, name));

type Path = (string | number)[];
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

/** Paths of all values below `value`, objects and lists as well. */
const pathsIn = (value: unknown, path: Path = []): Path[] => {
  if (!isObject(value)) return [path];
  const children = Array.isArray(value) ? value.entries() : Object.entries(value);
  return [path, ...[...children].flatMap(([key, child]) => pathsIn(child, [...path, key]))];
};

const at = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>((found, key) => (isObject(found) ? found[key] : undefined), value);

/** The body as text in which the value at the path is another one: texts can hold what objects cannot, `__proto__`. */
function withValue(body: unknown, path: Path, value: unknown): unknown {
  const copy: unknown = structuredClone(body);
  const parent = at(copy, path.slice(0, -1));
  const key = path.at(-1);
  if (isObject(parent) && key !== undefined) parent[key] = value;
  return JSON.parse(JSON.stringify(copy));
}

/** The body without the record that holds the path; undefined where the path is in no record of a list. */
function withoutRecord(body: unknown, path: Path): unknown {
  for (let length = path.length; length > 0; length -= 1) {
    const place = path.slice(0, length);
    const key = place.at(-1);
    const record = at(body, place);
    if (typeof key !== 'number' || !isObject(record) || record['attributes'] === undefined) continue;
    const copy: unknown = structuredClone(body);
    const list = at(copy, place.slice(0, -1));
    if (!Array.isArray(list)) continue;
    list.splice(key, 1);
    return copy;
  }
  return undefined;
}

const hostile = fc.constantFrom<unknown>(
  'a\0b',
  '\0',
  '\ud800',
  '\udc00x',
  '',
  '7',
  '-1',
  '1024',
  '0',
  'true',
  '9007199254740993',
  '99999999999999999999',
  'x'.repeat(3_000),
  'ä🙂\u2028',
  '2025-03-01T08:00:00+00:00',
  '-0001-11-30T00:00:00+00:00',
  0,
  -0,
  1.5,
  -1,
  2 ** 31,
  2 ** 53,
  1e300,
  true,
  null,
  [],
  {},
  [null],
  ['a\0', 'b'],
  { '0': 'a', '2': 'b' },
  { object: 'list', data: {} },
  { object: 'list', data: [null, 1, { attributes: null }] },
  { object: 'null_resource', attributes: null },
  { attributes: { id: 1 } },
  JSON.parse('{"__proto__":{"id":5},"constructor":1}'),
);

export interface Spoiled {
  name: string;
  path: Path;
  body: unknown;
  /** The page as it is mapped without the record that was spoiled; undefined where all of the page was. */
  neighbours: MappedPage | undefined;
  map: (items: PanelItem[]) => MappedPage;
}

/** A recorded answer in which one value of `data` was replaced. */
export const spoiledAnswer: fc.Arbitrary<Spoiled> = fc
  .tuple(fc.nat(RECORDED.length - 1), fc.nat(), fc.oneof(hostile, hostile, fc.jsonValue()))
  .map(([index, place, value]) => {
    const { name, body } = RECORDED[index] as (typeof RECORDED)[number];
    const paths = pathsIn(at(body, ['data']), ['data']);
    const path = paths[place % paths.length] ?? ['data'];
    const map = MAPPINGS[name] as Spoiled['map'];
    const rest = withoutRecord(body, path);
    return {
      name,
      path,
      body: withValue(body, path, value),
      neighbours: rest === undefined ? undefined : map(itemsOf(rest) ?? []),
      map,
    };
  });

/** The items of an answer; undefined when it is no list. */
export function itemsOf(body: unknown): PanelItem[] | undefined {
  const parsed = parseListEnvelope(body);
  return parsed.ok ? parsed.value.items : undefined;
}

const storable = (value: unknown) => typeof value === 'string' && !value.includes('\0') && value.isWellFormed();
const between = (min: number, max: number) => (value: unknown) =>
  Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
const FITS: Record<ColumnType, (value: unknown) => boolean> = {
  integer: between(-(2 ** 31), 2 ** 31 - 1),
  bigint: between(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  text: storable,
  boolean: (value) => typeof value === 'boolean',
  'text[]': (value) => Array.isArray(value) && value.every(storable),
  timestamp: (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value),
};

/** Columns of a row that PostgreSQL would refuse, or that the mirror does not have. */
export function misfits(entity: StagedEntity, row: Record<string, unknown>): string[] {
  const columns: Record<string, { type: ColumnType; use: string }> = COLUMNS[entity];
  const staged = Object.keys(columns).filter((name) => columns[name]?.use !== 'computed');
  const wrong = staged.filter((name) => {
    const type = columns[name]?.type;
    return row[name] !== null && (type === undefined || !FITS[type](row[name]));
  });
  return [...wrong, ...Object.keys(row).filter((name) => !staged.includes(name))];
}
