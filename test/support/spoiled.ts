/**
 * A mirror that differs from its panel in every way at once, and can be restored: each disturbed run starts from the same
 * state, so that its counts can be compared with those of an undisturbed run.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import { inTransaction } from '../../src/store/db/db.ts';
import { execute } from '../../src/store/db/query.ts';
import type { SyncLog } from '../../src/store/sync/log-store.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import type { TestDb } from './database.ts';
import { query } from './merge.ts';
import { expectedMirror, readMirror, sorted } from './mirror.ts';
import { type Installation, startInstallation } from './processes.ts';

/** Parents before children. */
const MIRROR = [
  'locations',
  'nodes',
  'nests',
  'eggs',
  'egg_variables',
  'users',
  'servers',
  'allocations',
  'server_databases',
  'server_subusers',
];

/** Ids from here on are of rows the panel does not know. */
const GHOST = 900_000;

/** Rows missing, rows stale, rows that are gone from the panel, two short codes that changed hands. */
const SPOIL = [
  `delete from server_databases where "pterodactylId" % 5 = 0`,
  `delete from server_subusers b using users u where u.id = b."userId" and u."pterodactylId" % 7 = 0`,
  `delete from servers where "pterodactylId" % 6 = 0`,
  `update servers set name = 'stale ' || "pterodactylId", status = 'stale', "ownerId" = null where "pterodactylId" % 6 = 1`,
  `delete from allocations where id % 4 = 0`,
  `update allocations set notes = 'stale', "serverId" = null where id % 4 = 1`,
  `delete from users where "pterodactylId" % 10 = 0`,
  `update users set "firstName" = 'Stale' where "pterodactylId" % 10 = 3`,
  `delete from egg_variables where id % 5 = 0`,
  `update eggs set description = 'stale' where id % 3 = 0`,
  `update nests set author = 'stale' where id % 2 = 0`,
  `update nodes set memory = 1, "isPublic" = not "isPublic" where id % 2 = 0`,
  `update locations set "shortCode" = '~' || id where id in (1, 2)`,
  `update locations l set "shortCode" = o.code from
     (values (1, (select p.short from pg_temp.codes p where p.id = 2)), (2, (select p.short from pg_temp.codes p where p.id = 1))) as o (id, code)
     where l.id = o.id`,
  `insert into locations (id, "shortCode") values (${GHOST}, 'ghost')`,
  `insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId") values (${GHOST}, 'ghost-node', 'ghost', 'ghost.example.net', 1, 1, ${GHOST})`,
  `insert into allocations (id, ip, port, "nodeId") select ${GHOST} + i, '10.9.9.9', 20000 + i, ${GHOST} from generate_series(1, 40) i`,
  `insert into nests (id, uuid, name) values (${GHOST}, 'ghost-nest', 'ghost')`,
  `insert into eggs (id, uuid, name, "nestId") values (${GHOST}, 'ghost-egg', 'ghost', ${GHOST})`,
  `insert into servers (id, "pterodactylId", uuid, name, "nodeId", "eggId")
     select 'ghost-' || i, ${GHOST} + i, 'ghost-server-' || i, 'ghost ' || i, 1, ${GHOST} from generate_series(1, 60) i`,
  `insert into server_databases (id, "serverId", "pterodactylId", "databaseName", username, host, port)
     select 'ghost-' || i, 'ghost-' || i, ${GHOST} + i, 'ghost', 'ghost', 'db.example.net', 3306 from generate_series(1, 20) i`,
];

/** Spoils a mirror that equals its panel, and keeps a copy of the result for {@link restoreSpoiled}. */
export async function spoil(db: TestDb): Promise<void> {
  await inTransaction(db, async (trx) => {
    await execute(
      trx,
      'create temp table codes on commit drop as select l.id, l."shortCode" as short from locations l',
    );
    for (const statement of SPOIL) await execute(trx, statement);
    await execute(trx, 'create schema spoiled');
    for (const table of MIRROR) await execute(trx, `create table spoiled.${table} as select * from public.${table}`);
  });
}

/** Restores the spoiled mirror and deletes all runs. */
export async function restoreSpoiled(db: TestDb): Promise<void> {
  await inTransaction(db, async (trx) => {
    await execute(trx, `truncate ${MIRROR.join(', ')}, sync_logs, outbox cascade`);
    for (const table of MIRROR) await execute(trx, `insert into ${table} select * from spoiled.${table}`);
  });
}

/** Expects the database to hold what the panel holds, in every owned column. */
export async function expectMirrorEqual(installation: Installation): Promise<void> {
  expect(sorted(await readMirror(installation.db))).toEqual(sorted(expectedMirror(installation.sim.dump())));
}

