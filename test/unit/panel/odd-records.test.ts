/** What becomes of odd values in the panel's records: as little as possible is lost, and never a neighbour. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PanelItem } from '../../../src/domain/panel/envelope.ts';
import {
  type MappedPage,
  mapEggs,
  mapLocations,
  mapNodeAllocations,
  mapNodes,
  mapServers,
  mapUsers,
} from '../../../src/domain/panel/records.ts';
import { itemsOf, misfits, spoiledAnswer } from '../../support/odd-records.ts';

const item = (attributes: Record<string, unknown>): PanelItem => ({ object: 'x', attributes });
const list = (...items: PanelItem[]) => ({ object: 'list', data: items });
const rowOf = (page: MappedPage, entity: string) => {
  expect(page.rejected).toEqual([]);
  expect(page.rejectedWithoutId).toEqual([]);
  return page.parts.find((part) => part.entity === entity)?.rows[0];
};
const server = (values: Record<string, unknown>) => mapServers([item({ id: 1, uuid: 'u', name: 'n', ...values })], []);
const serverRow = (values: Record<string, unknown>) => rowOf(server(values), 'servers');
const variable = (values: Record<string, unknown>) => {
  const variables = list(item({ id: 3, name: 'n', env_variable: 'V', ...values }));
  return mapEggs([item({ id: 2, uuid: 'u', name: 'n', relationships: { variables } })], 1);
};
const variableRow = (values: Record<string, unknown>) => rowOf(variable(values), 'egg_variables');

describe('a free text', () => {
  test('with NUL or half of a surrogate pair is stored with U+FFFD in its place', () => {
    expect(serverRow({ name: 'a\0b', description: '\0', external_id: '\ud800x', identifier: 'y\udc00' })).toMatchObject(
      {
        name: 'a\ufffdb',
        description: '\ufffd',
        externalId: '\ufffdx',
        uuidShort: 'y\ufffd',
      },
    );
    const odd = 'x\0\ud800🙂';
    const clean = 'x\ufffd\ufffd🙂';
    const allocation = item({ id: 1, ip: '1.1.1.1', port: 2, alias: odd, notes: odd });
    expect(rowOf(mapNodeAllocations([allocation], 1), 'allocations')).toMatchObject({ alias: clean, notes: clean });
    expect(rowOf(mapLocations([item({ id: 1, short: 's', long: odd })], false), 'locations')).toMatchObject({
      description: clean,
    });
    expect(rowOf(mapUsers([item({ id: 1, email: 'a@b.c', username: odd, last_name: odd })]), 'users')).toMatchObject({
      username: clean,
      lastName: clean,
    });
    expect(variableRow({ name: odd, default_value: odd, rules: odd })).toMatchObject({
      name: clean,
      default_value: clean,
      rules: clean,
    });
    const databases = list(item({ id: 4, database: odd, username: odd }));
    const page = mapServers([item({ id: 1, uuid: 'u', name: 'n', relationships: { databases } })], ['databases']);
    expect(rowOf(page, 'databases')).toMatchObject({ databaseName: clean, username: clean });
    const permissions = ['control.console', odd];
    const subusers = list(item({ id: 4, user_id: 5, permissions }));
    const shared = mapServers([item({ id: 1, uuid: 'u', name: 'n', relationships: { subusers } })], ['subusers']);
    expect(rowOf(shared, 'subusers')).toMatchObject({ permissions: ['control.console', clean] });
  });

  test('may be a number or a truth value; a list or an object rejects the record, since null would erase what is stored', () => {
    expect(serverRow({ name: 7, description: 1.5, external_id: true })).toMatchObject({
      name: '7',
      description: '1.5',
      externalId: 'true',
    });
    expect(server({ description: {} }).rejected).toMatchObject([{ id: 1, detail: 'description: is no text' }]);
    expect(server({ description: ['a'] }).rejected).toMatchObject([{ id: 1, detail: 'description: is no text' }]);
  });
});

test.each([
  ['uuid', { uuid: 'a\0' }, server],
  ['env_variable', { env_variable: 'A\ud800' }, variable],
  ['short', { short: 'a\0' }, (values: object) => mapLocations([item({ id: 1, ...values })], false)],
  ['email', { email: 'a\0@b.c' }, (values: object) => mapUsers([item({ id: 1, ...values })])],
  ['ip', { ip: '1.1.1.1\0' }, (values: object) => mapNodeAllocations([item({ id: 1, port: 2, ...values })], 1)],
])('a key (%s) with such a character rejects its record: changed, it would be another key', (name, values, map) => {
  expect(map(values).rejected).toMatchObject([
    { code: 'INVALID_RECORD', detail: `${name}: holds a character that cannot be stored` },
  ]);
});

describe('a number', () => {
  test('may be printed as a text, also an id, and a truth value as "0" or "1"', () => {
    const limits = { memory: '1024', disk: '-1', cpu: '0' };
    expect(serverRow({ id: '7', suspended: '1', limits, user: '3', node: '4' })).toMatchObject({
      panelId: 7,
      isSuspended: true,
      memory: 1024,
      disk: -1,
      cpu: 0,
      user: 3,
      node: 4,
    });
    expect(
      rowOf(mapNodeAllocations([item({ id: '1', ip: '1.1.1.1', port: '25565', assigned: '0' })], 1), 'allocations'),
    ).toMatchObject({
      id: 1,
      port: 25_565,
      isAssigned: false,
    });
    const node = item({ id: '2', uuid: 'u', name: 'n', location_id: '1', memory: '8192', public: 'false' });
    expect(rowOf(mapNodes([node], false), 'nodes')).toMatchObject({
      id: 2,
      locationId: 1,
      memory: 8192,
      isPublic: false,
    });
  });

  test('of a server may be as large as 2^53 - 1; others are those of the database', () => {
    const most = Number.MAX_SAFE_INTEGER;
    expect(serverRow({ limits: { memory: most, disk: 2 ** 31, cpu: most } })).toMatchObject({
      memory: most,
      disk: 2 ** 31,
      cpu: most,
    });
    expect(server({ limits: { memory: most + 1 } }).rejected).toMatchObject([
      { detail: 'limits.memory: is no integer' },
    ]);
    expect(server({ node: 2 ** 31 }).rejected).toMatchObject([{ detail: 'node: is too large' }]);
  });

  test.each([['1e3'], [' 1'], ['1.5'], ['9007199254740993'], [1.5], [true], [{}]])(
    'that cannot be read (%j) rejects its record: no other number can stand for it',
    (memory) => {
      expect(server({ limits: { memory } }).rejected).toMatchObject([
        { id: 1, detail: 'limits.memory: is no integer' },
      ]);
    },
  );
});

describe('an egg variable (P-5)', () => {
  test.each([
    [['required', 'string', 'max:20'], 'required|string|max:20'],
    [{ '0': 'required', '2': 'numeric' }, 'required|numeric'],
    [[], ''],
    ['nullable|string', 'nullable|string'],
    [null, null],
  ])('has the rules %j as %j', (rules, expected) => {
    expect(variableRow({ rules })).toMatchObject({ rules: expected });
  });

  test.each([
    [true, 'true'],
    [false, 'false'],
    [5, '5'],
    ['', ''],
    [null, null],
  ])('has the default %j as %j', (value, expected) => {
    expect(variableRow({ default_value: value })).toMatchObject({ default_value: expected });
  });

  test('with rules of rules is rejected', () => {
    expect(variable({ rules: ['a', {}] }).rejected).toMatchObject([{ id: 3, detail: 'rules.1: is no text' }]);
  });
});

test('a user has the uuid of the panel; without one it is null', () => {
  const uuidOf = (uuid: unknown) => rowOf(mapUsers([item({ id: 1, email: 'a@b.c', uuid })]), 'users')?.['uuid'];
  expect([uuidOf('4f7e'), uuidOf(undefined), uuidOf(null), uuidOf('')]).toEqual(['4f7e', null, null, null]);
});

test.each([
  ['2025-03-01T08:00:00+00:00', '2025-03-01T08:00:00.000Z'],
  ['2025-03-01T10:00:00+02:00', '2025-03-01T08:00:00.000Z'],
  ['2025-03-01T09:55:00.000000Z', '2025-03-01T09:55:00.000Z'],
  ['2025-03-01 08:00:00', null],
  ['-0001-11-30T00:00:00+00:00', null],
  ['0000-01-01T00:00:00Z', null],
  ['2025-13-01T00:00:00Z', null],
  [1_740_000_000, null],
  [undefined, null],
  [{}, null],
])('a server that the panel created at %j has the time %j (W7)', (created_at, expected) => {
  expect(serverRow({ created_at })).toMatchObject({ createdAt: expected });
});

test('records that no id identifies are counted one by one', () => {
  const page = mapUsers([item({ email: 'a@b.c' }), item({}), item({ id: 3, email: 'c@b.c' })]);
  expect(page.rejectedWithoutId).toEqual(['users', 'users']);
});

test('whatever replaces a value of a recorded answer: each row fits its columns, and no neighbour is lost', () => {
  fc.assert(
    fc.property(spoiledAnswer, ({ body, neighbours, map }) => {
      const items = itemsOf(body);
      if (items === undefined) return;
      const page = map(items);
      const staged = page.parts.map(({ entity, rows }) => [entity, rows] as const);
      expect(staged.flatMap(([entity, rows]) => rows.flatMap((row) => misfits(entity, row)))).toEqual([]);
      for (const { detail } of page.rejected) expect(detail).toMatch(/^[a-z_.0-9]+: [a-z0-9 ]+$/i);
      const rows = new Set(staged.flatMap(([entity, some]) => some.map((row) => entity + JSON.stringify(row))));
      const lost = neighbours?.parts.flatMap(({ entity, rows: kept }) =>
        kept.map((row) => entity + JSON.stringify(row)).filter((row) => !rows.has(row)),
      );
      expect(lost ?? []).toEqual([]);
    }),
    { numRuns: Number(process.env['ODD_RECORDS_RUNS'] ?? 400) },
  );
});
