/**
 * A panel written by hand, staged and merged without workflow or network: for tests of the merge alone. Attributes are
 * the panel API's; an attribute that is left out gets a plain default.
 */
import { randomUUID } from 'node:crypto';
import type { Knex } from 'knex';
import type { PanelItem } from '../../src/domain/panel/envelope.ts';
import {
  type MappedPage,
  mapLocations,
  mapNests,
  mapNodes,
  mapServers,
  mapUsers,
} from '../../src/domain/panel/records.ts';
import { listingRef } from '../../src/domain/sync/source-ref.ts';
import { type Entity, type Listing, type SyncTarget, sourcesOf } from '../../src/domain/sync/targets.ts';
import { rejectedRecords } from '../../src/store/sync/log-store.ts';
import { type MergeHooks, mergeRun } from '../../src/store/sync/merge/merge.ts';
import type { MergedSource, MergeInput, MergeOutcome } from '../../src/store/sync/merge/scope.ts';
import { storeAnswers } from '../../src/store/sync/missing-store.ts';
import { closeRun, insertPendingLog, openRun } from '../../src/store/sync/run-store.ts';
import { verifySource } from '../../src/store/sync/source-check.ts';
import { stagePage } from '../../src/store/sync/staging-store.ts';
import type { TestDb } from './database.ts';

export type Row = Record<string, unknown> & { id: number };

/** `node`, `server`, `egg` and so on name the parent; everything else is an attribute. */
export interface HandPanel {
  locations?: Row[];
  nodes?: (Row & { location_id: number })[];
  allocations?: (Row & { node: number; server?: number | null })[];
  nests?: Row[];
  eggs?: (Row & { nest: number })[];
  variables?: (Row & { egg: number })[];
  users?: Row[];
  servers?: Row[];
  databases?: (Row & { server: number })[];
  subusers?: (Row & { server: number; user_id: number })[];
}

const uuidOf = (kind: number, id: unknown) =>
  `00000000-0000-4000-8000-${String(kind).padStart(4, '0')}${String(id).padStart(8, '0')}`;
/** The uuid a hand-written row gets when it names none. */
export const handUuid = {
  node: (id: number) => uuidOf(1, id),
  nest: (id: number) => uuidOf(2, id),
  egg: (id: number) => uuidOf(3, id),
  server: (id: number) => uuidOf(4, id),
  user: (id: number) => uuidOf(5, id),
};

const item = (object: string, attributes: Record<string, unknown>): PanelItem => ({ object, attributes });
const list = (items: PanelItem[]) => ({ object: 'list', data: items });

function allocationItems(panel: HandPanel, where: (a: { node: number; server?: number | null }) => boolean) {
  return (panel.allocations ?? []).filter(where).map((a) =>
    item('allocation', {
      alias: null,
      notes: null,
      ip: '10.0.0.1',
      port: 20_000 + a.id,
      assigned: a.server != null,
      ...a,
    }),
  );
}

function nodeItems(panel: HandPanel, where: (n: { location_id: number }) => boolean): PanelItem[] {
  return (panel.nodes ?? []).filter(where).map((n) =>
    item('node', {
      uuid: uuidOf(1, n.id),
      name: `node ${n.id}`,
      fqdn: `n${n.id}.example.net`,
      memory: 1024,
      disk: 2048,
      ...n,
      relationships: { allocations: list(allocationItems(panel, (a) => a.node === n.id)) },
    }),
  );
}

