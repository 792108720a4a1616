/** The merge with others at work: previews, retries, cancels, closed runs, the site's own writes. */
import { setTimeout as delay } from 'node:timers/promises';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createMergeActivities, type MergeRunInput } from '../../../src/activities/sync/merge.ts';
import { loadConfig } from '../../../src/config.ts';
import { createSettings } from '../../../src/services/settings/settings.ts';
import { panelFingerprint } from '../../../src/services/sync/panel-fingerprint.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { rejectedRecords } from '../../../src/store/sync/log-store.ts';
import { type MergeHooks, mergeRun } from '../../../src/store/sync/merge/merge.ts';
import { closeRun, markCancelled } from '../../../src/store/sync/run-store.ts';
import { createTestDatabase, openTransaction, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, type HandPanel, mergeHand, openTestRun, query, stageHand } from '../../support/merge.ts';
import { rowVersions } from '../../support/mirror.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase({ max: 12 });
});
afterEach(() => database.drop());

const CHANGED: HandPanel = change({
  locations: [
    { id: 1, short: 'b' },
    { id: 2, short: 'a' },
    { id: 3, short: 'a' },
  ],
  users: [{ id: 1, email: 'u2@example.net' }, { id: 2, email: 'u1@example.net' }, { id: 3 }, { id: 4 }],
  servers: [
    { id: 2, user: 1, node: 2, egg: 2, nest: 2 },
    { id: 3, user: 4, node: 1, egg: 1, nest: 1 },
  ],
  allocations: [
    { id: 1, node: 1, port: 1002 },
    { id: 2, node: 1, port: 1001, server: 3 },
    { id: 9, node: 2, port: 1001, server: 2 },
  ],
  databases: [{ id: 2, server: 2, max_connections: 3 }],
  subusers: [{ id: 7, server: 3, user_id: 3 }],
});

/** A run with everything staged, ready to be merged. */
async function staged(panel: HandPanel, dryRun = false) {
  const run = await openTestRun(database.db, { dryRun });
  const plan = await stageHand(database.db, run, panel);
  const merge = (hooks: MergeHooks = {}, key = 'key') =>
    mergeRun(database.db, { logId: run.logId, key, dryRun, allowMassPrune: false, ...plan }, hooks);
  const close = (outcome: 'COMPLETED' | 'FAILED' | 'CANCELLED' = 'COMPLETED') =>
    closeRun(database.db, { ...run, outcome, metadata: {} });
  return { ...run, plan, merge, close };
}

/** The activity that merges, with the panel settings of the test. */
function mergeActivity(panelUrl: () => string) {
  const stored = createSettings({ db: database.db, config: loadConfig({}), encryption: createEncryption({}) });
  const { mergeRun: activity } = createMergeActivities({
    db: database.db,
    settings: async () => ({ ...(await stored.runtime()), panelUrl: panelUrl() }),
  });
  return (input: MergeRunInput) => new MockActivityEnvironment().run(activity, input);
}

describe('a preview', () => {
  test('writes nothing, and reports the counts and rejected records of the run that follows', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const before = await rowVersions(database.db);
    const preview = await mergeHand(database.db, CHANGED, { dryRun: true });
    expect(await rowVersions(database.db)).toEqual(before);
    const real = await mergeHand(database.db, CHANGED);
    expect(preview.counts).toEqual(real.counts);
    expect(preview.failures).toEqual(real.failures);
    expect(real.failures).toMatchObject([{ entity: 'locations', panelId: '3', code: 'KEY_TAKEN' }]);
    expect(real.counts).toMatchObject({
      servers: { created: 1, updated: 1, pruned: 1 },
      allocations: { created: 1, updated: 2, pruned: 1 },
      // Rows of a pruned server are deleted with it.
      databases: { updated: 1, pruned: 0 },
    });
  });

  test('of an empty database plans children under parents that do not exist yet', async () => {
    const preview = await mergeHand(database.db, HAND_PANEL, { dryRun: true });
    expect(preview.counts).toMatchObject({
      allocations: { created: 3 },
      subusers: { created: 3 },
      databases: { created: 2 },
    });
    expect(await query(database.db, 'select 1 from locations union all select 1 from users')).toEqual([]);
  });
});

