import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { query } from '../../../src/store/db/query.ts';
import { bearer, type Harness, makeUser, startHarness } from '../../support/api/harness.ts';

let harness: Harness;
let admin: Awaited<ReturnType<typeof makeUser>>;
beforeAll(async () => {
  harness = await startHarness();
  admin = await makeUser(harness, { roles: ['ADMINISTRATOR'] });
  await harness.database.db.raw(`
    insert into locations (id, "shortCode") values (1, 'fra');
    insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId", "isMaintenanceMode") values
      (1, 'n-1', 'One', 'n1.example', 1, 1, 1, false), (2, 'n-2', 'Two', 'n2.example', 1, 1, 1, null)`);
});
afterAll(() => harness.close());
let seen = 0;
beforeEach(async () => {
  await harness.database.db.raw(`update nodes set "isMaintenanceMode" = case when id = 1 then false end`);
  seen = (await events()).length;
});

interface Event {
  action: string;
  actor: string;
  target: string;
  details: unknown;
}
const events = (): Promise<Event[]> =>
  query(
    harness.database.db,
    `select a.action, a.actor_id as actor, a.target_type || ' ' || a.target_id as target, a.details
       from audit_events a where a.action = 'maintenance-changed' order by a.id`,
  );
const newEvents = async () => (await events()).slice(seen);
const stored = async (id: number) => {
  const rows = await query<{ mode: boolean | null }>(
    harness.database.db,
    'select n."isMaintenanceMode" as mode from nodes n where n.id = ?',
    [id],
  );
  return rows[0]?.mode;
};
async function change(body?: unknown, { id = 1, method = 'PATCH' } = {}) {
  const response = await harness.get(`/api/admin/nodes/${id}/maintenance`, {
    method,
    headers: { 'Content-Type': 'application/json', ...bearer(admin.token) },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  return [response.status, await response.json()];
}
const enabled = [200, { success: true, maintenanceMode: true, message: 'Maintenance mode enabled' }];
const disabled = [200, { success: true, maintenanceMode: false, message: 'Maintenance mode disabled' }];

describe('the maintenance mode of a node', () => {
  test('is switched by a body without a value, by PATCH and by POST, and each change is recorded (W9)', async () => {
    expect(await change({ nodeId: 1 })).toEqual(enabled);
    expect(await stored(1)).toBe(true);
    expect(await change(undefined, { method: 'POST' })).toEqual(disabled);
    expect(await change({})).toEqual(enabled);
    // The id in the body is a repetition of the one in the path, and decides nothing.
    expect(await change({ nodeId: 2, enabled: null })).toEqual(disabled);
    expect(await stored(1)).toBe(false);
    const [first, second] = await newEvents();
    const [off, on] = [{ isMaintenanceMode: false }, { isMaintenanceMode: true }];
    const event = { action: 'maintenance-changed', actor: admin.id, target: 'node 1' };
    expect(first).toEqual({ ...event, details: { before: off, after: on } });
    expect(second).toEqual({ ...event, details: { before: on, after: off } });
    expect(await newEvents()).toHaveLength(4);
    expect(await stored(2)).toBe(null);
  });

  test('is set by `enabled`, so that a repeat changes and records nothing', async () => {
    for (const value of [true, 'true', '1', true]) expect(await change({ enabled: value })).toEqual(enabled);
    expect(await newEvents()).toHaveLength(1);
    for (const value of [false, 'false', '0']) expect(await change({ enabled: value })).toEqual(disabled);
    expect(await newEvents()).toHaveLength(2);
  });

  test('that is not stored yet counts as off', async () => {
    expect(await change({ enabled: false }, { id: 2 })).toEqual(disabled);
    expect(await newEvents()).toEqual([]);
    expect(await change({}, { id: 2 })).toEqual(enabled);
  });

  test('stays as it is when the body cannot be read, is no object, or has another value', async () => {
    for (const body of ['{', '[]', 'null', '"true"', { enabled: 'maybe' }, { enabled: {} }, { enabled: 2 }]) {
      expect(await change(body)).toEqual([400, expect.objectContaining({ error: 'Invalid request body' })]);
    }
    expect(await stored(1)).toBe(false);
    expect(await newEvents()).toEqual([]);
  });

  test('is switched once per request when many come at once, and set once', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => change({ nodeId: 1 })));
    expect(answers.filter(([, body]) => JSON.stringify(body) === JSON.stringify(enabled[1]))).toHaveLength(4);
    expect(await stored(1)).toBe(false);
    const details = (await newEvents()).map((event) => JSON.stringify(event.details));
    expect(details).toHaveLength(8);
    expect(new Set(details).size).toBe(2);
    await Promise.all(Array.from({ length: 8 }, () => change({ enabled: true })));
    expect(await stored(1)).toBe(true);
    expect(await newEvents()).toHaveLength(9);
  });
});
