import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readMessage } from '../../../simulators/discord/payload/message.ts';
import { type EventData, type EventOrigin, type EventValue, SERVICE_EVENTS } from '../../../src/domain/events.ts';
import { WEBHOOK_SCOPES, type WebhookScope } from '../../../src/domain/webhooks.ts';
import { renderMessage } from '../../../src/messages/discord/render-message.ts';
import { webhookTestMessage } from '../../../src/messages/discord/test-message.ts';
import { codeMark, cut, lengthOf, listOf, plain, shownError } from '../../../src/messages/discord/text.ts';

const AT = new Date('2031-03-01T09:30:00.000Z');
interface Of {
  origin?: EventOrigin;
  scope?: WebhookScope;
  plain?: boolean;
}
const message = (event: string, data: EventData, { origin = 'service', scope = 'ADMIN', plain = false }: Of = {}) =>
  renderMessage({ event, origin, data, occurredAt: AT }, { scope, plain });
/** The embed, its fields as `name: value`, with ` (inline)`. */
function shown(event: string, data: EventData, of: Of = {}) {
  const embed = message(event, data, of).embeds?.[0] ?? {};
  const { title, description, color, footer, timestamp, fields = [] } = embed;
  return {
    says: [title, description, color, footer?.text, timestamp],
    fields: fields.map(({ name, value, inline }) => `${name}: ${value}${inline ? ' (inline)' : ''}`),
  };
}
const fieldsOf = (event: string, data: EventData, of: Of = {}) => shown(event, data, of).fields;
const at = AT.toISOString();

describe('reports of the service', () => {
  const run = { log_id: '1', type: 'full', duration: 12.3449, items_total: 100, items_synced: 98, items_failed: 2 };

  test('how a sync ended', () => {
    expect(shown('sync.completed', { ...run, status: 'COMPLETED', error: null, warnings: [] })).toEqual({
      says: [
        '🔄 Sync Operation Completed Successfully',
        'Panel synchronization has completed successfully',
        3066993,
        'NodeByte Sync System',
        at,
      ],
      fields: [
        'Status: ✅ Completed Successfully (inline)',
        'Duration: 12.34 seconds (inline)',
        'Items: 98 / 100 (2) (inline)',
      ],
    });
    expect(shown('sync.failed', { ...run, error: 'The panel answers with an error of its own (status 500)' })).toEqual({
      says: ['🔄 Sync Operation Failed', 'Panel synchronization has failed', 15158332, 'NodeByte Sync System', at],
      fields: [
        'Status: ❌ Failed (inline)',
        'Duration: 12.34 seconds (inline)',
        'Items: 98 / 100 (2) (inline)',
        'Error: The panel answers with an error of its own (status 500)',
      ],
    });
    expect(shown('sync.cancelled', { duration: 0 })).toEqual({
      says: [
        '🔄 Sync Operation Cancelled',
        'Panel synchronization has cancelled',
        16776960,
        'NodeByte Sync System',
        at,
      ],
      fields: ['Status: ⚠️ Cancelled (inline)', 'Duration: 0.00 seconds (inline)'],
    });
  });

  test('the warnings of a sync, and how many are beyond them', () => {
    const warnings = ['3 users were kept', 'see http://10.0.0.3/x'];
    expect(fieldsOf('sync.completed', { warnings, warnings_total: 2 }).at(-1)).toBe(
      'Warnings: • 3 users were kept\n• see [address]',
    );
    expect(fieldsOf('sync.completed', { warnings, warnings_total: 30 }).at(-1)).toMatch(/\n… and 28 more$/);
    const many = Array.from({ length: 20 }, (_, n) => `warning ${n} ${'long '.repeat(100)}`);
    const value = fieldsOf('sync.completed', { warnings: many }).at(-1) ?? '';
    expect(value).toMatch(/^Warnings: • warning 0 .*…\n• warning 1 .*\n… and 17 more$/s);
  });

  test('which settings were changed, without what is too long', () => {
    const long = 'x'.repeat(51);
    const changes = [
      { key: 'site_name', before: '', after: 'New' },
      { key: 'pterodactyl_api_key', before: '(updated)', after: '(updated)' },
      { key: 'site_url', before: long, after: `${'😀'.repeat(50)}` },
      { key: 'x*y', before: null, after: 'a`b`@everyone' },
    ];
    const lines = [
      '• **site_name**: `(empty)` → `New`',
      '• **pterodactyl_api_key**: `(updated)` → `(updated)`',
      `• **site_url**: \`${'x'.repeat(50)}...\` → \`${'😀'.repeat(50)}\``,
      "• **x\\*y**: `(empty)` → `a'b'@everyone`",
    ];
    expect(shown('settings.updated', { by: 'ada_lovelace', changes })).toEqual({
      says: [
        '⚙️ System Settings Updated',
        'Administrator has updated system configuration',
        3066993,
        'NodeByte System',
        at,
      ],
      fields: [
        'Modified By: ada_lovelace (inline)',
        'Total Changes: 4 setting(s) (inline)',
        `Changed Settings: ${lines.join('\n')}`,
        `Updated At: ${at} (inline)`,
      ],
    });
    const many = Array.from({ length: 40 }, (_, n) => ({ key: `key_${n}`, before: long, after: long }));
    const [, total, changed = ''] = fieldsOf('settings.updated', { by: 'x', changes: many });
    expect(total).toBe('Total Changes: 40 setting(s) (inline)');
    expect(changed).toMatch(/\n… and \d+ more$/);
    const kept = changed.split('\n').length - 1;
    expect(changed).toContain(`… and ${40 - kept} more`);
  });

  test('reports have neither name nor picture, and mention no one', () => {
    expect(Object.keys(message('sync.failed', {}))).toEqual(['embeds', 'allowed_mentions']);
    expect(message('sync.failed', {}).allowed_mentions).toEqual({ parse: [] });
  });
});