describe('the same merge again', () => {
  test('returns the stored counts and writes nothing; another key merges again', async () => {
    const run = await staged(HAND_PANEL);
    const first = await run.merge();
    const versions = await rowVersions(database.db);
    expect(await run.merge()).toEqual(first);
    expect(await rowVersions(database.db)).toEqual(versions);
    const other = await run.merge({}, 'other');
    expect(other.counts.servers).toMatchObject({ created: 0, unchanged: 2 });
    expect(await rowVersions(database.db)).toEqual(versions);
  });

  test('as an activity, with other panel settings since the commit, returns the stored counts; before it, it is refused', async () => {
    const run = await staged(HAND_PANEL);
    let panelUrl = 'https://other.example';
    const merge = mergeActivity(() => panelUrl);
    const input: MergeRunInput = {
      logId: run.logId,
      key: 'key',
      panel: panelFingerprint({ panelUrl: 'https://panel.example' }),
      entities: [...run.plan.entities],
      sources: [...run.plan.sources],
      dryRun: false,
    };
    await expect(merge(input)).rejects.toMatchObject({ code: 'PANEL_CHANGED' });
    panelUrl = 'https://panel.example';
    const first = await merge(input);
    panelUrl = 'https://other.example';
    const versions = await rowVersions(database.db);
    expect(await merge(input)).toEqual(first);
    expect(await rowVersions(database.db)).toEqual(versions);
    await expect(merge({ ...input, key: 'other' })).rejects.toMatchObject({ code: 'PANEL_CHANGED' });
    await run.close();
    await expect(merge(input)).rejects.toMatchObject({ code: 'RUN_CLOSED' });
  });

  test('twice at once: one writes, the other gets its counts', async () => {
    const run = await staged(HAND_PANEL);
    const [a, b] = await Promise.all([run.merge(), run.merge()]);
    expect(a).toEqual(b);
    expect(a.counts.servers).toMatchObject({ created: 2 });
    expect(await query(database.db, 'select count(*)::int as n from servers')).toEqual([{ n: 2 }]);
  });

  test('twice at once with two keys: the second finds nothing to do', async () => {
    const run = await staged(HAND_PANEL);
    const outcomes = await Promise.all([run.merge({}, 'one'), run.merge({}, 'two')]);
    expect(outcomes.map((o) => o.counts.servers?.created).sort()).toEqual([0, 2]);
  });
});

describe('a cancel', () => {
  test('before the merge: nothing is written', async () => {
    const run = await staged(HAND_PANEL);
    await markCancelled(database.db, run.logId);
    expect(await run.merge()).toEqual({ status: 'cancelled', counts: {}, warnings: [] });
    expect(await query(database.db, 'select 1 from locations')).toEqual([]);
    expect(await run.close('COMPLETED')).toBe('CANCELLED');
  });

  test('while it writes: it is answered at once, and the merge is rolled back', async () => {
    const run = await staged(HAND_PANEL);
    let waited = Number.POSITIVE_INFINITY;
    const outcome = await run.merge({
      onPlan: async () => {
        const from = Date.now();
        expect(await markCancelled(database.db, run.logId)).toEqual({ id: run.logId, closed: false });
        waited = Date.now() - from;
      },
    });
    expect(waited).toBeLessThan(1_000);
    expect(outcome.status).toBe('cancelled');
    expect(await query(database.db, 'select 1 from locations union all select 1 from users')).toEqual([]);
    expect(await run.close('CANCELLED')).toBe('CANCELLED');
  });

  test('after the commit: the mirror is whole and the log says so', async () => {
    const run = await staged(HAND_PANEL);
    await run.merge();
    await markCancelled(database.db, run.logId);
    expect(await run.close('COMPLETED')).toBe('CANCELLED');
    expect(await query(database.db, `select metadata->>'applied' as a from sync_logs`)).toEqual([{ a: 'true' }]);
    expect(await query(database.db, 'select count(*)::int as n from servers')).toEqual([{ n: 2 }]);
  });
});

describe('a run that was closed', () => {
  test('merges nothing any more', async () => {
    const run = await staged(HAND_PANEL);
    await run.close('FAILED');
    await expect(run.merge()).rejects.toMatchObject({ code: 'RUN_CLOSED' });
    expect(await query(database.db, 'select 1 from locations')).toEqual([]);
  });

  test('cannot be closed while it is being merged: the close waits for the commit', async () => {
    const run = await staged(HAND_PANEL);
    const order: string[] = [];
    let closing: Promise<unknown> | undefined;
    await run
      .merge({
        onPlan: async () => {
          closing = run.close('FAILED').then(
            () => order.push('closed'),
            // In a deadlock PostgreSQL may cancel this one.
            () => order.push('deadlock'),
          );
          await delay(100);
        },
      })
      .then(
        () => order.push('merged'),
        () => order.push('refused'),
      );
    await closing;
    // Never half: either it was merged and then closed, or closed and not merged.
    const [count] = await query(database.db, 'select count(*)::int as n from servers');
    expect(count?.['n']).toBe(order.includes('merged') ? 2 : 0);
    expect(order).toHaveLength(2);
  });
});

