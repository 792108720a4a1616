/** What the watch does with a row whose workflow runs have ended, by what Temporal says of them. */
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure, RetryState } from '@temporalio/common';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { watchSync } from '../../../src/services/sync/watch.ts';
import type { TemporalGateway } from '../../../src/temporal/connection.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { openTestRun, query } from '../../support/merge.ts';
import { quiet } from '../../support/stack.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

interface Run {
  runId: string;
  status: string;
  logId: string;
  /** Message of its failure. */
  failure?: string;
}

/** A Temporal that has these runs of a sync, the newest last, and counts the starts. */
function temporalWith(runs: Run[]) {
  const started: unknown[] = [];
  const find = (runId: string | undefined) => {
    const run = runId === undefined ? runs.at(-1) : runs.find((r) => r.runId === runId);
    if (run === undefined) throw new WorkflowNotFoundError('not found', 'panel-sync', runId);
    return run;
  };
  const workflow = {
    getHandle: (_: string, runId?: string) => ({
      describe: async () => {
        const run = find(runId);
        return { runId: run.runId, status: { name: run.status }, memo: { logId: run.logId } };
      },
      result: async () => {
        const { status, failure } = find(runId);
        if (status !== 'FAILED') throw new Error(`the run is ${status}`);
        throw new WorkflowFailedError(
          'failed',
          ApplicationFailure.create({ message: failure ?? '' }),
          RetryState.RETRY_POLICY_NOT_SET,
        );
      },
    }),
    start: async (_: string, options: unknown) => {
      started.push(options);
      return { firstExecutionRunId: 'new' };
    },
  };
  const temporal = { client: { workflow }, within: <T>(_: number, call: () => Promise<T>) => call() };
  return { started, temporal: temporal as unknown as TemporalGateway };
}

const OTHER_CODE = '[TMPRL1100] Nondeterminism error: another activity';

test('a run that had gone on in a new one is started again when a release could not continue that one', async () => {
  const { logId, runId } = await openTestRun(database.db);
  const { temporal, started } = temporalWith([
    { runId, status: 'CONTINUED_AS_NEW', logId },
    { runId: 'second', status: 'FAILED', logId, failure: OTHER_CODE },
  ]);
  expect(await watchSync({ db: database.db, temporal, log: quiet })).toBe('restarted');
  expect(started).toHaveLength(1);
  expect(await query(database.db, 'select id, status from sync_logs')).toEqual([{ id: logId, status: 'PENDING' }]);
});

test("a run that goes on in a new one is alive; one that failed by itself, or is not the row's, is closed", async () => {
  const { logId, runId } = await openTestRun(database.db);
  const watch = (runs: Run[]) => watchSync({ db: database.db, temporal: temporalWith(runs).temporal, log: quiet });
  const first = { runId, status: 'CONTINUED_AS_NEW', logId };
  expect(await watch([first, { runId: 'second', status: 'RUNNING', logId }])).toBe('nothing');
  expect(await watch([first, { runId: 'second', status: 'FAILED', logId: 'another', failure: OTHER_CODE }])).toBe(
    'closed',
  );
  expect(await query(database.db, 'select status from sync_logs')).toEqual([{ status: 'FAILED' }]);
});