/** Items of one listing, with all includes a full sync asks for. */
export function handItems(panel: HandPanel, source: Listing): PanelItem[] {
  switch (source) {
    case 'locations':
      return (panel.locations ?? []).map((l) =>
        item('location', {
          short: `loc${l.id}`,
          long: null,
          ...l,
          relationships: { nodes: list(nodeItems(panel, (n) => n.location_id === l.id)) },
        }),
      );
    case 'nodes':
      return nodeItems(panel, () => true);
    case 'nests':
      return (panel.nests ?? []).map((n) =>
        item('nest', {
          uuid: uuidOf(2, n.id),
          name: `nest ${n.id}`,
          ...n,
          relationships: {
            eggs: list(
              (panel.eggs ?? [])
                .filter((e) => e.nest === n.id)
                .map((e) =>
                  item('egg', {
                    uuid: uuidOf(3, e.id),
                    name: `egg ${e.id}`,
                    ...e,
                    relationships: {
                      variables: list(
                        (panel.variables ?? [])
                          .filter((v) => v.egg === e.id)
                          .map((v) => item('egg_variable', { name: `v${v.id}`, env_variable: `V${v.id}`, ...v })),
                      ),
                    },
                  }),
                ),
            ),
          },
        }),
      );
    case 'users':
      return (panel.users ?? []).map((u) =>
        item('user', {
          uuid: uuidOf(5, u.id),
          email: `u${u.id}@example.net`,
          username: `u${u.id}`,
          first_name: 'First',
          last_name: 'Last',
          root_admin: false,
          ...u,
        }),
      );
    case 'servers':
      return (panel.servers ?? []).map((s) =>
        item('server', {
          uuid: uuidOf(4, s.id),
          identifier: `s${s.id}`,
          name: `server ${s.id}`,
          status: null,
          suspended: false,
          limits: { memory: 1, disk: 2, cpu: 3 },
          ...s,
          relationships: {
            allocations: list(allocationItems(panel, (a) => a.server === s.id)),
            databases: list(
              (panel.databases ?? [])
                .filter((d) => d.server === s.id)
                .map((d) =>
                  item('server_database', {
                    host: 1,
                    database: `db${d.id}`,
                    username: `user${d.id}`,
                    max_connections: 0,
                    relationships: { host: item('database_host', { id: 1, host: 'db.example.net', port: 3307 }) },
                    ...d,
                  }),
                ),
            ),
            subusers: list(
              (panel.subusers ?? [])
                .filter((x) => x.server === s.id)
                .map((x) => item('subuser', { permissions: ['control.start'], ...x })),
            ),
          },
        }),
      );
  }
}

function mapped(source: Listing, include: string, items: PanelItem[]): MappedPage {
  const includes = include.split(',').map((i) => i.split('.')[0] ?? i);
  switch (source) {
    case 'locations':
      return mapLocations(items, include !== '');
    case 'nodes':
      return mapNodes(items, include !== '');
    case 'nests':
      return mapNests(items, include !== '');
    case 'users':
      return mapUsers(items);
    case 'servers':
      return mapServers(items, includes);
  }
}

export interface HandRun {
  logId: string;
  runId: string;
}

/** A RUNNING row with its run, as the workflow would have opened it. */
export async function openTestRun(
  db: TestDb,
  options: { target?: SyncTarget; dryRun?: boolean } = {},
): Promise<HandRun> {
  const run = { logId: randomUUID(), runId: randomUUID() };
  const request = {
    target: options.target ?? 'full',
    dryRun: options.dryRun ?? false,
    skipUsers: false,
    requestedBy: 'test',
    requester: 'api',
  };
  if (!(await insertPendingLog(db, run.logId, request))) throw new Error('another run is active');
  await openRun(db, { ...run, reopen: false });
  return run;
}

export interface HandMerge {
  target?: SyncTarget;
  skipUsers?: boolean;
  dryRun?: boolean;
  allowMassPrune?: boolean;
  /** Records per page; default: all on one page. */
  perPage?: number;
  /** Candidates that were looked up: the panel knows them (`alive`) or not. */
  confirmed?: { entity: Entity; id: number; alive: boolean }[];
  /** Sources that count as not read whole, whatever is staged. */
  incomplete?: string[];
  /** Listings that the panel does not have: nothing of them is staged. */
  without?: Listing[];
  /** Includes that the key may not read, by source: they come back as null. */
  denied?: Partial<Record<Listing, string[]>>;
  key?: string;
  hooks?: MergeHooks;
  /** `no subusers`: as where the sync of subusers is turned off, or reads them by the client API later. */
  entities?: 'no subusers';
}

export interface HandOutcome extends MergeOutcome {
  logId: string;
  failures: { entity: string; panelId: string; code: string; detail: string }[];
}

const deny = (value: unknown, names: readonly string[]): unknown => {
  if (Array.isArray(value)) return value.map((v) => deny(v, names));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([k, v]) => [
      k,
      k === 'relationships' && typeof v === 'object' && v !== null
        ? Object.fromEntries(
            Object.entries(v).map(([name, r]) => [
              name,
              names.includes(name) ? { object: 'null_resource', attributes: null } : deny(r, names),
            ]),
          )
        : deny(v, names),
    ]),
  );
};