describe('aborted', () => {
  test('by its signal before the start', async () => {
    const run = await staged(HAND_PANEL);
    await expect(run.merge({ signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
    expect(await query(database.db, 'select 1 from locations')).toEqual([]);
  });

  test('while a statement waits: it is cancelled in the database, and all is rolled back', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const before = await query(database.db, 'select id, "shortCode" as c from locations order by id');
    const run = await staged(CHANGED);
    const blocker = await openTransaction(database.db);
    await blocker.raw('select 1 from users for update');
    const controller = new AbortController();
    const from = Date.now();
    const merging = run.merge({
      signal: controller.signal,
      onPlan: async () => void setTimeout(() => controller.abort(), 200),
    });
    await expect(merging).rejects.toMatchObject({ name: 'AbortError' });
    expect(Date.now() - from).toBeLessThan(3_000);
    await blocker.rollback();
    expect(await query(database.db, 'select id, "shortCode" as c from locations order by id')).toEqual(before);
    // The connection can be used again.
    expect((await run.merge()).status).toBe('merged');
  });

  test('between two statements: the next ones are not run', async () => {
    const run = await staged(HAND_PANEL);
    const controller = new AbortController();
    await expect(
      run.merge({ signal: controller.signal, onPlan: async () => controller.abort() }),
    ).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(await query(database.db, 'select 1 from locations')).toEqual([]);
  });
});

describe('while the site writes', () => {
  test("logins, registrations and renames at the same time: no error, and the site's columns stay", async () => {
    const count = 300;
    const panel = (round: number) =>
      change({
        users: Array.from({ length: count }, (_, i) => ({
          id: i + 1,
          root_admin: round % 2 === 0,
          username: `r${round}`,
        })),
      });
    await mergeHand(database.db, panel(0));
    let stop = false;
    const errors: unknown[] = [];
    let logins = 0;
    const loop = async (seed: number) => {
      for (let n = seed; !stop; n += 7) {
        const panelId = (n % count) + 1;
        try {
          await database.db.raw(
            `update users set "lastLoginAt" = now(), roles = array['PARTNER'], "phoneNumber" = ? where "pterodactylId" = ?`,
            [`p${panelId}`, panelId],
          );
          await database.db.raw(`update users set email = ? where "pterodactylId" = ? and "lastLoginAt" is not null`, [
            `site${panelId}@example.net`,
            panelId,
          ]);
          await database
            .db('users')
            .insert({ id: `v${n}`, email: `visitor${n}@example.net`, password: 'x' })
            .onConflict()
            .ignore();
          logins += 1;
        } catch (error) {
          errors.push(error);
        }
      }
    };
    const loops = [loop(0), loop(3)];
    for (let round = 1; round <= 6; round += 1) {
      const outcome = await mergeHand(database.db, panel(round));
      expect(outcome.failures).toEqual([]);
    }
    stop = true;
    await Promise.all(loops);
    expect(errors).toEqual([]);
    expect(logins).toBeGreaterThan(20);
    const touched = await query(
      database.db,
      `select count(*)::int as n, count(*) filter (where email <> 'site' || "pterodactylId" || '@example.net' or "phoneNumber" <> 'p' || "pterodactylId")::int as lost
       from users where 'PARTNER' = any(roles)`,
    );
    expect(touched).toMatchObject([{ lost: 0 }]);
    expect(
      await query(
        database.db,
        `select count(*)::int as n from users where "pterodactylId" is not null and not "isPterodactylAdmin"`,
      ),
    ).toEqual([{ n: 0 }]);
  });

  test('a row that vanishes between plan and write: the merge plans again', async () => {
    await mergeHand(database.db, HAND_PANEL);
    let tries = 0;
    const run = await staged(CHANGED);
    const outcome = await run.merge({
      onPlan: async () => {
        tries += 1;
        if (tries === 1) await database.db.raw(`delete from servers where "pterodactylId" = 2`);
      },
    });
    expect(tries).toBe(2);
    expect(outcome.counts.servers).toMatchObject({ created: 2, pruned: 1 });
    expect(await rejectedRecords(database.db, run.logId, 10)).toHaveLength(1);
  });
});
