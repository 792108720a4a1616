import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { listOf, type PanelItem, parseListEnvelope, relationship } from '../../../src/domain/panel/envelope.ts';
import {
  type MappedPage,
  mapClientSubusers,
  mapLocations,
  mapNests,
  mapNodeAllocations,
  mapServers,
  mapUsers,
  serverStatus,
} from '../../../src/domain/panel/records.ts';

const item = (attributes: Record<string, unknown>): PanelItem => ({ object: 'x', attributes });
const list = (...items: PanelItem[]) => ({ object: 'list', data: items });
const rowsOf = (page: MappedPage, entity: string, parent?: number) =>
  page.parts.filter((p) => p.entity === entity && (parent === undefined || p.parent === parent)).flatMap((p) => p.rows);
const user = (values: Record<string, unknown>) =>
  item({ id: 1, email: 'a@example.net', username: 'u', root_admin: false, ...values });

describe('one record', () => {
  test.each([
    ['a NUL in a key', { email: 'a\0@b.c' }, 'email'],
    ['a lone surrogate in a key', { uuid: 'a\ud800' }, 'uuid'],
    ['a number as a key', { uuid: 7 }, 'uuid'],
    ['an id beyond int4', { id: 2 ** 31 }, undefined],
    ['an id of the wrong type', { id: 'one' }, undefined],
    ['an id with a fraction', { id: '1.5' }, undefined],
    ['an id of zero', { id: 0 }, undefined],
    ['no id', { id: undefined }, undefined],
    ['no address', { email: null }, 'email'],
    ['an empty address', { email: '' }, 'email'],
    ['an object as a name', { username: {} }, 'username'],
    ['a word as a flag', { root_admin: 'yes' }, 'root_admin'],
  ])('with %s is rejected alone', (_, bad, column) => {
    const page = mapUsers([user({ id: 5 }), user(bad), user({ id: 6 })]);
    expect(rowsOf(page, 'users').map((r) => r['panelId'])).toEqual([5, 6]);
    if (column === undefined) {
      expect(page.rejectedWithoutId).toEqual(['users']);
      expect(page.rejected).toEqual([]);
    } else {
      expect(page.rejectedWithoutId).toEqual([]);
      expect(page.rejected).toMatchObject([{ entity: 'users', id: 1, code: 'INVALID_RECORD' }]);
      expect(page.rejected[0]?.detail).toMatch(new RegExp(`^${column}: `));
    }
  });

  test('whatever a user holds, PostgreSQL can read what is staged, and details never quote it', () => {
    const marker = 'zq7marker';
    const odd = fc.oneof(
      fc.string({ unit: 'binary' }).map((s) => marker + s),
      fc.constantFrom(`${marker}\0`, `${marker}\ud800`, `\udc00${marker}`),
      fc.double(),
      fc.maxSafeInteger(),
      fc.constantFrom(null, undefined, true, 1e300, -1, 2 ** 31, {}, []),
    );
    fc.assert(
      fc.property(
        fc.record(
          { id: fc.oneof(fc.nat(), odd), email: odd, username: odd, first_name: odd, last_name: odd, root_admin: odd },
          { requiredKeys: [] },
        ),
        (attributes) => {
          const page = mapUsers([item(attributes)]);
          const stored = rowsOf(page, 'users');
          // One place for each record: stored, or rejected with or without its id.
          expect(stored.length + page.rejected.length + page.rejectedWithoutId.length).toBe(1);
          const json = JSON.stringify(stored);
          expect(json).not.toMatch(/\\u0000|\\ud[89a-f]/i);
          expect(JSON.stringify(page.rejected)).not.toContain(marker);
          for (const row of stored) {
            expect(Number.isInteger(row['panelId'])).toBe(true);
            expect(row['email']).not.toBe('');
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  test('what is missing gets its default; 0 and 1 are flags', () => {
    const page = mapLocations(
      [
        item({
          id: 1,
          short: 'a',
          relationships: {
            nodes: list(
              item({
                id: 2,
                uuid: 'u',
                name: 'n',
                location_id: 1,
                public: 0,
                behind_proxy: 1,
                relationships: { allocations: list() },
              }),
            ),
          },
        }),
      ],
      true,
    );
    expect(rowsOf(page, 'nodes')).toEqual([
      {
        id: 2,
        uuid: 'u',
        name: 'n',
        description: null,
        fqdn: '',
        scheme: 'https',
        behindProxy: true,
        memory: 0,
        memoryOverallocate: 0,
        disk: 0,
        diskOverallocate: 0,
        isPublic: false,
        isMaintenanceMode: false,
        daemonListenPort: 8080,
        daemonSftpPort: 2022,
        daemonBase: '/var/lib/pterodactyl/volumes',
        locationId: 1,
      },
    ]);
    // An empty list is an answer: the part says that node 2 was read.
    expect(page.parts).toContainEqual({ entity: 'allocations', parent: 2, gaps: false, rows: [] });
  });

  test('environment, passwords and other attributes of a server are not staged', () => {
    const page = mapServers(
      [
        item({
          id: 1,
          uuid: 'u',
          name: 'n',
          container: { environment: { TOKEN: 'secret' } },
          feature_limits: {},
          relationships: {
            databases: list(item({ id: 3, database: 'd', username: 'u', password: 'secret', relationships: {} })),
          },
        }),
      ],
      ['databases'],
    );
    expect(JSON.stringify(page)).not.toContain('secret');
    expect(rowsOf(page, 'databases')).toMatchObject([
      { panelId: 3, server: 1, maxConnections: 0, host: null, port: null },
    ]);
  });
});

/** The list as PHP prints it after entries were removed from it: an object whose number keys have gaps. */
const withGaps = fc.array(fc.tuple(fc.string(), fc.nat(5)), { minLength: 1, maxLength: 20 }).map((entries) => {
  let key = -1;
  const printed = Object.fromEntries(
    entries.map(([value, gap]) => {
      key += gap + 1;
      return [String(key), value];
    }),
  );
  return { values: entries.map(([value]) => value), printed };
});

describe('a PHP list (P-1)', () => {
  test('with gaps has the values of the list, in their order', () => {
    fc.assert(
      fc.property(withGaps, ({ values, printed }) => {
        expect(listOf(printed)).toEqual(values);
        expect(listOf(values)).toBe(values);
      }),
    );
  });

  test('is nothing else: a map, an empty object, a number with a sign or a leading zero as key', () => {
    for (const value of [{}, { a: 1 }, { 0: 'a', b: 1 }, { '01': 'a' }, { '-1': 'a' }, 'ab', 1, null, undefined]) {
      expect(listOf(value)).toBeUndefined();
    }
  });

  test('is read wherever the panel sends one: permissions, relationships, listings', () => {
    fc.assert(
      fc.property(withGaps, ({ values, printed }) => {
        const subuser = item({ id: 2, user_id: 5, permissions: printed });
        const server = item({
          id: 1,
          uuid: 'u',
          name: 'n',
          relationships: { subusers: { object: 'list', data: { '0': subuser, '3': 7 } } },
        });
        expect(relationship(server, 'subusers')).toMatchObject({ kind: 'list', items: [subuser, {}] });
        const page = mapServers([server], ['subusers']);
        expect(rowsOf(page, 'subusers').map((row) => row['permissions'])).toEqual([values]);
        const client = mapClientSubusers([item({ email: 'a@b.c', permissions: printed })], 1);
        expect(rowsOf(client, 'subusers').map((row) => row['permissions'])).toEqual([values]);
      }),
    );
    expect(parseListEnvelope({ object: 'list', data: { '1': { object: 'x', attributes: { id: 1 } } } })).toMatchObject({
      ok: true,
      value: { items: [{ object: 'x' }] },
    });
  });

  test('that is empty stands for an empty map', () => {
    const page = mapServers([item({ id: 1, uuid: 'u', name: 'n', limits: [] })], []);
    expect(rowsOf(page, 'servers')).toMatchObject([{ memory: 0, disk: 0, cpu: 0 }]);
  });
});

test.each([[undefined], [null], ['x'], [1.5], [2 ** 31], [{}]])(
  'a primary allocation of %j is unknown, and the server is stored without it (P-2)',
  (allocation) => {
    const page = mapServers([item({ id: 1, uuid: 'u', name: 'n', allocation })], []);
    expect(page.rejected).toEqual([]);
    expect(rowsOf(page, 'servers')).toMatchObject([{ panelId: 1, allocation: null }]);
  },
);

describe('includes', () => {
  test('a subuser that cannot be read is rejected with the server that lists it (P-1)', () => {
    const subusers = list(item({ id: 2, user_id: 'x' }), item({ id: null, user_id: 5 }), item({ id: 3, user_id: 5 }));
    const page = mapServers([item({ id: 1, uuid: 'u', name: 'n', relationships: { subusers } })], ['subusers']);
    expect(rowsOf(page, 'subusers')).toHaveLength(1);
    expect(page.rejected).toMatchObject([
      { entity: 'subusers', id: 2, server: 1 },
      { entity: 'subusers', id: 0, server: 1 },
    ]);
    expect(page.rejectedWithoutId).toEqual([]);
    expect(mapClientSubusers([item({ email: null })], 4).rejected).toMatchObject([{ id: 0, server: 4 }]);
  });

  test('that came back as null are missing, not empty', () => {
    const denied = { object: 'null_resource', attributes: null };
    const page = mapLocations([item({ id: 1, short: 'a', relationships: { nodes: denied } })], true);
    expect(page.missingIncludes).toEqual(['nodes']);
    const nests = mapNests(
      [item({ id: 1, uuid: 'u', name: 'n', relationships: { eggs: list(item({ id: 2, uuid: 'e', name: 'e' })) } })],
      true,
    );
    expect(nests.missingIncludes).toEqual(['variables']);
    expect(rowsOf(nests, 'eggs', 1)).toHaveLength(1);
  });

  test('of a rejected record are read, those of a record without an id are not', () => {
    const allocation = item({ id: 9, ip: '1.1.1.1', port: 1, assigned: false });
    const node = (values: Record<string, unknown>) =>
      item({ uuid: 'u', name: 'n', location_id: 1, ...values, relationships: { allocations: list(allocation) } });
    const page = (values: Record<string, unknown>) =>
      mapLocations([item({ id: 1, short: 'a', relationships: { nodes: list(node(values)) } })], true);
    expect(rowsOf(page({ id: 4, name: '' }), 'allocations', 4)).toHaveLength(1);
    expect(rowsOf(page({ id: null }), 'allocations')).toEqual([]);
    expect(page({ id: null }).rejectedWithoutId).toEqual(['nodes']);
  });

  test('of servers: links, subusers by panel id, by address from the client API', () => {
    const server = item({
      id: 1,
      uuid: 'u',
      name: 'n',
      relationships: {
        allocations: list(item({ id: 7 }), item({ id: 8 })),
        subusers: list(item({ id: 2, user_id: 5, permissions: ['a'] })),
      },
    });
    const page = mapServers([server], ['allocations', 'subusers']);
    expect(rowsOf(page, 'links')).toEqual([
      { id: 7, server: 1 },
      { id: 8, server: 1 },
    ]);
    expect(rowsOf(page, 'subusers')).toEqual([{ panelId: 2, server: 1, user: 5, email: null, permissions: ['a'] }]);
    expect(rowsOf(mapClientSubusers([item({ email: 'A@b.c', permissions: ['x'] })], 1), 'subusers', 1)).toEqual([
      { panelId: 0, server: 1, user: null, email: 'A@b.c', permissions: ['x'] },
    ]);
  });

  test('a node of 100,000 allocations is one part', () => {
    const items = Array.from({ length: 100_000 }, (_, i) =>
      item({ id: i + 1, ip: '1.1.1.1', port: i % 65_536, assigned: false }),
    );
    const page = mapNodeAllocations(items, 3);
    expect(page.parts).toHaveLength(1);
    expect(rowsOf(page, 'allocations', 3)).toHaveLength(100_000);
  });
});

test('the status of a server: suspended wins, none means online', () => {
  expect(serverStatus(null, false)).toBe('online');
  expect(serverStatus('', false)).toBe('online');
  expect(serverStatus('installing', false)).toBe('installing');
  expect(serverStatus('installing', true)).toBe('suspended');
});
