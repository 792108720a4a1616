/** `/api/admin/runs*` and `/api/v1/queues/stats`: what is listed and why it failed, pages, retries, figures; without Temporal too. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { EngineKind } from '../../../src/domain/runs.ts';
import { createQueueStats } from '../../../src/services/runs/queue-stats.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { query } from '../../../src/store/db/query.ts';
import { clearDeadEmails, type EmailRequest, markEmailFailed } from '../../../src/store/email/email-store.ts';
import { enqueue } from '../../../src/store/outbox-store.ts';
import type { EngineRun } from '../../../src/temporal/engine-runs.ts';
import { type AllQueueFigures, NO_FIGURES } from '../../../src/temporal/task-queues.ts';
import { API_KEY, bearer, type Harness, insertLog, makeUser, startHarness } from '../../support/api/harness.ts';

interface ListedRun {
  kind: string;
  id: string;
  name: string;
  status: string;
  startedAt: string | null;
  endedAt: string | null;
  reason: string | null;
  workflowId: string | null;
  runId: string | null;
  link: string | null;
  retry: { possible: boolean; how: string; obstacle: string | null; as: string | null };
}
interface RunList {
  runs: ListedRun[];
  nextCursor: string | null;
  note: string | null;
}
interface Retried {
  kind: string;
  id: string | null;
  repeated: boolean;
  code: string;
  error: string;
}

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
let scheduled: EngineRun[] = [];
let engineFailure: Error | undefined;
const triggered: string[] = [];
const away = () => Object.assign(new Error('14 UNAVAILABLE: No connection established to 10.0.0.7:7233'), { code: 14 });
const answer = <T>(value: T): Promise<T> =>
  engineFailure === undefined ? Promise.resolve(value) : Promise.reject(engineFailure);

let reads = 0;
let read: () => Promise<AllQueueFigures>;

beforeAll(async () => {
  harness = await startHarness({
    temporalUiUrl: 'https://ui.example/temporal',
    deps: {
      queues: createQueueStats(() => {
        reads += 1;
        return read();
      }),
    },
    engine: {
      list: ({ kinds, status, after, limit }) =>
        answer(
          scheduled
            .filter((run) => kinds.includes(run.kind) && (status === undefined || run.status === status))
            .filter((run) => after === undefined || run.at < after.at)
            .toSorted((a, b) => b.at.getTime() - a.at.getTime())
            .slice(0, limit),
        ),
      find: (kind, id) => answer(scheduled.find((run) => run.kind === kind && run.id === id)),
      async trigger(scheduleId) {
        // Long enough for a second request to arrive meanwhile.
        await new Promise((resolve) => setTimeout(resolve, 50));
        triggered.push(scheduleId);
        return answer(scheduleId !== 'maintenance:gone');
      },
    },
  });
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
});
beforeEach(async () => {
  await harness.database.db.raw('delete from emails; delete from outbox; delete from sync_logs');
  scheduled = [];
  engineFailure = undefined;
  triggered.length = 0;
  harness.requested.length = 0;
});
afterAll(() => harness.close());

const call = (path: string, method = 'GET', token = admin.token) =>
  harness.get(`/api/admin/runs${path}`, { method, headers: bearer(token) });
async function list(filter: Record<string, string> = {}): Promise<RunList> {
  const response = await call(`?${new URLSearchParams(filter)}`);
  expect(response.status).toBe(200);
  return (await response.json()) as unknown as RunList;
}
async function retry(kind: string, id: string): Promise<[number, Retried]> {
  const response = await call(`/${kind}/${id}/retry`, 'POST');
  return [response.status, (await response.json()) as unknown as Retried];
}
const put = (request: EmailRequest) =>
  inTransaction(harness.database.db, (trx) => harness.deps.emails.queue(trx, request));
async function failedEmail(reason = 'The email server refused the email', request: Partial<EmailRequest> = {}) {
  const id = await put({ template: 'message', to: 'ada@example.com', data: { message: 'Hi' }, ...request });
  await markEmailFailed(harness.database.db, id, reason);
  return id;
}
async function effect(row: { status: string; error: string | null; attempts?: number }): Promise<string> {
  const key = randomUUID();
  await inTransaction(harness.database.db, (trx) => enqueue(trx, { kind: 'test.effect', dedupeKey: key, payload: {} }));
  const [stored] = await query<{ id: string }>(
    harness.database.db,
    `update outbox o set status = ?, last_error = ?, attempts = ?, available_at = now() + interval '10 minutes'
     where o.dedupe_key = ? returning o.id`,
    [row.status, row.error, row.attempts ?? 3, key],
  );
  return stored?.id ?? '';
}
function scheduledRun(run: Partial<EngineRun> = {}): EngineRun {
  const made: EngineRun = {
    kind: 'maintenance' as EngineKind,
    id: randomUUID(),
    name: 'retention',
    status: 'failed',
    startedAt: new Date('2026-01-09T03:00:00.000Z'),
    endedAt: new Date('2026-01-09T03:00:05.000Z'),
    at: new Date('2026-01-09T03:00:05.000Z'),
    reason: 'PostgreSQL cannot be reached',
    workflowId: 'maintenance:retention-2026-01-09T03:00:00Z',
    scheduleId: 'maintenance:retention',
    ...run,
  };
  scheduled.push(made);
  return made;
}
const events = (id: string) =>
  query<{ action: string; actorId: string; type: string; details: Record<string, unknown> }>(
    harness.database.db,
    `select a.action, a.actor_id as "actorId", a.target_type as type, a.details from audit_events a
     where a.target_id = ? order by a.id`,
    [id],
  );
const ids = ({ runs }: RunList): string[] => runs.map(({ id }) => id);

describe('the list', () => {
  test('has failed runs of every kind, newest first, with reason, way of a retry and link', async () => {
    const sync = await insertLog(harness.database, { status: 'FAILED', error: 'The panel refused the API key' });
    await harness.database.db.raw(`insert into sync_runs (log_id, workflow_run_id) values (?, 'run-1')`, [sync]);
    const job = scheduledRun();
    const email = await failedEmail();
    const stuck = await effect({ status: 'failed', error: 'ServiceError', attempts: 20 });
    const postponed = await effect({ status: 'pending', error: 'TypeError' });
    await insertLog(harness.database, { status: 'COMPLETED' });
    await put({ template: 'message', to: 'b@example.com', data: { message: 'Hi' } });
    await effect({ status: 'dispatched', error: null });
    scheduledRun({ status: 'completed', reason: null });
    const { runs, nextCursor, note } = await list();
    expect([nextCursor, note]).toEqual([null, null]);
    const UI = 'https://ui.example/temporal/namespaces/name%20space%2F2/workflows';
    const [first, second, ...rest] = runs;
    expect([first?.id, second?.id, rest[0]?.id].toSorted()).toEqual([email, stuck, postponed].toSorted());
    expect(rest.slice(1)).toEqual([
      {
        kind: 'sync',
        id: sync,
        name: 'full',
        status: 'failed',
        startedAt: '2026-01-09T10:30:00.123Z',
        endedAt: '2026-01-09T10:31:30.123Z',
        reason: 'The panel refused the API key',
        workflowId: 'panel-sync',
        runId: 'run-1',
        link: `${UI}/panel-sync/run-1/history`,
        retry: { possible: true, how: 'request-sync', obstacle: null, as: null },
      },
      {
        kind: 'maintenance',
        id: job.id,
        name: 'retention',
        status: 'failed',
        startedAt: '2026-01-09T03:00:00.000Z',
        endedAt: '2026-01-09T03:00:05.000Z',
        reason: 'PostgreSQL cannot be reached',
        workflowId: job.workflowId,
        runId: job.id,
        link: `${UI}/maintenance%3Aretention-2026-01-09T03%3A00%3A00Z/${job.id}/history`,
        retry: { possible: true, how: 'trigger-schedule', obstacle: null, as: null },
      },
    ]);
    expect(runs.find(({ id }) => id === email)).toMatchObject({
      kind: 'email',
      name: 'message',
      status: 'failed',
      reason: 'The email server refused the email',
      workflowId: `email:${email}`,
      runId: null,
      link: `${UI}/email%3A${email}`,
      retry: { possible: true, how: 'resend-email', obstacle: null, as: null },
    });
    expect(runs.find(({ id }) => id === postponed)).toMatchObject({
      kind: 'outbox',
      name: 'test.effect',
      status: 'failed',
      reason: 'TypeError',
      endedAt: null,
      link: null,
      retry: { possible: true, how: 'dispatch', obstacle: null, as: null },
    });
    const one = await (await call(`/sync/${sync}`)).json();
    expect(one).toMatchObject({ success: true, run: { id: sync, reason: 'The panel refused the API key' } });
  });

  test('a reason shows no secret and no address of a person', async () => {
    await failedEmail(
      '550 <ada.lovelace@customer.example> unknown; smtp://user:hunter2@smtp.example refused Bearer abc.def; ' +
        'key=re_0123456789_ABCDEFGHIJKLMNOPQRSTUVWX',
    );
    const { runs } = await list();
    expect(runs[0]?.reason).toBe('550 <[address]> unknown; smtp://smtp.example refused Bearer [hidden] key=[hidden]');
    expect(JSON.stringify(runs)).not.toMatch(/customer\.example|hunter2|abc\.def|ABCDEF|ada@example/);
  });

  test('filters by kind and status; rows without values are there', async () => {
    const old = await insertLog(harness.database, { status: 'COMPLETED', metadata: null });
    await harness.database.db.raw(
      `update sync_logs set status = null, "itemsTotal" = null, "completedAt" = null, type = 'a-former-target' where id = ?`,
      [old],
    );
    const success = await insertLog(harness.database, { status: 'success' });
    const waiting = await put({ template: 'welcome', to: 'b@example.com' });
    const waits = await effect({ status: 'pending', error: null });
    const job = scheduledRun({ kind: 'scheduled-sync', status: 'running', endedAt: null, reason: null });
    expect(await list({ kind: 'sync' })).toMatchObject({
      runs: [
        {
          id: old,
          endedAt: null,
          reason: null,
          workflowId: null,
          retry: { possible: false, obstacle: 'Its target is not known' },
        },
      ],
    });
    expect(ids(await list({ kind: 'sync', status: 'completed' }))).toEqual([success]);
    expect(ids(await list({ status: 'waiting' })).toSorted()).toEqual(
      [
        waiting,
        waits,
        (
          await query<{ id: string }>(harness.database.db, `select o.id from outbox o where o.kind = 'email.send'`, [])
        )[0]?.id,
      ].toSorted(),
    );
    expect(ids(await list({ status: 'RUNNING', kind: 'all' }))).toEqual([job.id]);
    expect((await list({ status: 'all' })).runs).toHaveLength(6);
    expect((await list({ kind: 'scheduled-sync', status: 'all' })).runs).toMatchObject([
      { name: 'retention', retry: { possible: false, obstacle: 'It did not fail' } },
    ]);
  });

  test('pages show each run once, also runs of one millisecond, of both sources', async () => {
    const at = '2026-01-09 03:00:05.000';
    const logs: string[] = [];
    for (let n = 0; n < 5; n += 1) logs.push(await insertLog(harness.database, { status: 'FAILED' }));
    await harness.database.db.raw(`update sync_logs set "completedAt" = ?::timestamp + interval '400 microseconds'`, [
      at,
    ]);
    const jobs = [1, 2, 3].map((seconds) =>
      scheduledRun({ id: randomUUID(), at: new Date(`2026-01-09T03:00:0${seconds + 3}.000Z`) }),
    );
    const seen: string[] = [];
    let cursor = '';
    for (let pages = 0; pages < 10; pages += 1) {
      const page = await list({ limit: '3', ...(cursor === '' ? {} : { cursor }) });
      seen.push(...ids(page));
      if (page.nextCursor === null) break;
      cursor = page.nextCursor;
    }
    expect(seen.toSorted()).toEqual([...logs, ...jobs.map(({ id }) => id)].toSorted());
    expect(seen[0]).toBe(jobs[2]?.id);
    expect(seen.at(-1)).toBe(jobs[0]?.id);
    expect((await list({ limit: '100000' })).runs).toHaveLength(8);
    const bad = await call('?cursor=nonsense');
    expect([bad.status, (await bad.json()).code]).toEqual([400, 'VALIDATION_ERROR']);
  });

  test('without Temporal the rows of the database are there, and a note; one run of Temporal is a 503', async () => {
    const sync = await insertLog(harness.database, { status: 'FAILED' });
    const job = scheduledRun();
    engineFailure = away();
    const answered = await list();
    expect(ids(answered)).toEqual([sync]);
    expect(answered.note).toContain('Temporal cannot be reached');
    expect((await list({ kind: 'sync' })).note).toBeNull();
    for (const [path, method] of [
      [`/maintenance/${job.id}`, 'GET'],
      [`/maintenance/${job.id}/retry`, 'POST'],
    ] as const) {
      const response = await call(path, method);
      expect([response.status, response.headers.get('retry-after')]).toEqual([503, '5']);
      expect(await response.text()).not.toContain('10.0.0.7');
    }
  });
});

describe('a retry', () => {
  test('of a sync requests it again, with its target and options', async () => {
    const sync = await insertLog(harness.database, { type: 'servers', status: 'FAILED' });
    await harness.database.db.raw(`insert into sync_runs (log_id, options) values (?, ?::jsonb)`, [
      sync,
      JSON.stringify({ target: 'servers', dryRun: true, skipUsers: true, requester: 'scheduler' }),
    ]);
    const [status, body] = await retry('sync', sync);
    expect([status, body.kind, body.repeated]).toEqual([202, 'sync', false]);
    expect(harness.requested).toMatchObject([
      {
        target: 'servers',
        dryRun: true,
        skipUsers: true,
        requester: admin.id,
        retryOf: sync,
        id: expect.any(String),
        by: { actor: { type: 'user', id: admin.id } },
      },
    ]);
    // Its retry has one id, so a repeated request is the same one, and the list names it.
    await retry('sync', sync);
    const [first, second] = harness.requested;
    expect(second?.id).toBe(first?.id);
    await harness.database.db.raw(`update sync_logs set id = ? where id = ?`, [
      first?.id ?? '',
      await insertLog(harness.database, { status: 'FAILED', type: 'servers' }),
    ]);
    const { runs } = await list();
    expect(runs.find(({ id }) => id === sync)?.retry).toMatchObject({ possible: false, as: first?.id });
    expect(runs.find(({ id }) => id === first?.id)?.retry).toMatchObject({ possible: true, as: null });
  });

  test('of an email sends a copy once, and is recorded as one event', async () => {
    const email = await failedEmail();
    const [[status, body], [, again]] = await Promise.all([retry('email', email), retry('email', email)]);
    expect([status, body.id]).toEqual([202, again.id]);
    expect([body.repeated, again.repeated].toSorted()).toEqual([false, true]);
    expect(await events(email)).toEqual([
      {
        action: 'run-retried',
        actorId: admin.id,
        type: 'run',
        details: { kind: 'email', template: 'message', copy: body.id },
      },
    ]);
    const { runs } = await list();
    expect(runs).toMatchObject([{ id: email, retry: { possible: true, as: body.id } }]);
    // When its data is cleared, a day later, it keeps its place, and cannot be repeated any more.
    await harness.database.db.raw(
      `update emails set updated_at = '2026-01-02 00:00Z', created_at = '2026-01-01' where id = ?`,
      [email],
    );
    await clearDeadEmails(harness.database.db, 100);
    const [cleared] = (await list()).runs;
    expect(cleared).toMatchObject({
      id: email,
      endedAt: '2026-01-02T00:00:00.000Z',
      retry: { possible: false, obstacle: 'The data of this email was cleared: send a new one' },
    });
    await harness.database.db.raw('delete from emails where resent_from is not null');
    expect((await retry('email', email))[0]).toBe(409);
  });

  test('of an effect makes it due at once, and a repetition changes nothing', async () => {
    for (const row of [
      { status: 'failed', error: 'ServiceError', attempts: 20 },
      { status: 'pending', error: 'TypeError' },
    ]) {
      const id = await effect(row);
      expect(await retry('outbox', id)).toMatchObject([202, { kind: 'outbox', id, repeated: false }]);
      const [due] = await query(
        harness.database.db,
        `select o.status, o.attempts, o.last_error as error, o.available_at <= now() as due from outbox o where o.id = ?`,
        [id],
      );
      expect(due).toEqual({ status: 'pending', attempts: 0, error: null, due: true });
      await harness.database.db.raw(`update outbox set status = 'dispatched' where id = ?`, [id]);
      expect(await retry('outbox', id)).toMatchObject([202, { id, repeated: true }]);
      expect(await events(id)).toMatchObject([
        { action: 'run-retried', details: { kind: 'outbox', effect: 'test.effect' } },
      ]);
    }
  });

  test('of a job triggers its schedule once, and nothing is recorded when that fails', async () => {
    const job = scheduledRun();
    engineFailure = away();
    expect((await retry('maintenance', job.id))[0]).toBe(503);
    engineFailure = undefined;
    const gone = scheduledRun({ scheduleId: 'maintenance:gone' });
    expect((await retry('maintenance', gone.id))[0]).toBe(409);
    expect([await events(job.id), await events(gone.id)]).toEqual([[], []]);
    triggered.length = 0;
    const answers = await Promise.all([retry('maintenance', job.id), retry('maintenance', job.id)]);
    expect(answers.map(([status]) => status)).toEqual([202, 202]);
    expect(answers.map(([, { repeated }]) => repeated).toSorted()).toEqual([false, true]);
    expect(triggered).toEqual(['maintenance:retention']);
    expect(await events(job.id)).toMatchObject([
      { action: 'run-retried', type: 'run', details: { kind: 'maintenance', job: 'retention' } },
    ]);
  });

  test('is refused for what did not fail, does not exist or is of no kind, and to others', async () => {
    const completed = await insertLog(harness.database);
    const cancelled = await insertLog(harness.database, { status: 'CANCELLED' });
    const former = await insertLog(harness.database, { status: 'FAILED', type: 'a-former-target' });
    const queued = await put({ template: 'message', to: 'b@example.com', data: { message: 'Hi' } });
    const sent = await effect({ status: 'dispatched', error: null });
    const ran = scheduledRun({ status: 'completed' });
    const started = scheduledRun({ scheduleId: null });
    const conflicts = [
      ['sync', completed],
      ['sync', cancelled],
      ['sync', former],
      ['email', queued],
      ['outbox', sent],
      ['maintenance', ran.id],
      ['maintenance', started.id],
    ] as const;
    for (const [kind, id] of conflicts) expect([kind, (await retry(kind, id))[0]]).toEqual([kind, 409]);
    const unknown = [
      ['sync', 'none'],
      ['email', randomUUID()],
      ['email', "' or 1=1 --"],
      ['outbox', randomUUID()],
      ['maintenance', randomUUID()],
      ['maintenance', "x' or RunId != '"],
      ['constructor', completed],
    ] as const;
    for (const [kind, id] of unknown) {
      expect([kind, (await retry(kind, encodeURIComponent(id)))[0]]).toEqual([kind, 404]);
      expect([kind, (await call(`/${kind}/${encodeURIComponent(id)}`)).status]).toEqual([kind, 404]);
    }
    expect([harness.requested, triggered]).toEqual([[], []]);
    const member = await makeUser(harness);
    const failed = await failedEmail();
    for (const [path, method] of [
      ['', 'GET'],
      [`/email/${failed}`, 'GET'],
      [`/email/${failed}/retry`, 'POST'],
    ] as const) {
      expect([path, (await call(path, method, member.token)).status]).toEqual([path, 403]);
      expect([path, (await harness.get(`/api/admin/runs${path}`, { method })).status]).toEqual([path, 401]);
    }
  });
});

describe('the figures of the queues', () => {
  const PATH = '/api/v1/queues/stats';
  const FIGURES = {
    running: 3,
    failed: 1,
    backlog: 2,
    backlogAgeSeconds: 40,
    pollers: { workflow: 1, activity: 1 },
  };
  const all = (figures: AllQueueFigures['core']): AllQueueFigures => ({
    core: figures,
    panel: figures,
    outbound: figures,
    webhooks: figures,
    hytale: figures,
  });

  const figuresAs = (headers: Record<string, string> = { 'X-API-Key': API_KEY }) => harness.get(PATH, { headers });

  test('programs and administrators get the figures, the former names stay; others are refused', async () => {
    let release: (figures: AllQueueFigures) => void = () => undefined;
    read = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const answers = [figuresAs(), figuresAs(bearer(admin.token)), figuresAs()];
    while (reads === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const late = figuresAs();
    // These two come for certain while the read goes on.
    const meanwhile = [harness.deps.queues.read(), harness.deps.queues.read()];
    release(all(FIGURES));
    for (const answer of [...answers, late]) {
      const response = await answer;
      expect(response.status).toBe(200);
      const { data, ...rest } = await response.json();
      expect(rest).toEqual({ success: true, message: '' });
      const queue = { ...FIGURES, open: 3 };
      expect(data).toEqual({
        queues: ['critical', 'default', 'low'],
        stats: { core: queue, panel: queue, outbound: queue, webhooks: queue, hytale: queue },
        note: expect.not.stringContaining('null'),
      });
    }
    expect(await Promise.all(meanwhile)).toEqual([all(FIGURES), all(FIGURES)]);
    expect(reads).toBe(1);
    const member = await makeUser(harness);
    expect([(await figuresAs({})).status, (await figuresAs(bearer(member.token))).status]).toEqual([401, 403]);
  });

  test('what Temporal does not say is null, and the note says so', async () => {
    read = async () => ({ ...all(FIGURES), outbound: NO_FIGURES });
    const other = await startHarness({
      database: harness.database,
      deps: { queues: createQueueStats(() => read()) },
    });
    try {
      const { data } = await (await other.get(PATH, { headers: { 'X-API-Key': API_KEY } })).json();
      expect(data).toMatchObject({
        stats: { core: { backlog: 2 }, outbound: { ...NO_FIGURES, open: null } },
        note: expect.stringContaining('Temporal cannot be reached'),
      });
    } finally {
      await other.close();
    }
  });
});