/** Identity of every visible mirror row; rows that were only locked, or rolled back, do not change it. */
export async function committedRows(db: TestDb): Promise<Record<string, unknown>> {
  const found: Record<string, unknown> = {};
  for (const table of MIRROR) {
    const [row] = await query(
      db,
      `select md5(coalesce(string_agg(ctid::text || ':' || xmin::text, ',' order by ctid), '')) as v from ${table}`,
    );
    found[table] = row?.['v'];
  }
  return found;
}

/** What a run reports, for comparison with an undisturbed run. */
export const reportOf = (log: SyncLog) => ({
  counts: log.metadata['counts'],
  warnings: log.metadata['warnings'],
  total: log.itemsTotal,
  synced: log.itemsSynced,
  failed: log.itemsFailed,
});

/**
 * Expects the end that every run must have, whatever was killed meanwhile.
 * @param runs workflow runs of the sync: one from start to end, unless it had to begin again.
 */
export async function expectEnd(
  installation: Installation,
  log: SyncLog,
  undisturbed: SyncLog,
  runs = 1,
): Promise<void> {
  const { db, gateway } = installation;
  expect(log.error).toBeNull();
  expect(log.status).toBe('COMPLETED');
  await expectMirrorEqual(installation);
  expect(reportOf(log)).toEqual(reportOf(undisturbed));
  await expectOnce(installation, log.id, 'sync.completed');
  await installation.settled();
  const [run] = await query(db, 'select workflow_run_id as id from sync_runs where log_id = ?', [log.id]);
  const described = await gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe();
  expect(described.runId).toBe(run?.['id']);
  expect(described.memo?.['logId']).toBe(log.id);
  expect(described.status.name).toBe('COMPLETED');
  const found = await runsOf(installation, log.id);
  expect(found).toContain(described.runId);
  expect(found).toHaveLength(runs);
}

/** Ids of the workflow runs of one log. The list of runs lags behind, so this waits for the first one. */
export async function runsOf(installation: Installation, logId: string): Promise<string[]> {
  for (let i = 0; ; i += 1) {
    const ids: string[] = [];
    for await (const run of installation.gateway.client.workflow.list({ query: `WorkflowId = '${PANEL_SYNC_ID}'` })) {
      if (run.memo?.['logId'] === logId) ids.push(run.runId);
    }
    if (ids.length > 0 || i === 50) return ids;
    await delay(100);
  }
}

/** Expects one log, one event of its end, and nothing left in staging. */
export async function expectOnce(installation: Installation, logId: string, kind: string): Promise<void> {
  const { db } = installation;
  expect(await query(db, 'select l.id from sync_logs l')).toEqual([{ id: logId }]);
  expect(
    await query(db, `select o.kind, o.payload->>'log_id' as log from outbox o where o.kind like 'sync.%'`),
  ).toEqual([{ kind, log: logId }]);
  expect(await query(db, 'select p.log_id from sync_pages p limit 1')).toEqual([]);
}

export interface Disturbable {
  installation: Installation;
  /** The log of an undisturbed run from the spoiled mirror. */
  undisturbed: SyncLog;
  /** Milliseconds of that run from the request to the end of its row. */
  tookMs: number;
  /** Panel requests of that run. */
  requests: number;
  /** A full sync as the api starts one. @returns its log id. */
  request(): Promise<string>;
  /** Restores the spoiled mirror and starts enough workers: the beginning of every test. */
  prepare(workers?: number): Promise<void>;
}

/** An installation of its own, as {@link disturbable} prepares it. */
export async function startDisturbable(): Promise<Disturbable> {
  const installation = await startInstallation();
  try {
    return await disturbable(installation);
  } catch (error) {
    await installation.stop();
    throw error;
  }
}

/** Gives an installation two workers and a spoiled mirror, and has the result of an undisturbed run of it. */
export async function disturbable(installation: Installation): Promise<Disturbable> {
  const request = async () =>
    (await installation.launcher.requestSync({ target: 'full', requestedBy: 'test' })).syncLogId;
  try {
    await installation.haveWorkers(2);
    const first = await installation.ended(await request());
    expect(first.error).toBeNull();
    await expectMirrorEqual(installation);
    await installation.settled();
    await spoil(installation.db);
    await restoreSpoiled(installation.db);
    installation.sim.clearRequests();
    const began = Date.now();
    const undisturbed = await installation.ended(await request());
    const tookMs = Date.now() - began;
    await expectEnd(installation, undisturbed, undisturbed);
    return {
      installation,
      undisturbed,
      tookMs,
      requests: installation.sim.requests.length,
      request,
      async prepare(workers = 2) {
        await installation.haveWorkers(workers);
        await installation.settled();
        await restoreSpoiled(installation.db);
        installation.sim.clearRequests();
      },
    };
  } catch (error) {
    console.error(await installation.diagnosis());
    throw error;
  }
}
