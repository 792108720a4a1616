/** Rows of older databases, in which everything is null that may be: no list loses one, and no route fails because of one. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { routes } from '../../../src/api/routes/index.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';
import { insertBare } from '../../support/api/lists.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  for (const [table, row] of BARE_ROWS) await insertBare(harness.database, table, row);
});
afterAll(() => harness.close());

/** Parents first. Numbers and texts that no other row has, so that they are found in an answer. */
const BARE_ROWS: [table: string, row: Record<string, unknown>][] = [
  ['users', { id: 'bare-user', email: 'bare@example.com' }],
  ['locations', { id: 9001, shortCode: 'bare-location' }],
  ['nodes', { id: 9002, uuid: 'bare-node', name: 'bare-node', fqdn: 'bare', memory: 1, disk: 1, locationId: 9001 }],
  ['nests', { id: 9003, uuid: 'bare-nest', name: 'bare-nest' }],
  ['eggs', { id: 9004, uuid: 'bare-egg', name: 'bare-egg', nestId: 9003 }],
  ['servers', { id: 'bare-server', name: 'bare-server' }],
  ['allocations', { id: 9005, ip: '192.0.2.77', port: 1, nodeId: 9002 }],
  ['sync_logs', { id: 'bare-log', type: 'full' }],
];

const text = async (path: string): Promise<string> => {
  const response = await harness.get(path, { headers: bearer(admin.token) });
  return `${response.status} ${await (response as unknown as Response).text()}`;
};

test.each([
  ['/api/admin/users', 'bare-user'],
  ['/api/admin/locations', 'bare-location'],
  ['/api/admin/nodes', 'bare-node'],
  ['/api/panel/nodes', 'bare-node'],
  ['/api/admin/nests', 'bare-nest'],
  ['/api/admin/eggs', 'bare-egg'],
  ['/api/admin/servers', 'bare-server'],
  ['/api/v1/dashboard/servers?view_all=true', 'bare-server'],
  ['/api/admin/allocations', '192.0.2.77'],
  ['/api/admin/nodes/9002/allocations', '192.0.2.77'],
  ['/api/admin/sync/logs', 'bare-log'],
  ['/api/v1/sync/logs', 'bare-log'],
  ['/api/v1/sync/latest', 'bare-log'],
  ['/api/admin/sync', 'bare-log'],
])('%s has the row', async (path, mark) => {
  const answer = await text(path);
  expect(answer.slice(0, 4)).toBe('200 ');
  expect(answer).toContain(mark);
});

test('every route that reads without an id answers', async () => {
  const reads = routes.filter((route) => route.method === 'get' && !route.path.includes(':'));
  expect(reads.length).toBeGreaterThan(20);
  for (const { path } of reads) expect((await text(path)).slice(0, 4), path).not.toBe('500 ');
});
