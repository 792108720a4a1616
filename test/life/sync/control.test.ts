/** Starting, sharing, cancelling, resetting and ending runs, with workers and api as separate processes. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { isAppError } from '../../../src/domain/errors.ts';
import { OPERATOR } from '../../../src/services/audit/record-change.ts';
import { PANEL_SYNC_ID } from '../../../src/workflows/contract.ts';
import { resetPoints } from '../../support/histories.ts';
import { createJournal, onFailure } from '../../support/journal.ts';
import { query } from '../../support/merge.ts';
import { type Installation, LIFE_API_KEY, type ServiceProcess } from '../../support/processes.ts';
import {
  committedRows,
  type Disturbable,
  expectEnd,
  expectMirrorEqual,
  expectOnce,
  reportOf,
  runsOf,
  startDisturbable,
} from '../../support/spoiled.ts';

const journal = createJournal();
let life: Disturbable;
let installation: Installation;
onFailure(() => installation);
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
});
afterAll(async () => {
  journal.print();
  await installation?.stop();
});
beforeEach(() => life.prepare());

const handle = (runId?: string) => installation.gateway.client.workflow.getHandle(PANEL_SYNC_ID, runId);
const statusOf = async (runId?: string) => (await handle(runId).describe()).status.name;

/** Calls the api with its key. */
async function call(api: ServiceProcess, path: string): Promise<{ status: number; logId: string; retryAfter: string }> {
  const response = await fetch(`${api.url}${path}`, {
    method: 'POST',
    headers: { 'x-api-key': LIFE_API_KEY, 'content-type': 'application/json' },
    body: '{}',
  });
  const text = await response.text();
  return {
    status: response.status,
    logId: /"sync_log_id":"([^"]+)"/.exec(text)?.[1] ?? '',
    retryAfter: response.headers.get('retry-after') ?? '',
  };
}

/** Number of activities of a type, by worker. */
async function doneBy(activity: string): Promise<Map<string, number>> {
  const { events } = await handle().fetchHistory();
  const scheduled = new Map<string, string>();
  const done = new Map<string, number>();
  for (const event of events ?? []) {
    const planned = event.activityTaskScheduledEventAttributes;
    if (planned) scheduled.set(String(event.eventId), planned.activityType?.name ?? '');
    const completed = event.activityTaskCompletedEventAttributes;
    if (completed && scheduled.get(String(completed.scheduledEventId)) === activity) {
      const name = completed.identity ?? '';
      done.set(name, (done.get(name) ?? 0) + 1);
    }
  }
  return done;
}

describe('two workers', () => {
  test('share one run', async () => {
    const log = await installation.ended(await life.request());
    await expectEnd(installation, log, life.undisturbed);
    const done = await doneBy('stagePages');
    const [one, two] = installation.workers();
    expect(done.get(one?.identity ?? '')).toBeGreaterThan(0);
    expect(done.get(two?.identity ?? '')).toBeGreaterThan(0);
    journal.add('two workers', '', [...done].map(([name, n]) => `${name}: ${n} batches`).join(', '), life.tookMs);
  });

  test('one is shut down in the middle: it hands over without a heartbeat timeout', async () => {
    const began = Date.now();
    const logId = await life.request();
    const ending = await installation.atRequest(30, async () => {
      const worker = await installation.busiestWorker();
      const code = worker.terminate();
      await delay(300);
      return { code };
    });
    const log = await installation.ended(logId);
    journal.add('worker SIGTERM', '30th request', 'reading', Date.now() - began);
    await expectEnd(installation, log, life.undisturbed);
    expect(await ending.code).toBe(0);
    expect(installation.workers()).toHaveLength(1);
    // A heartbeat timeout would take 10 s.
    expect(Date.now() - began).toBeLessThan(life.tookMs + 9_000);
  });

  test('one that is frozen while it reads writes nothing when it wakes after the end', async () => {
    const began = Date.now();
    const logId = await life.request();
    const frozen = await installation.atRequest(30, async () => {
      const worker = await installation.busiestWorker();
      worker.freeze();
      return worker;
    });
    try {
      const log = await installation.ended(logId, 150_000);
      journal.add('worker SIGSTOP', '30th request', 'reading', Date.now() - began);
      await expectEnd(installation, log, life.undisturbed);
      const versions = await committedRows(installation.db);
      frozen.thaw();
      await delay(5_000);
      expect(await committedRows(installation.db)).toEqual(versions);
      await expectOnce(installation, logId, 'sync.completed');
    } finally {
      frozen.thaw();
    }
  });
});