describe('notifications', () => {
  const data = {
    type: 'full',
    duration: '3 s',
    error: 'no answer',
    email: 'ada@example.com',
    name: 'Lobby',
    owner: 'ada',
    previous_owner: 'bob',
    node: 'n2',
    previous_node: 'n1',
    reason: 'unpaid',
    subject: 'Lag',
    user: 'cleo',
    priority: 'high',
  };
  test.each<[string, string, string, number, string[]]>([
    ['sync.started', '🔄 Sync Started', 'A synchronization operation has started.', 0x3b82f6, ['Type: full (inline)']],
    [
      'sync.completed',
      '✅ Sync Completed',
      'Synchronization completed successfully.',
      0x22c55e,
      ['Type: full (inline)', 'Duration: 3 s (inline)'],
    ],
    ['sync.failed', '❌ Sync Failed', 'A synchronization operation has failed.', 0xef4444, ['Error: no answer']],
    [
      'user.registered',
      '👤 New User Registered',
      'A new user has registered on NodeByte.',
      0x8b5cf6,
      ['Email: ada@example.com (inline)'],
    ],
    [
      'server.created',
      '🖥️ Server Created',
      'A new server has been created.',
      0x6366f1,
      ['Name: Lobby (inline)', 'Owner: ada (inline)'],
    ],
    [
      'server.suspended',
      '⚠️ Server Suspended',
      'A server has been suspended.',
      0xf59e0b,
      ['Name: Lobby (inline)', 'Reason: unpaid'],
    ],
    [
      'support.ticket_created',
      '🎫 New Support Ticket',
      'A new support ticket has been created.',
      0x0ea5e9,
      ['Subject: Lag', 'User: cleo (inline)', 'Priority: high (inline)'],
    ],
    ['anything.else', '📢 Notification', 'Event: anything.else', 0x6b7280, []],
    ['server.deleted', '📢 Notification', 'Event: server.deleted', 0x6b7280, []],
    ['security.lockout', '📢 Notification', 'Event: security.lockout', 0x6b7280, []],
    ['constructor', '📢 Notification', 'Event: constructor', 0x6b7280, []],
  ])('%s, as another program requests it', (event, title, description, color, fields) => {
    expect(shown(event, data, { origin: 'request' })).toEqual({
      says: [title, description, color, 'NodeByte Notifications', at],
      fields,
    });
    const sent = message(event, data, { origin: 'request' });
    expect(sent).toMatchObject({ username: 'NodeByte', avatar_url: 'https://nodebyte.host/logo.png' });
    expect(Object.keys(message(event, data, { origin: 'request', plain: true }))).toEqual([
      'embeds',
      'allowed_mentions',
    ]);
    // Fields appear only where the data is a text that shows something.
    const odd = { name: 7, owner: null, type: ['full'], error: '', email: ' \u200b', subject: {}, user: true };
    expect(fieldsOf(event, odd, { origin: 'request' })).toEqual([]);
  });

  test('events of the service about servers', () => {
    expect(fieldsOf('server.deleted', data)).toEqual(['Name: Lobby (inline)', 'Owner: ada (inline)']);
    expect(fieldsOf('server.unsuspended', data)).toEqual(['Name: Lobby (inline)', 'Owner: ada (inline)']);
    expect(fieldsOf('server.owner_changed', data)).toEqual([
      'Name: Lobby (inline)',
      'Owner: ada (inline)',
      'Previous Owner: bob (inline)',
    ]);
    expect(fieldsOf('server.node_changed', data)).toEqual([
      'Name: Lobby (inline)',
      'Node: n2 (inline)',
      'Previous Node: n1 (inline)',
    ]);
    expect(fieldsOf('server.changes', { created: 4, suspended: 0, owner_changed: 2 })).toEqual([
      'Created: 4 (inline)',
      'Owner Changed: 2 (inline)',
    ]);
  });

  test('security events tell every detail', () => {
    const details = { number: 3, nothing: null, actor: 'cli', before: ['A', 'B'], account: 'u-1', limit: 'sign_in' };
    expect(fieldsOf('security.roles_changed', details)).toEqual([
      'Account: u-1 (inline)',
      'Actor: cli (inline)',
      'Before: A, B (inline)',
      'Number: 3 (inline)',
      'Limit: sign_in (inline)',
    ]);
    expect(fieldsOf('security.more', { per_hour: 20, event: 'security.lockout' })).toEqual([
      'Event: security.lockout (inline)',
      'Per Hour: 20 (inline)',
    ]);
  });

  test('every event of the service has a text of its own', () => {
    const titles = SERVICE_EVENTS.map((event) => shown(event, {}).says[0]);
    expect(new Set(titles).size).toBe(SERVICE_EVENTS.length);
    expect(titles).not.toContain('📢 Notification');
  });

  test.each(['USER', 'PUBLIC'] as const)('scope %s sees no persons', (scope) => {
    const persons = {
      ...data,
      by: 'ada',
      account: 'u-1',
      actor: 'ada',
      changes: [{ key: 'ada', before: '', after: '' }],
    };
    for (const origin of ['service', 'request'] as const) {
      for (const event of [...SERVICE_EVENTS, 'support.ticket_created', 'x.y']) {
        expect(JSON.stringify(message(event, persons, { origin, scope })), event).not.toMatch(/ada|bob|cleo|u-1/);
      }
    }
  });
});

