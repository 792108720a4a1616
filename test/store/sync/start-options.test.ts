/** Nothing personal in Temporal: what a workflow is started with holds ids and words of this service only. */
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { requestSync } from '../../../src/services/sync/request-sync.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createEncryption } from '../../../src/store/db/encryption.ts';
import { execute, query } from '../../../src/store/db/query.ts';
import { createEmailStore } from '../../../src/store/email/email-store.ts';
import { dueRows } from '../../../src/store/outbox-store.ts';
import type { TemporalGateway } from '../../../src/temporal/connection.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';

let database: TestDatabase;
/** The arguments and options of each start. */
const started: unknown[] = [];
const temporal = {
  within: (_timeoutMs: number, work: () => Promise<unknown>) => work(),
  client: {
    workflow: {
      async start(...given: unknown[]) {
        started.push(given);
        return { firstExecutionRunId: 'run' };
      },
    },
  },
} as unknown as TemporalGateway;
const deps = () => ({ db: database.db, temporal, log: pino({ level: 'silent' }) });

beforeAll(async () => {
  database = await createTestDatabase();
});
beforeEach(async () => {
  started.length = 0;
  await execute(database.db, 'delete from sync_logs');
});
afterAll(() => database.drop());

const HOSTILE = 'jane.doe@customer.example ![x](http://evil.example/p.png)';

test('what a program says about itself stays in the log row; Temporal gets `api`, also from the row (S17)', async () => {
  const { syncLogId } = await requestSync(deps(), { target: 'full', requestedBy: HOSTILE });
  // The second request joins, and starts the workflow of the stored row.
  expect((await requestSync(deps(), { target: 'full', requestedBy: HOSTILE })).joined).toBe(true);
  expect(started).toHaveLength(2);
  for (const one of started) {
    const text = JSON.stringify(one);
    expect(text).not.toMatch(/jane|customer|evil/);
    expect(text).toContain('requested by `api`');
    expect(text).toContain('"requestedBy":"api"');
    expect(one).toMatchObject(['panelSync', { typedSearchAttributes: [{ value: 'full' }, { value: 'api' }] }]);
  }
  expect(
    await query(database.db, `select l.metadata->>'requested_by' as said from sync_logs l where l.id = ?`, [syncLogId]),
  ).toEqual([{ said: HOSTILE }]);
});

test('a row of the release before gives Temporal nothing of its requester either (S17)', async () => {
  const options = { target: 'full', dryRun: false, skipUsers: false };
  await requestSync(deps(), { target: 'full', requestedBy: HOSTILE });
  await execute(database.db, 'update sync_runs set options = ?::jsonb', [
    JSON.stringify({ ...options, requestedBy: HOSTILE }),
  ]);
  await requestSync(deps(), { target: 'full', requestedBy: 'api' });
  expect(JSON.stringify(started.at(-1))).not.toMatch(/jane|customer|evil/);
});

test('a user is named by id, the command line and the schedule by a word (S17)', async () => {
  for (const requester of [randomUUID(), 'cli', 'scheduler']) {
    await execute(database.db, 'delete from sync_logs');
    await requestSync(deps(), { target: 'nodes', requestedBy: 'cli:jane', requester });
    expect(JSON.stringify(started.at(-1))).toContain(`"requestedBy":"${requester}"`);
  }
  expect(JSON.stringify(started)).not.toContain('jane');
});

test('the workflow of an email is started with its id only (S17)', async () => {
  const emails = createEmailStore(createEncryption({}));
  const id = await inTransaction(database.db, (trx) =>
    emails.queue(trx, {
      template: 'message',
      to: 'jane.doe@customer.example',
      subject: HOSTILE,
      data: { message: HOSTILE },
    }),
  );
  const rows = await dueRows(database.db, Object.keys(EMAIL_DISPATCH), 10);
  expect(rows.map((row) => EMAIL_DISPATCH[row.kind]?.(row))).toEqual([
    { workflowType: 'sendEmail', workflowId: `email:${id}`, args: [{ emailId: id }], staticSummary: 'Email' },
  ]);
});
