/** Notifications: what happened to servers and accounts, and what other programs request. */
import type { EventData, EventOrigin, EventValue, Notice } from '../../domain/events.ts';
import type { Embed } from './embed.ts';
import { plain, shownError } from './text.ts';

/** A field of a text, if the data has one under this key. */
interface TextField {
  name: string;
  key: string;
  inline: boolean;
  /** The text is a reason of a failure. */
  error?: true;
}
interface Notification {
  title: string;
  description: string;
  color: number;
  fields: readonly TextField[];
}

const inline = (name: string, key: string): TextField => ({ name, key, inline: true });
const wide = (name: string, key: string): TextField => ({ name, key, inline: false });

const BLUE = 0x3b82f6;
const GREEN = 0x22c55e;
const RED = 0xef4444;
const PURPLE = 0x8b5cf6;
const INDIGO = 0x6366f1;
const AMBER = 0xf59e0b;
const SKY = 0x0ea5e9;
const GREY = 0x6b7280;

/** Events that other programs may request under these names, too. Their texts are those of the existing service. */
const SHARED: Readonly<Record<string, Notification>> = {
  'sync.started': {
    title: '🔄 Sync Started',
    description: 'A synchronization operation has started.',
    color: BLUE,
    fields: [inline('Type', 'type')],
  },
  'sync.completed': {
    title: '✅ Sync Completed',
    description: 'Synchronization completed successfully.',
    color: GREEN,
    fields: [inline('Type', 'type'), inline('Duration', 'duration')],
  },
  'sync.failed': {
    title: '❌ Sync Failed',
    description: 'A synchronization operation has failed.',
    color: RED,
    fields: [{ ...wide('Error', 'error'), error: true }],
  },
  'user.registered': {
    title: '👤 New User Registered',
    description: 'A new user has registered on NodeByte.',
    color: PURPLE,
    fields: [inline('Email', 'email')],
  },
  'server.created': {
    title: '🖥️ Server Created',
    description: 'A new server has been created.',
    color: INDIGO,
    fields: [inline('Name', 'name'), inline('Owner', 'owner')],
  },
  'server.suspended': {
    title: '⚠️ Server Suspended',
    description: 'A server has been suspended.',
    color: AMBER,
    fields: [inline('Name', 'name'), wide('Reason', 'reason')],
  },
  'support.ticket_created': {
    title: '🎫 New Support Ticket',
    description: 'A new support ticket has been created.',
    color: SKY,
    fields: [wide('Subject', 'subject'), inline('User', 'user'), inline('Priority', 'priority')],
  },
};

const HYTALE_FIELDS = [
  inline('Account', 'account'),
  inline('Profiles', 'profiles'),
  { ...wide('Reason', 'reason'), error: true as const },
];

/** Events of the service alone. */
const OWN: Readonly<Record<string, Notification>> = {
  'server.unsuspended': {
    title: '▶️ Server Unsuspended',
    description: 'A server is no longer suspended.',
    color: GREEN,
    fields: [inline('Name', 'name'), inline('Owner', 'owner')],
  },
  'server.deleted': {
    title: '🗑️ Server Deleted',
    description: 'A server has been deleted.',
    color: RED,
    fields: [inline('Name', 'name'), inline('Owner', 'owner')],
  },
  'server.owner_changed': {
    title: '🔁 Server Owner Changed',
    description: 'A server has a new owner.',
    color: BLUE,
    fields: [inline('Name', 'name'), inline('Owner', 'owner'), inline('Previous Owner', 'previous_owner')],
  },
  'server.node_changed': {
    title: '🚚 Server Moved',
    description: 'A server has moved to another node.',
    color: BLUE,
    fields: [inline('Name', 'name'), inline('Node', 'node'), inline('Previous Node', 'previous_node')],
  },
  'server.changes': {
    title: '📋 More Server Changes',
    description: 'A synchronization found further changes, which are not reported one by one.',
    color: GREY,
    fields: [
      inline('Created', 'created'),
      inline('Suspended', 'suspended'),
      inline('Unsuspended', 'unsuspended'),
      inline('Deleted', 'deleted'),
      inline('Owner Changed', 'owner_changed'),
      inline('Node Changed', 'node_changed'),
    ],
  },
  'hytale.reauth_required': {
    title: '🔐 Hytale Sign-In Required',
    description: 'A Hytale account must be signed in again. Its game servers run on until their sessions expire.',
    color: RED,
    fields: HYTALE_FIELDS,
  },
  'hytale.misconfigured': {
    title: '⚙️ Hytale Refuses Our Client',
    description: 'Hytale refuses the client of this service. Tokens are not renewed until that is solved.',
    color: RED,
    fields: HYTALE_FIELDS,
  },
};

