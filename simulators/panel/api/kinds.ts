/** The object types of the application API, the rights of a key, and the tree of requested includes. */
import type { EntityName } from '../world/rows.ts';

/** Rights of an application key. Each means read access (bit 1 of the panel's key columns). */
export const RIGHTS = [
  'locations',
  'nodes',
  'allocations',
  'nests',
  'eggs',
  'users',
  'servers',
  'server_databases',
  'database_hosts',
] as const;
export type Right = (typeof RIGHTS)[number];
/** `all`: a client key. A root admin's client key passes every check. */
export type Rights = ReadonlySet<Right> | 'all';

/** Object types of the application API. */
export type Kind =
  | 'location'
  | 'node'
  | 'allocation'
  | 'nest'
  | 'egg'
  | 'egg_variable'
  | 'user'
  | 'server'
  | 'server_database'
  | 'database_host'
  | 'subuser';

export const ENTITY_OF: Record<Kind, EntityName> = {
  location: 'locations',
  node: 'nodes',
  allocation: 'allocations',
  nest: 'nests',
  egg: 'eggs',
  egg_variable: 'variables',
  user: 'users',
  server: 'servers',
  server_database: 'databases',
  database_host: 'databaseHosts',
  subuser: 'subusers',
};

/** Names of includes, two levels. */
export type IncludeTree = Map<string, IncludeTree>;

/** Parses `include` as the panel does: a comma list or several parameters, blanks allowed, two levels. `a.b` also includes `a`. */
export function parseIncludes(values: readonly string[]): IncludeTree {
  const tree: IncludeTree = new Map();
  for (const name of values.flatMap((value) => value.split(','))) {
    const [first, second] = name.trim().split('.');
    if (first === undefined || first === '') continue;
    const children = tree.get(first) ?? new Map();
    tree.set(first, children);
    if (second !== undefined && second !== '') children.set(second, new Map());
  }
  return tree;
}

/** How objects of one answer are written. */
export interface View {
  includes: IncludeTree;
  rights: Rights;
  /** A fault: the include of this name is written as if the key lacked its right. */
  nullResource?: string | undefined;
}

/** The panel's PHP code fails here: the answer is status 500 with the name of the exception. */
export class PanelBug extends Error {
  constructor(exception: string) {
    super(exception);
    this.name = 'PanelBug';
  }
}