describe('a cancel by the api', () => {
  let api: ServiceProcess;
  beforeAll(async () => {
    api = await installation.startApi();
  });
  afterAll(() => api?.kill());

  const TIMES = 20;
  test.each(Array.from({ length: TIMES }, (_, i) => i))('ends the run within 2 s, at any moment (%i)', async (i) => {
    const before = await committedRows(installation.db);
    const moment = ((i + journal.random()) / TIMES) * life.tookMs;
    const began = Date.now();
    const { status, logId } = await call(api, '/api/v1/sync/full');
    expect(status).toBe(202);
    await delay(Math.max(0, moment - (Date.now() - began)));
    const where = await journal.peek(installation);
    const when = `${Date.now() - began} ms`;
    const answer = await call(api, `/api/v1/sync/cancel/${logId}`);
    const answered = Date.now();
    const atAnswer = await committedRows(installation.db);
    const log = await installation.ended(logId, 5_000);
    journal.add(`cancel answered ${answer.status}`, when, `${where} -> ${log.status}`, Date.now() - answered);
    if (answer.status === 400) {
      // The run had ended already.
      await expectEnd(installation, log, life.undisturbed);
      return;
    }
    expect(answer.status).toBe(200);
    expect(Date.now() - answered).toBeLessThan(2_000);
    expect(log.status).toBe('CANCELLED');
    await installation.settled();
    expect(Date.now() - answered).toBeLessThan(4_000);
    if ((await runsOf(installation, logId)).length > 0 && log.metadata['applied'] !== undefined) {
      expect(await statusOf()).toBe('CANCELLED');
    }
    await expectOnce(installation, logId, 'sync.cancelled');
    // Nothing is written after the answer; the mirror is unchanged or whole.
    expect(await committedRows(installation.db)).toEqual(atAnswer);
    if (log.metadata['applied'] === true) await expectMirrorEqual(installation);
    else expect(atAnswer).toEqual(before);
  });

  test('works without a worker: the next worker ends the run', async () => {
    const before = await committedRows(installation.db);
    const { logId } = await call(api, '/api/v1/sync/full');
    await installation.atRequest(20, async () => {
      await Promise.all(installation.workers().map((worker) => worker.kill()));
    });
    expect((await call(api, `/api/v1/sync/cancel/${logId}`)).status).toBe(200);
    const began = Date.now();
    await installation.startWorker();
    const log = await installation.ended(logId);
    journal.add('cancel, no worker', '20th request', 'reading', Date.now() - began);
    expect(log.status).toBe('CANCELLED');
    await installation.settled();
    expect(await statusOf()).toBe('CANCELLED');
    expect(await committedRows(installation.db)).toEqual(before);
    await expectOnce(installation, logId, 'sync.cancelled');
  });

  test('works while Temporal is away', async () => {
    const before = await committedRows(installation.db);
    const { logId } = await call(api, '/api/v1/sync/full');
    await installation.atRequest(20, () => installation.killTemporal());
    const answer = await call(api, `/api/v1/sync/cancel/${logId}`);
    expect(answer.status).toBe(200);
    const began = Date.now();
    await installation.restartTemporal();
    const log = await installation.ended(logId);
    journal.add('cancel, no Temporal', '20th request', 'reading', Date.now() - began);
    expect(log.status).toBe('CANCELLED');
    await installation.settled();
    expect(await statusOf()).toBe('CANCELLED');
    expect(await committedRows(installation.db)).toEqual(before);
  });
});