const securityEvent = (title: string, description: string, color: number): Omit<Notification, 'fields'> => ({
  title,
  description,
  color,
});

/** Security events: their fields are whatever the event tells. */
const SECURITY: Readonly<Record<string, Omit<Notification, 'fields'>>> = {
  'security.lockout': securityEvent(
    '🔒 Account Locked',
    'After too many attempts, the password of an account is not checked for a while.',
    AMBER,
  ),
  'security.token_reuse': securityEvent(
    '🚨 Refresh Token Used Again',
    'A spent refresh token was used. The sessions of its sign-in have ended.',
    RED,
  ),
  'security.role_refused': securityEvent(
    '⛔ Access Refused',
    'A signed-in user was refused what the roles of the account do not allow.',
    AMBER,
  ),
  'security.account_denied': securityEvent(
    '🙅 Account Denied',
    'The owner of an address has removed an account that somebody else opened with it.',
    AMBER,
  ),
  'security.account_disabled': securityEvent('🚫 Account Disabled', 'An account has been disabled.', AMBER),
  'security.account_enabled': securityEvent('✅ Account Enabled', 'An account has been enabled.', GREEN),
  'security.roles_changed': securityEvent('🛡️ Roles Changed', 'The roles of an account have been changed.', BLUE),
  'security.keys_rotated': securityEvent(
    '🔑 Encryption Key Rotated',
    'Secrets have been encrypted with a new key.',
    BLUE,
  ),
  'security.more': securityEvent(
    '📈 More Security Events',
    'There are more events of this kind than are reported one by one.',
    AMBER,
  ),
};

const FOOTER = 'NodeByte Notifications';

/** The embed of a notification. Of a requested event, only texts are shown. */
export function notification({ event, origin, data }: Omit<Notice, 'occurredAt'>): Embed {
  const security = origin === 'service' ? own(SECURITY, event) : undefined;
  if (security !== undefined) return { ...security, fields: detailsOf(data), footer: FOOTER };
  const known = own(SHARED, event) ?? (origin === 'service' ? own(OWN, event) : undefined);
  if (known === undefined) {
    const description = `Event: ${plain(event)}`;
    return { title: '📢 Notification', description, color: GREY, fields: [], footer: FOOTER };
  }
  const fields = known.fields.map(({ name, key, inline, error }) => ({
    name,
    value: textOf(data[key], origin, error),
    inline,
  }));
  return { ...known, fields, footer: FOOTER };
}

const own = <T>(table: Readonly<Record<string, T>>, event: string): T | undefined =>
  Object.hasOwn(table, event) ? table[event] : undefined;

function textOf(value: EventValue | undefined, origin: EventOrigin, error: true | undefined): string {
  if (typeof value === 'string') return error === true ? shownError(value) : plain(value);
  // Counts; of none, there is nothing to tell.
  return origin === 'service' && typeof value === 'number' && value !== 0 ? String(value) : '';
}

/** Details that come first, in this order: the database returns the keys of JSON in one of its own. */
const FIRST_DETAILS = ['event', 'account', 'actor', 'before', 'after'];
const rankOf = (key: string): number =>
  FIRST_DETAILS.includes(key) ? FIRST_DETAILS.indexOf(key) : FIRST_DETAILS.length;

/** One field per detail, named after its key. */
const detailsOf = (data: EventData): Embed['fields'] =>
  Object.entries(data)
    .toSorted(([a], [b]) => rankOf(a) - rankOf(b))
    .map(([key, value]) => ({
      name: plain(titleOf(key)) || '…',
      value: plain(words(value)),
      inline: true,
    }));

/** `per_hour` → `Per Hour`. */
const titleOf = (key: string): string =>
  key.replaceAll('_', ' ').replace(/(?<= |^)[a-z]/g, (letter) => letter.toUpperCase());

function words(value: EventValue): string {
  if (Array.isArray(value)) return value.map((entry) => words(entry)).join(', ');
  return value === null || typeof value === 'object' ? '' : String(value);
}