describe('texts of others', () => {
  test.each([
    [
      '**bold** __line__ ~~no~~ ||spoiler|| `code`',
      '\\*\\*bold\\*\\* \\_\\_line\\_\\_ \\~\\~no\\~\\~ \\|\\|spoiler\\|\\| \\`code\\`',
    ],
    ['john_doe_1 a__b _x_', 'john_doe_1 a\\_\\_b \\_x\\_'],
    ['@everyone @HERE ada@example.com', '\\@everyone \\@HERE ada@example.com'],
    ['<@123> <@&1> <#2> <t:3> </x:4> <:e:5>', '\\<@123> \\<@&1> \\<#2> \\<t:3> \\</x:4> \\<:e:5>'],
    ['[click](https://evil.example) HTTP://x.y', '\\[click\\](https\\://evil.example) HTTP\\://x.y'],
    ['[EU] lobby <3', '[EU] lobby <3'],
    ['# heading', '\\# heading'],
    ['> quote', '\\> quote'],
    ['-# small', '\\-# small'],
    ['- item', '\\- item'],
    ['12. item', '12\\. item'],
    ['1.21 server', '1.21 server'],
    ['My Server-1 (EU) #2', 'My Server-1 (EU) #2'],
    ['a\n\n# b\tc\u0000\u007fd\u2028e', 'a # b c d e'],
    ['abc\u202egnp.exe\u2066x\u200b', 'abcgnp.exex'],
    ['\\', '\\\\'],
    ['\\*', '\\\\\\*'],
    ['x\ud83d', 'x\ufffd'],
    ['👨‍👩‍👧 שלום', '👨‍👩‍👧 שלום'],
    ['', ''],
    [' \n\u200b\u202e\u3164\u00a0\u0301\u200d', ''],
  ])('%j', (text, expected) => {
    expect(plain(text)).toBe(expected);
  });

  test('what is too long ends with an ellipsis, never inside a pair or after half of an escape', () => {
    expect(cut('abc', 3)).toBe('abc');
    expect(cut('abcd', 3)).toBe('ab…');
    expect(cut('😀😀😀', 3)).toBe('😀😀😀');
    expect(cut('😀😀😀😀', 3)).toBe('😀😀…');
    expect(cut('ab\\*cd', 4)).toBe('ab…');
    expect(cut('a\\\\*cd', 4)).toBe('a\\\\…');
    expect(listOf(['aaaa', 'bbbb', 'cccc'], 100)).toBe('aaaa\nbbbb\ncccc');
    expect(listOf(['aaaa', 'bbbb', 'cccc'], 18)).toBe('aaaa\n… and 2 more');
    expect(codeMark('`'.repeat(60))).toBe(`\`${"'".repeat(50)}...\``);
    expect(codeMark(' \n')).toBe('`(empty)`');
  });

  test.each([
    ['connect ECONNREFUSED 10.0.0.7:8080', 'connect ECONNREFUSED [address]'],
    ['connect ECONNREFUSED ::1:5432', 'connect ECONNREFUSED [address]'],
    ['connect to [fd00::12]:443 failed', 'connect to [address] failed'],
    ['getaddrinfo ENOTFOUND panel', 'getaddrinfo ENOTFOUND [address]'],
    ['GET https://panel.example/api?key=1 failed at 12:34:56', 'GET [address] failed at 12:34:56'],
    [
      'redirects to http://panel:8080/login: enter that, or http://b.',
      'redirects to [address]: enter that, or [address].',
    ],
    ['no route to panel:8080 or db.internal', 'no route to [address] or [address]'],
    ['Authorization: Bearer ptla_abcdefghijkl', 'Authorization: Bearer [hidden]'],
    ['key ptla_abcdefghijkl is wrong', 'key [hidden] is wrong'],
  ])('an error shows no address and no key: %s', (text, expected) => {
    expect(shownError(text)).toBe(expected);
  });
});

