/** Ways to read a listing that are remembered for the next runs: of which panel, for how long, and when they are forgotten. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createWayActivities, rememberedWays, type WorkedWay } from '../../../src/activities/sync/ways.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { query } from '../../support/merge.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());
beforeEach(() => database.db.raw('truncate sync_fallbacks'));

const way = (change: Partial<WorkedWay> = {}): WorkedWay => ({
  listing: 'servers',
  way: 'small pages',
  total: 100,
  remembered: false,
  ...change,
});
const remember = (panel: string, ...ways: WorkedWay[]) =>
  createWayActivities({ db: database.db }).rememberWays({ panel, ways });
const remembered = (panel = 'panel') => rememberedWays(database.db, panel);
/** As if what is stored had been stored so much earlier. */
const age = (interval: string) =>
  query(database.db, 'update sync_fallbacks set noted_at = noted_at - ?::interval', [interval]);

test('a way holds for seven days after it was found, whether runs use it or not', async () => {
  await remember('panel', way(), way({ listing: 'users', way: 'single records' }));
  await age('6 days 23 hours');
  expect(await remembered()).toEqual({ servers: 'small pages', users: 'single records' });
  // A run that began with a way does not prove that the usual one still fails; one that found it again does.
  await remember('panel', way({ remembered: true }), way({ listing: 'users', way: 'single records' }));
  await age('1 hour');
  expect(await remembered()).toEqual({ users: 'single records' });
  await age('6 days 23 hours');
  expect(await remembered()).toEqual({});
});

test('a way is of one panel; ways that are over are deleted, also those of panels that nothing reads any more', async () => {
  await remember('former', way());
  expect(await remembered()).toEqual({});
  await age('7 days');
  await remember('panel', way({ way: 'single records' }));
  expect(await query(database.db, 'select panel, way from sync_fallbacks')).toEqual([
    { panel: 'panel', way: 'single records' },
  ]);
});

test('a way that a run used is forgotten once its listing has shrunk to less than half', async () => {
  await remember('panel', way(), way({ listing: 'users' }));
  await remember('panel', way({ remembered: true, total: 50 }), way({ listing: 'users', remembered: true, total: 49 }));
  expect(await remembered()).toEqual({ servers: 'small pages' });
});
