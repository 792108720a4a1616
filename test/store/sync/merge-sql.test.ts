/**
 * Every statement of a merge, as it is sent: a change of a generated statement shows in review. Update with
 * `npm run test:store -- test/store/sync/merge-sql.test.ts -u`.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { change, HAND_PANEL, mergeHand } from '../../support/merge.ts';

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

/** The statements that `work` sends, one per line group, without those that open, read and close the log row of the run. */
async function statements(work: () => Promise<unknown>): Promise<string> {
  const sent: string[] = [];
  const note = ({ sql }: { sql: string }) => sent.push(sql);
  database.db.on('query', note);
  await work().finally(() => database.db.off('query', note));
  const begin = sent.findLastIndex((sql) => sql.includes('idle_in_transaction_session_timeout'));
  const end = sent.findLastIndex((sql) => sql.includes('set applied_key'));
  const merge = sent.slice(begin, end + 1).map((sql) => sql.replace(/;\s*$/, ''));
  return `${merge
    .map((sql) =>
      sql
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line !== '')
        .join('\n')
        .replaceAll(/;\n?/g, ';\n'),
    )
    .join(';\n\n')};\n`;
}

describe('the statements of', () => {
  test('a full merge: rows are created, changed and deleted', async () => {
    await mergeHand(database.db, HAND_PANEL);
    const sql = await statements(() =>
      mergeHand(
        database.db,
        change({
          locations: [
            { id: 1, short: 'b' },
            { id: 2, short: 'a' },
          ],
          servers: [{ id: 1, user: 3, node: 1, egg: 1, nest: 1, name: 'renamed' }],
          databases: [{ id: 1, server: 1, max_connections: 5 }],
          subusers: [],
        }),
      ),
    );
    await expect(sql).toMatchFileSnapshot('merge-sql/full.sql');
  });

  test('a contested value', async () => {
    const users = [
      { id: 1, email: 'a@example.net' },
      { id: 2, email: 'A@example.net' },
    ];
    const sql = await statements(() => mergeHand(database.db, { users }, { target: 'users' }));
    await expect(sql).toMatchFileSnapshot('merge-sql/contested.sql');
  });
});
