/** Kills and freezes around the merge transaction: in its middle, and between its commit and its report. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { type HeldMerge, holdMerge } from '../../support/held-merge.ts';
import { createJournal, onFailure } from '../../support/journal.ts';
import { query } from '../../support/merge.ts';
import type { Installation } from '../../support/processes.ts';
import { committedRows, type Disturbable, expectEnd, startDisturbable } from '../../support/spoiled.ts';

const journal = createJournal();
let life: Disturbable;
let installation: Installation;
let hold: HeldMerge;
let began = 0;
onFailure(() => installation);
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await installation?.stop();
});
beforeEach(async () => {
  await life.prepare();
  hold = await holdMerge(installation.databaseUrl);
  began = Date.now();
});
afterEach(() => hold.release());

/** Waits for the end of a run that was disturbed at `disturbed`. */
async function finish(logId: string, what: string, where: string, disturbed: number): Promise<void> {
  const log = await installation.ended(logId, 150_000);
  journal.add(what, `${disturbed - began} ms`, where, Date.now() - disturbed);
  await expectEnd(installation, log, life.undisturbed);
}

describe('in the middle of the merge', () => {
  test('the worker is killed: its transaction is rolled back, another worker plans again', async () => {
    const before = await committedRows(installation.db);
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    const worker = await installation.busiestWorker();
    await worker.kill();
    await hold.release();
    await delay(1_000);
    expect(await committedRows(installation.db)).toEqual(before);
    await finish(logId, 'worker killed', 'in the merge', disturbed);
  });

  test.each([true, false])('PostgreSQL is killed (backends too: %s)', async (all) => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    await installation.killPostgres(all);
    await delay(500);
    await installation.restartPostgres();
    await finish(logId, 'PostgreSQL killed', 'in the merge', disturbed);
  });

  test('Temporal is killed: the merge commits alone, and its counts are reported later', async () => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    await installation.killTemporal();
    await hold.release();
    await delay(2_000);
    const merged = await committedRows(installation.db);
    await installation.restartTemporal();
    await finish(logId, 'Temporal killed', 'in the merge', disturbed);
    // Written once: no row was touched after the commit.
    expect(await committedRows(installation.db)).toEqual(merged);
  });

  test('the worker is frozen: another takes over, and the frozen one writes nothing when it wakes', async () => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    const frozen = await installation.busiestWorker();
    frozen.freeze();
    try {
      await hold.release();
      await finish(logId, 'worker frozen', 'in the merge', disturbed);
      const [versions, log] = [await committedRows(installation.db), await logText(logId)];
      frozen.thaw();
      await delay(5_000);
      expect(await committedRows(installation.db)).toEqual(versions);
      expect(await logText(logId)).toEqual(log);
      // The frozen worker works again.
      for (const worker of installation.workers()) if (worker !== frozen) await worker.kill();
      await life.prepare(1);
      await finish(await life.request(), 'the frozen worker alone', 'afterwards', Date.now());
    } finally {
      frozen.thaw();
    }
  });

  test('a cancel rolls it back: the mirror stays as it was', async () => {
    const before = await committedRows(installation.db);
    const logId = await life.request();
    await hold.reached();
    const asked = Date.now();
    await installation.launcher.cancelSync(logId, OPERATOR);
    const log = await installation.ended(logId, 10_000);
    journal.add('cancelled', `${asked - began} ms`, 'in the merge', Date.now() - asked);
    expect(log.status).toBe('CANCELLED');
    expect(Date.now() - asked).toBeLessThan(2_000);
    await hold.release();
    await installation.settled();
    expect(await committedRows(installation.db)).toEqual(before);
  });
});

describe('between the commit and its report', () => {
  test('the worker is killed: the stored counts are reported', async () => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    await hold.toCommit();
    const worker = await installation.busiestWorker();
    await worker.kill();
    await hold.release();
    await delay(1_000);
    const merged = await committedRows(installation.db);
    await finish(logId, 'worker killed', 'committed, not reported', disturbed);
    expect(await committedRows(installation.db)).toEqual(merged);
  });

  test('PostgreSQL is killed: the stored counts are reported', async () => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    await hold.toCommit();
    await hold.forgetStandby();
    await installation.killPostgres(true);
    await installation.restartPostgres();
    const merged = await committedRows(installation.db);
    await finish(logId, 'PostgreSQL killed', 'committed, not reported', disturbed);
    expect(await committedRows(installation.db)).toEqual(merged);
  });

  test('Temporal and the worker are killed: the stored counts are reported', async () => {
    const logId = await life.request();
    await hold.reached();
    const disturbed = Date.now();
    await hold.toCommit();
    const worker = await installation.busiestWorker();
    await installation.killTemporal();
    await worker.kill();
    await hold.release();
    await delay(500);
    const merged = await committedRows(installation.db);
    await installation.restartTemporal();
    await finish(logId, 'Temporal and worker killed', 'committed, not reported', disturbed);
    expect(await committedRows(installation.db)).toEqual(merged);
  });
});

const logText = async (logId: string) =>
  JSON.stringify(await query(installation.db, 'select l.* from sync_logs l where l.id = ?', [logId]));