/** Stages the listings of a target. @returns the entities and sources for the merge. */
export async function stageHand(
  db: TestDb,
  run: HandRun,
  panel: HandPanel,
  options: HandMerge = {},
): Promise<Pick<MergeInput, 'entities' | 'sources'>> {
  const plans = sourcesOf(options.target ?? 'full', { skipUsers: options.skipUsers ?? false, subusers: true });
  const sources: MergedSource[] = [];
  for (const plan of plans) {
    if (options.without?.includes(plan.source)) continue;
    const denied = options.denied?.[plan.source] ?? [];
    const items = handItems(panel, plan.source).map((i) => (denied.length === 0 ? i : (deny(i, denied) as PanelItem)));
    const perPage = options.perPage ?? Math.max(1, items.length);
    const pages = Math.max(1, Math.ceil(items.length / perPage));
    for (let page = 1; page <= pages; page += 1) {
      await stagePage(db, {
        logId: run.logId,
        source: listingRef(plan.source),
        pass: 1,
        page,
        total: items.length,
        perPage,
        mapped: mapped(plan.source, plan.include, items.slice((page - 1) * perPage, page * perPage)),
      });
    }
    const verdict = await verifySource(db, { logId: run.logId, source: listingRef(plan.source), pass: 1 });
    sources.push({
      source: listingRef(plan.source),
      pass: 1,
      complete: verdict.complete && !(options.incomplete ?? []).includes(plan.source),
      pages: verdict.pages,
      missingIncludes: verdict.missingIncludes,
    });
  }
  for (const { entity, id, alive } of options.confirmed ?? [])
    await storeAnswers(db, { logId: run.logId, entity, answers: [{ panelId: id, alive }] });
  const entities = [...new Set(plans.flatMap((p) => p.entities))];
  return {
    entities: options.entities === 'no subusers' ? entities.filter((entity) => entity !== 'subusers') : entities,
    sources,
  };
}

/** A whole run: opened, staged, merged, closed. */
export async function mergeHand(db: TestDb, panel: HandPanel, options: HandMerge = {}): Promise<HandOutcome> {
  const dryRun = options.dryRun ?? false;
  const run = await openTestRun(db, { ...(options.target === undefined ? {} : { target: options.target }), dryRun });
  try {
    const staged = await stageHand(db, run, panel, options);
    const outcome = await mergeRun(
      db,
      {
        logId: run.logId,
        key: options.key ?? `${run.runId}:1`,
        dryRun,
        allowMassPrune: options.allowMassPrune ?? false,
        ...staged,
      },
      options.hooks,
    );
    return { ...outcome, logId: run.logId, failures: await rejectedRecords(db, run.logId, 1_000) };
  } finally {
    await closeRun(db, { ...run, outcome: 'COMPLETED', metadata: {} });
  }
}

/** Rows of a query, for comparisons. */
export async function query(
  db: TestDb,
  sql: string,
  bindings: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  return ((await db.raw(sql, bindings as Knex.RawBinding[])) as { rows: Record<string, unknown>[] }).rows;
}

/** One of everything, twice. */
export const HAND_PANEL: HandPanel = {
  locations: [
    { id: 1, short: 'a' },
    { id: 2, short: 'b' },
  ],
  nodes: [
    { id: 1, location_id: 1 },
    { id: 2, location_id: 2 },
  ],
  allocations: [
    { id: 1, node: 1, port: 1001, server: 1 },
    { id: 2, node: 1, port: 1002 },
    { id: 3, node: 2, port: 1001, server: 2 },
  ],
  nests: [{ id: 1 }, { id: 2 }],
  eggs: [
    { id: 1, nest: 1 },
    { id: 2, nest: 2 },
  ],
  variables: [
    { id: 1, egg: 1 },
    { id: 2, egg: 2 },
  ],
  users: [{ id: 1 }, { id: 2 }, { id: 3 }],
  servers: [
    { id: 1, user: 1, node: 1, egg: 1, nest: 1 },
    { id: 2, user: 2, node: 2, egg: 2, nest: 2 },
  ],
  databases: [
    { id: 1, server: 1 },
    { id: 2, server: 2 },
  ],
  subusers: [{ id: 1, server: 1, user_id: 3 }],
};
/** The same panel, with some of its listings replaced. */
export const change = (changes: Partial<HandPanel>, panel = HAND_PANEL): HandPanel => ({ ...panel, ...changes });