describe('the limits of Discord', () => {
  const piece = fc.constantFrom(
    ...['@everyone', '<@1>', '`', '```', '**', '__', '||', '[a](http://b)', '\\', '\n', '\u0000', '\u202e', '\ud800'],
    ...[
      '😀',
      '👨‍👩‍👧',
      'é',
      ' ',
      '\u200b',
      '#',
      '> ',
      'http://panel:8080/',
      'x'.repeat(700),
      '😀'.repeat(600),
      '*'.repeat(900),
    ],
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')),
    fc.constantFrom('', ' ', 'a'.repeat(20_000), '_'.repeat(7_000)),
  );
  const value: fc.Arbitrary<EventValue> = fc.oneof(
    { weight: 5, arbitrary: text },
    { weight: 1, arbitrary: fc.oneof(fc.constant(null), fc.boolean(), fc.double()) },
    { weight: 1, arbitrary: fc.array(text, { maxLength: 4 }) },
  );
  const KEYS = [
    ...['type', 'duration', 'error', 'email', 'name', 'owner', 'previous_owner', 'node', 'previous_node', 'reason'],
    ...['subject', 'user', 'priority', 'by', 'account', 'actor', 'items_total', 'items_synced', 'items_failed'],
  ];
  const changes = fc.array(
    fc.oneof(value, fc.record({ key: text, before: value, after: value }, { requiredKeys: [] })),
    { maxLength: 30 },
  );
  const data: fc.Arbitrary<EventData> = fc
    .tuple(
      fc.dictionary(fc.oneof(fc.constantFrom(...KEYS), text), value, { maxKeys: 40 }),
      fc.record({ changes, warnings: fc.array(value, { maxLength: 30 }), warnings_total: value }, { requiredKeys: [] }),
    )
    .map(([any, known]) => ({ ...any, ...known }));
  const event = fc.oneof(fc.constantFrom(...SERVICE_EVENTS, 'sync.started', 'support.ticket_created'), text);
  /** What is left when every escaped character is taken away. */
  const unescaped = (shownText: string) => shownText.replace(/\\[^0-9A-Za-z\s]/gu, '');
  /** As the simulated Discord reads it, without code of the product. */
  const accepted = (body: unknown) =>
    readMessage(JSON.parse(JSON.stringify(body)), { version: 10, withComponents: false, files: 0, refusedNames: [] });

  test('every message is accepted, whatever the event holds', () => {
    fc.assert(
      fc.property(
        event,
        data,
        fc.constantFrom<EventOrigin>('service', 'request'),
        fc.constantFrom(...WEBHOOK_SCOPES),
        fc.boolean(),
        (name, given, origin, scope, isPlain) => {
          const body = message(name, given, { origin, scope, plain: isPlain });
          const { embeds, allowedMentions } = accepted(body);
          expect(allowedMentions).toEqual({ parse: [] });
          const texts = embeds.flatMap(({ title, description, footer, fields = [] }) => [
            ...[title ?? '', description ?? '', footer?.text ?? ''],
            ...fields.flatMap((field) => [field.name, field.value]),
          ]);
          expect(texts.reduce((sum, each) => sum + lengthOf(each), 0)).toBeLessThanOrEqual(6_000);
          expect(texts).not.toContain('');
          expect(embeds.every((embed) => embed.url === undefined && embed.image === undefined)).toBe(true);
          for (const { name: field, value: content } of embeds.flatMap(({ fields = [] }) => fields)) {
            expect(content.isWellFormed()).toBe(true);
            if (field === 'Changed Settings') continue;
            expect(unescaped(content)).not.toMatch(/[*~`|]|\]\(|<[@#:/]|@everyone|@here|:\/\//i);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });

  test('more fields than Discord takes are counted in the last one', () => {
    const details = Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`detail_${n}`, 'x']));
    expect(fieldsOf('security.lockout', details)).toHaveLength(25);
    expect(fieldsOf('security.lockout', details).at(-1)).toBe('…: and 6 more');
    const long = Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`detail_${n}`, 'x'.repeat(2_000)]));
    expect(fieldsOf('security.lockout', long).at(-1)).toBe('…: and 4 more');
    expect(accepted(message('security.lockout', long)).embeds[0]?.fields).toHaveLength(6);
  });

  test('the test message is accepted', () => {
    expect(accepted(webhookTestMessage(AT)).embeds).toHaveLength(1);
  });
});