describe('a start', () => {
  test.each([1_000, 6_000])('while Temporal is frozen for %i ms: the answer stays true', async (ms) => {
    installation.freezeTemporal();
    const thawed = delay(ms).then(() => installation.thawTemporal());
    const began = Date.now();
    try {
      const ticket = await installation.launcher.requestSync({ target: 'full', requestedBy: 'test' }).catch((e) => e);
      const answered = Date.now() - began;
      journal.add(
        `start, Temporal frozen ${ms} ms`,
        `${answered} ms`,
        isAppError(ticket) ? ticket.code : 'accepted',
        0,
      );
      expect(answered).toBeLessThan(5_000);
      await thawed;
      if (isAppError(ticket)) {
        expect(ticket.code).toBe('SERVICE_UNAVAILABLE');
        expect(ticket.retryAfterMs).toBe(5_000);
        await delay(3_000);
        // Withdrawn: a start that arrived later found no row and did nothing.
        expect(await query(installation.db, 'select l.id from sync_logs l')).toEqual([]);
        expect(installation.sim.requests).toEqual([]);
        await installation.settled();
        const log = await installation.ended(await life.request());
        await expectEnd(installation, log, life.undisturbed);
      } else {
        await expectEnd(installation, await installation.ended(ticket.syncLogId), life.undisturbed);
      }
    } finally {
      installation.thawTemporal();
    }
  });

  test('whose api is killed between the row and the start is completed by the watch', async () => {
    const api = await installation.startApi();
    installation.freezeTemporal();
    const began = Date.now();
    try {
      const lost = call(api, '/api/v1/sync/full').catch(() => undefined);
      let rows: Record<string, unknown>[] = [];
      while (rows.length === 0) rows = await query(installation.db, 'select l.id, l.status from sync_logs l');
      await api.kill();
      await lost;
      expect(rows).toEqual([{ id: expect.any(String), status: 'PENDING' }]);
      installation.thawTemporal();
      const log = await installation.ended(String(rows[0]?.['id']), 100_000);
      journal.add('api killed', 'row written', 'start not made', Date.now() - began);
      await expectEnd(installation, log, life.undisturbed);
    } finally {
      installation.thawTemporal();
    }
  });

  test('without a worker is accepted, and runs when one starts', async () => {
    await installation.haveWorkers(0);
    const logId = await life.request();
    await delay(1_000);
    await installation.startWorker();
    await expectEnd(installation, await installation.ended(logId), life.undisturbed);
  });
});

describe('what administrators do in the Temporal UI', () => {
  test('terminate: the watch closes the row as failed within about a minute', async () => {
    const before = await committedRows(installation.db);
    const began = Date.now();
    const logId = await life.request();
    await installation.atRequest(20, () => handle().terminate('by hand'));
    const log = await installation.ended(logId, 100_000);
    journal.add('terminate', '20th request', 'reading', Date.now() - began);
    expect(log).toMatchObject({ status: 'FAILED', error: 'the run was terminated' });
    await delay(1_000);
    expect(await committedRows(installation.db)).toEqual(before);
    await expectOnce(installation, logId, 'sync.failed');
  });

  async function reset(runId: string, eventId: number): Promise<string> {
    const { client, namespace } = installation.gateway;
    const answer = await client.workflowService.resetWorkflowExecution({
      namespace,
      workflowExecution: { workflowId: PANEL_SYNC_ID, runId },
      reason: 'life test',
      workflowTaskFinishEventId: eventId as never,
      requestId: crypto.randomUUID(),
    });
    return answer.runId;
  }
  const spoilAgain = () => query(installation.db, `update servers set name = 'stale' where "pterodactylId" % 3 = 0`);

  test.each(['COMPLETED', 'FAILED', 'CANCELLED'])(
    'reset of a %s run reads and writes afresh, a worker killed too',
    async (how) => {
      const logId = await life.request();
      if (how === 'FAILED') installation.sim.faults.add({ afterNth: 20, action: { kind: 'status', status: 403 } });
      if (how === 'CANCELLED')
        await installation.atRequest(20, () => installation.launcher.cancelSync(logId, OPERATOR));
      expect((await installation.ended(logId)).status).toBe(how);
      installation.sim.faults.clear();
      await installation.settled();
      const { runId } = await handle().describe();
      const events = (await handle(runId).fetchHistory()).events ?? [];
      // A reset to a point after the cancel request is still cancelled.
      const asked = events.findIndex((e) => e.workflowExecutionCancelRequestedEventAttributes != null);
      const points = resetPoints({ events: asked < 0 ? events : events.slice(0, asked) });
      await spoilAgain();
      const began = Date.now();
      const next = await reset(runId, points[Math.floor(points.length / 2)] ?? 0);
      const killed = installation.atRequest(20, async () => (await installation.busiestWorker()).kill());
      await killed;
      const end = Date.now() + 60_000;
      while ((await statusOf(next)) === 'RUNNING' && Date.now() < end) await delay(100);
      journal.add(`reset of ${how}, worker killed`, '20th request', 'reading', Date.now() - began);
      expect(await statusOf(next)).toBe('COMPLETED');
      const log = await installation.ended(logId, 1_000);
      expect(log).toMatchObject({ status: 'COMPLETED', error: null });
      expect(reportOf(log).failed).toBe(0);
      await expectMirrorEqual(installation);
      expect(await query(installation.db, 'select p.log_id from sync_pages p limit 1')).toEqual([]);
      expect(
        await query(installation.db, `select o.kind from outbox o where o.kind like 'sync.%' order by o.created_at`),
      ).toEqual([{ kind: `sync.${how.toLowerCase()}` }, { kind: 'sync.completed' }]);
    },
  );
});
