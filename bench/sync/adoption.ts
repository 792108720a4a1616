/**
 * `npm run bench:adoption`: syncs a very large panel into a database whose users have accounts already, while people sign
 * in. It starts and stops everything that it needs: PostgreSQL, Temporal, the simulated panel, a worker and an api.
 *
 * Options: `-- --size 10L --latency 0 --pause 300 --json`. `--pause` is the time in milliseconds between two sign-ins.
 *
 * Four lines: sign-ins alone (`idle`); a sync into an empty mirror (`first`); a sync into a database of accounts that were
 * verified and used, but never met the panel, and without servers (`adoption`); and the same again (`unchanged`).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Pool } from 'undici';
import { hashPassword } from '../../src/services/accounts/password-hash.ts';
import { execute, query } from '../../src/store/db/query.ts';
import type { SyncLog } from '../../src/store/sync/log-store.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import { post } from '../api/cases.ts';
import { PASSWORD } from '../api/data.ts';
import { expectAnswer, type Figures, figuresOf, send } from '../api/load.ts';
import { printTable } from './print.ts';
import { cleanUp, type Installation, installationOn, say, startPanel, startServices } from './stack.ts';

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '10L' },
    latency: { type: 'string', default: '0' },
    pause: { type: 'string', default: '300' },
    json: { type: 'boolean', default: false },
  },
});

/** Users who sign in, spread over all. */
const PEOPLE = 5_000;
/** Milliseconds above which the time of a sign-in is printed, with its place in the run. */
const SLOW_MS = 900;
/** Seconds of sign-ins without a sync. */
const IDLE_SECONDS = 20;

interface Row {
  what: string;
  seconds: number;
  requests: number;
  rows: number;
  peakRssMiB: number;
  /** Events of the longest history of the run. */
  events: number;
  /** MiB of write-ahead log. */
  walMiB: number;
  signIns: Figures | undefined;
}

/** Makes the mirror an adopted database: every account has a password and was used, and none is known to the panel. */
async function makeAdopted({ db }: Installation): Promise<void> {
  await execute(db, 'truncate server_subusers, server_databases, allocations, servers cascade');
  await execute(
    db,
    `update users u set password = ?, "emailVerified" = t.at, "lastLoginAt" = t.at, "pterodactylId" = null,
            "pterodactylUuid" = null, "isPterodactylAdmin" = false
       from (select now() at time zone 'utc' as at) t`,
    [await hashPassword(PASSWORD)],
  );
  // In production autovacuum has done this.
  await execute(db, 'vacuum analyze');
}

/** Signs users in, one after the other, until `stop` is called. A refused or failed sign-in is counted as an error. */
function signIn(api: string, emails: readonly string[]): { stop(): Promise<Figures> } {
  const pool = new Pool(api, { connections: 1, pipelining: 1 });
  const times: number[] = [];
  const slow: { second: number; ms: number }[] = [];
  const errors: string[] = [];
  const began = performance.now();
  let stopped = false;
  const done = (async () => {
    for (let n = 0; !stopped; n += 1) {
      try {
        const request = post('/api/v1/auth/login', { email: emails[n % emails.length], password: PASSWORD });
        const { ms, status, body } = await send(pool, request);
        times.push(ms);
        if (ms > SLOW_MS) slow.push({ second: (performance.now() - began) / 1_000, ms });
        expectAnswer(status === 200 && body.accessToken !== undefined, 'login', status, body);
      } catch (error) {
        errors.push(error instanceof Error ? error.message : String(error));
      }
      await delay(Number(values.pause));
    }
  })();
  return {
    async stop() {
      stopped = true;
      await done;
      await pool.close();
      for (const error of new Set(errors)) say(error);
      for (const { second, ms } of slow) say(`a sign-in took ${ms.toFixed(0)} ms until second ${second.toFixed(1)}`);
      return figuresOf(times, performance.now() - began, errors);
    },
  };
}

/** Bytes of write-ahead log that the server has written. */
async function walBytes({ db }: Installation): Promise<number> {
  const [row] = await query<{ bytes: number }>(
    db,
    `select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as bytes`,
  );
  return row?.bytes ?? Number.NaN;
}

/** Events of the longest history of a sync: it may have gone on in further runs. */
async function longestHistory({ gateway }: Installation, log: SyncLog): Promise<number> {
  let events = 0;
  for await (const run of gateway.client.workflow.list({ query: `WorkflowId = '${PANEL_SYNC_ID}'` })) {
    if (run.memo?.['logId'] !== log.id) continue;
    const { historyLength } = await gateway.client.workflow.getHandle(run.workflowId, run.runId).describe();
    events = Math.max(events, historyLength);
  }
  return events;
}

async function measure(): Promise<Row[]> {
  const services = await startServices();
  const panel = await startPanel(values.size, Number(values.latency), 0);
  const installation = installationOn(await services.createDatabase('bench_adoption'), services, panel);
  const worker = await installation.startWorker();
  const api = await installation.startApi();
  let emails: string[] = [];
  const rows: Row[] = [];

  const run = async (what: string) => {
    await panel.clearRequests();
    worker.resetPeak();
    const wal = await walBytes(installation);
    const people = emails.length === 0 ? undefined : signIn(api, emails);
    const at = performance.now();
    const log = await installation.runSync();
    const seconds = (performance.now() - at) / 1_000;
    rows.push({
      what,
      seconds,
      requests: (await panel.requests()).length,
      rows: log.itemsSynced,
      peakRssMiB: worker.peakMiB(),
      events: await longestHistory(installation, log),
      walMiB: ((await walBytes(installation)) - wal) / 1024 / 1024,
      signIns: await people?.stop(),
    });
    say(JSON.stringify(rows.at(-1)));
    say(JSON.stringify([log.metadata['counts'], log.metadata['warnings']]));
  };

  await run('first');
  await makeAdopted(installation);
  emails = (
    await query<{ email: string }>(installation.db, 'select u.email from users u order by md5(u.id) limit ?', [PEOPLE])
  ).map((row) => row.email);
  const alone = signIn(api, emails);
  await delay(IDLE_SECONDS * 1_000);
  const idle = await alone.stop();
  await run('adoption');
  await run('unchanged');
  await worker.stop();
  await installation.close();
  const none = { seconds: IDLE_SECONDS, requests: 0, rows: 0, peakRssMiB: 0, events: 0, walMiB: 0 };
  return [{ what: 'idle', ...none, signIns: idle }, ...rows];
}

const ms = (value: number | undefined): string => (value === undefined ? '-' : value.toFixed(0));
const cellsOf = (r: Row): string[] => [
  r.what,
  r.seconds.toFixed(1),
  String(r.requests),
  String(r.rows),
  `${r.peakRssMiB} MiB`,
  String(r.events),
  r.walMiB.toFixed(0),
  String(r.signIns?.n ?? '-'),
  String(r.signIns?.errors.length ?? '-'),
  ms(r.signIns?.p50),
  ms(r.signIns?.p99),
  ms(r.signIns?.max),
];
const HEAD = [
  'run',
  'seconds',
  'requests',
  'rows',
  'peak RSS',
  'events',
  'WAL MiB',
  'sign-ins',
  'failed',
  'p50 ms',
  'p99 ms',
  'max ms',
];

try {
  const rows = await measure();
  if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  else printTable([HEAD, ...rows.map(cellsOf)]);
} finally {
  await cleanUp();
}
