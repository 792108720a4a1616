import { describe, expect, test } from 'vitest';
import { receives, shownData } from '../../../src/domain/event-routing.ts';
import { type EventOrigin, SERVICE_EVENTS } from '../../../src/domain/events.ts';
import { scopeOf, WEBHOOK_SCOPES, WEBHOOK_TYPES, type WebhookType } from '../../../src/domain/webhooks.ts';

/** Types that take an event while `webhook_dispatch_all` is off. */
const AREAS: Readonly<Record<string, readonly WebhookType[]>> = {
  sync: ['SYSTEM', 'CUSTOM'],
  settings: ['SYSTEM', 'CUSTOM'],
  user: ['SYSTEM', 'CUSTOM'],
  server: ['GAME_SERVER', 'SYSTEM', 'CUSTOM'],
  support: ['SUPPORT', 'CUSTOM'],
  billing: ['BILLING', 'CUSTOM'],
  security: ['SECURITY', 'CUSTOM'],
  vps: ['VPS', 'CUSTOM'],
  hytale: ['SYSTEM', 'CUSTOM'],
  other: ['SYSTEM', 'CUSTOM'],
};
const REPORTS = ['sync.completed', 'sync.failed', 'sync.cancelled', 'settings.updated'];
const PERSONAL = ['user', 'security', 'settings', 'hytale'];
const REQUESTED = [
  'sync.started',
  'sync.failed',
  'support.ticket_created',
  'billing.paid',
  'vps.created',
  'other.thing',
];

/** Written as the guide has the rules, not as the code has them. */
function expected(event: string, origin: EventOrigin, type: WebhookType, scope: string, dispatchAll: boolean): boolean {
  const area = event.split('.', 1)[0] ?? '';
  if (origin === 'service' && REPORTS.includes(event)) return type === 'SYSTEM' && scope === 'ADMIN';
  if (PERSONAL.includes(area) && scope !== 'ADMIN') return false;
  return dispatchAll || (AREAS[area] ?? []).includes(type);
}

describe.each([true, false])('with webhook_dispatch_all = %s', (dispatchAll) => {
  test.each<[EventOrigin, string]>([
    ...SERVICE_EVENTS.map((event): [EventOrigin, string] => ['service', event]),
    ...[...SERVICE_EVENTS, ...REQUESTED].map((event): [EventOrigin, string] => ['request', event]),
  ])('%s %s reaches exactly the types and scopes of its area', (origin, event) => {
    for (const type of WEBHOOK_TYPES) {
      for (const scope of WEBHOOK_SCOPES) {
        const got = receives({ type, scope }, { event, origin }, { dispatchAll });
        expect(got, `${type} ${scope}`).toBe(expected(event, origin, type, scope, dispatchAll));
      }
    }
  });
});

test('a name of an event in another form, without a point, or of a property of objects, is routed like any other', () => {
  const reached = (event: string, scope: 'ADMIN' | 'PUBLIC') =>
    WEBHOOK_TYPES.filter((type) => receives({ type, scope }, { event, origin: 'request' }, { dispatchAll: false }));
  expect(reached(' User.Registered', 'PUBLIC')).toEqual([]);
  expect(reached('SECURITY', 'PUBLIC')).toEqual([]);
  expect(reached('security', 'ADMIN')).toEqual(['SECURITY', 'CUSTOM']);
  for (const event of ['', 'constructor', '__proto__.x', 'toString.y', '.server']) {
    expect(reached(event, 'PUBLIC')).toEqual(['SYSTEM', 'CUSTOM']);
  }
});

test('what is stored as a scope and is none counts as PUBLIC', () => {
  expect(['ADMIN', 'admin ', 'USER', 'public', 'STAFF', ''].map(scopeOf)).toEqual([
    'ADMIN',
    'ADMIN',
    'USER',
    'PUBLIC',
    'PUBLIC',
    'PUBLIC',
  ]);
});

test('outside ADMIN, the data of an event holds nothing that names a person, and nothing that is not shown', () => {
  const data = {
    name: 'Lobby',
    owner: 'ada',
    previous_owner: 'bob',
    user: 'cleo',
    email: 'd@example.com',
    by: 'eve',
    node: 'n1',
    subject: 'Lag',
    extra: 'x',
  };
  const seen = (event: string, origin: EventOrigin = 'service') => shownData('USER', { event, origin, data });
  expect(seen('server.created')).toEqual({ name: 'Lobby' });
  expect(seen('server.owner_changed')).toEqual({ name: 'Lobby' });
  expect(seen('server.node_changed')).toEqual({ name: 'Lobby', node: 'n1' });
  expect(seen('support.ticket_created', 'request')).toEqual({ subject: 'Lag' });
  for (const event of ['user.registered', 'security.lockout', 'settings.updated', 'anything', 'constructor']) {
    expect(seen(event, 'request'), event).toEqual({});
  }
  expect(shownData('PUBLIC', { event: 'sync.failed', origin: 'service', data: { error: 'x' } })).toEqual({});
  expect(shownData('ADMIN', { event: 'server.created', origin: 'service', data })).toEqual(data);
});
