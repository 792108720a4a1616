/** The data under the measured api: a mirror of size M or L, its users with passwords, and an administrator. */
import bcrypt from 'bcrypt';
import type { AuthUser } from '../../src/domain/accounts/account.ts';
import { hashPassword } from '../../src/services/accounts/password-hash.ts';
import { query } from '../../src/store/db/query.ts';
import type { TestDb } from '../../test/support/database.ts';

/** Number of rows per table. Users, servers and allocations are those of the sync benchmark's sizes. */
export interface Size {
  locations: number;
  nodes: number;
  nests: number;
  eggs: number;
  allocations: number;
  users: number;
  servers: number;
  subusers: number;
  tickets: number;
  auditEvents: number;
}

export const SIZES = {
  M: {
    locations: 3,
    nodes: 20,
    nests: 5,
    eggs: 400,
    allocations: 10_000,
    users: 5_000,
    servers: 5_000,
    subusers: 3_000,
    tickets: 2_500,
    auditEvents: 20_000,
  },
  L: {
    locations: 5,
    nodes: 60,
    nests: 20,
    eggs: 1_000,
    allocations: 100_000,
    users: 50_000,
    servers: 20_000,
    subusers: 12_000,
    tickets: 10_000,
    auditEvents: 100_000,
  },
} as const satisfies Record<string, Size>;
export type SizeName = keyof typeof SIZES;

export const PASSWORD = 'Correct-horse-battery-7';
/** A word that only the names of a hundredth of the servers contain. */
export const SEARCH = 'lobby';

/** Most owners have two servers each and share servers with each other. */
const owners = (size: Size): number => size.servers / 2;
/** Number of owners who, beside their own two servers, share exactly one server of another owner. */
const customers = (size: Size): number => Math.min(owners(size) / 2, 1_250);
export const SERVERS_PER_CUSTOMER = 3;

/** Number of accounts with a weaker hash, and of accounts without a password. */
export const ACCOUNTS = 200;
/** Users below this number have a hash of the current cost, the next ones a weaker hash, the last ones no password. */
export const weakFrom = (size: Size): number => size.users - 2 * ACCOUNTS;
export const noPasswordFrom = (size: Size): number => size.users - ACCOUNTS;
/** bcrypt cost of the earlier service's hashes. */
const WEAK_COST = 10;

/** Email address of the user with this number, from 0. */
export const emailOf = (n: number): string => `customer${n}@bench.example`;

export interface Filled {
  size: Size;
  /** Users who see {@link SERVERS_PER_CUSTOMER} servers each: two of their own and a shared one. */
  customers: AuthUser[];
  admin: AuthUser;
  /** Hash of {@link PASSWORD} with the current cost. */
  hash: string;
}

/** Fills an empty, migrated database. */
export async function fillDatabase(db: TestDb, size: Size): Promise<Filled> {
  const [hash, weakHash] = await Promise.all([hashPassword(PASSWORD), bcrypt.hash(PASSWORD, WEAK_COST)]);
  await fillUsers(db, size, { hash, weakHash });
  await fillPanel(db, size);
  await fillServers(db, size);
  await fillAllocations(db, size);
  await fillAuditEvents(db, size);
  // In production autovacuum has done this.
  await db.raw('vacuum analyze');
  const users = await query<AuthUser>(
    db,
    `select u.id, u.email, u.username, u."firstName", u."lastName", u.roles, u."isPterodactylAdmin",
       u."isVirtfusionAdmin", u."isSystemAdmin", u."pterodactylId", u."emailVerified", u."isActive"
     from users u where u."isSystemAdmin" or u."pterodactylId" <= ? order by u."isSystemAdmin" desc, u."pterodactylId"`,
    [customers(size)],
  );
  const [admin, ...others] = users;
  if (admin === undefined || others.length !== customers(size)) throw new Error('the database was not filled');
  return { size, customers: others, admin, hash };
}

/** Users of three years, some without a name, without a sign-in, without a panel account; sessions of most of them. */
async function fillUsers(
  db: TestDb,
  size: Size,
  { hash, weakHash }: Record<'hash' | 'weakHash', string>,
): Promise<void> {
  await db.raw(
    `insert into users (id, email, password, username, "firstName", "lastName", roles, "isSystemAdmin", "pterodactylId",
                        "isMigrated", "isActive", "emailVerified", "lastLoginAt", "createdAt", "updatedAt")
     select md5('user' || n)::uuid::text, 'customer' || n || '@bench.example',
            case when n < ? then ?::text when n < ? then ?::text end,
            case when n % 20 <> 11 then 'customer' || n end, case when n % 3 > 0 then 'First' || n end,
            case when n % 3 > 0 then 'Last' || n end,
            case when n % 500 = 499 then '{MEMBER,SUPPORT_TEAM}'::text[] when n % 50 <> 13 then '{MEMBER}'::text[] end,
            false, case when n < ? or n % 10 > 0 then n + 1 end, n % 4 > 0, n < ? or n % 100 <> 99,
            case when n < ? or n % 10 <> 7 then t.created end,
            case when n % 10 < 7 then t.created + (t.at - t.created) * (n % 97) / 97 end, t.created, t.created
       from generate_series(0, ? - 1) n,
            -- 7919 is prime: created in no order that another column is in.
            lateral (select now() at time zone 'utc' as at, now() at time zone 'utc' - interval '1 day'
                       - (n * 7919 % ?) * interval '1 second' * (94608000 / ?) as created) t
     union all
     select md5('admin')::uuid::text, 'admin@bench.example', ?, 'admin', null, null, '{ADMINISTRATOR}', true, null,
            false, true, t.at, null, t.at, t.at
       from (select now() at time zone 'utc' - interval '1 hour' as at) t`,
    [
      weakFrom(size),
      hash,
      noPasswordFrom(size),
      weakHash,
      owners(size),
      owners(size),
      owners(size),
      size.users,
      size.users,
      size.users,
      hash,
    ],
  );
  await db.raw(
    `insert into sessions (id, "sessionToken", "userId", expires, "createdAt", "familyId")
     select md5('session' || n || '-' || k)::uuid::text, md5('token' || n || '-' || k), md5('user' || n)::uuid::text,
            now() at time zone 'utc' + (n % 30 - 5) * interval '1 day', now() at time zone 'utc' - interval '8 days',
            md5('family' || n || '-' || k)::uuid::text
       from generate_series(0, ? - 1) n, generate_series(1, 3) k where n % 5 >= k`,
    [size.users],
  );
}

async function fillPanel(db: TestDb, size: Size): Promise<void> {
  await db.raw(
    `insert into locations (id, "shortCode", description)
     select n, 'loc' || n, 'Location ' || n from generate_series(1, ?) n`,
    [size.locations],
  );
  await db.raw(
    `insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId")
     select n, md5('node' || n)::uuid::text, 'Node ' || n, 'node' || n || '.bench.example', 131072, 2000000, 1 + n % ?
       from generate_series(1, ?) n`,
    [size.locations, size.nodes],
  );
  await db.raw(
    `insert into nests (id, uuid, name, author)
     select n, md5('nest' || n)::uuid::text, 'Nest ' || n, 'nests@bench.example' from generate_series(1, ?) n`,
    [size.nests],
  );
  await db.raw(
    `insert into eggs (id, uuid, name, description, author, "nestId")
     select n, md5('egg' || n)::uuid::text, 'Game ' || n, 'How game ' || n || ' is installed and run',
            'eggs@bench.example', 1 + n % ?
       from generate_series(1, ?) n`,
    [size.nests, size.eggs],
  );
}

async function fillServers(db: TestDb, size: Size): Promise<void> {
  await db.raw(
    `insert into servers (id, "pterodactylId", uuid, "uuidShort", "eggId", "nestId", name, description, status,
                          "isSuspended", memory, disk, cpu, "ownerId", "nodeId", "createdAt", "updatedAt")
     select md5('server' || n)::uuid::text, n + 1, md5('panel' || n)::uuid::text, left(md5('panel' || n), 8), e.id,
            e."nestId", case when n % 100 = 0 then 'Lobby ' else 'World ' end || n,
            case when n % 3 > 0 then 'A server for game nights and for those who cannot sleep, number ' || n end,
            (array['online', 'online', 'offline', 'starting'])[1 + n % 4], n % 50 = 7, 2048 + 1024 * (n % 6), 20480,
            100 * (1 + n % 4), case when n % ? < ? or n % 30 > 0 then md5('user' || n % ?)::uuid::text end, 1 + n % ?,
            t.at - (n * 104729 % ?) * interval '1 hour',
            -- 7919 is prime: last changed in no order that a column is in.
            t.at - (n * 7919 % ?) * interval '1 minute'
       from generate_series(0, ? - 1) n join eggs e on e.id = 1 + n % ?, (select now() at time zone 'utc' as at) t`,
    [owners(size), customers(size), owners(size), size.nodes, size.servers, size.servers, size.servers, size.eggs],
  );
  await db.raw(
    `insert into server_subusers (id, "serverId", "userId", permissions)
     select md5('subuser' || n)::uuid::text, md5('server' || n)::uuid::text, md5('user' || (n + ?) % ?)::uuid::text,
            '{control.console,control.start,control.stop}'
       from generate_series(0, ? - 1) n`,
    [customers(size), owners(size), size.subusers],
  );
  await db.raw(
    `insert into support_tickets (id, "ticketNumber", "userId", title, description, status)
     select md5('ticket' || n)::uuid::text, 'T-' || n, md5('user' || n)::uuid::text, 'Ticket ' || n, 'It does not start',
            (array['open', 'pending', 'closed'])[1 + n % 3]
       from generate_series(0, ? - 1) n`,
    [size.tickets],
  );
}

async function fillAllocations(db: TestDb, size: Size): Promise<void> {
  // Each server has one allocation of its node, every second server has two. The other allocations are free.
  await db.raw(
    `insert into allocations (id, ip, port, alias, "isAssigned", "nodeId", "serverId")
     select n + 1, '10.0.' || n % ? || '.1', 25000 + n / ?, case when n % 4 = 0 then 'play' || n || '.bench.example' end,
            s.id is not null, 1 + n % ?, s.id
       from generate_series(0, ? - 1) n
       left join servers s on s."pterodactylId" = 1 + n % ? and n < ?`,
    [size.nodes, size.nodes, size.nodes, size.allocations, size.servers, size.servers * 1.5],
  );
}

/** Events of the last 300 days: sign-ins of customers, changes by the administrator. */
async function fillAuditEvents(db: TestDb, size: Size): Promise<void> {
  await db.raw(
    `insert into audit_events (at, action, outcome, actor_type, actor_id, target_type, target_id, network, request_id, details)
     select now() - (? - n) * interval '1 second' * (25920000 / ?),
            (array['sign-in', 'sign-in', 'sign-in', 'roles-changed', 'settings-changed'])[1 + n % 5],
            case when n % 7 = 0 and n % 5 < 3 then 'refused' else 'success' end, 'user',
            md5(case when n % 5 < 3 then 'user' || n % ? else 'admin' end)::uuid::text,
            case when n % 5 < 4 then 'user' else 'setting' end,
            case when n % 5 < 4 then md5('user' || n % ?)::uuid::text else 'site_name' end,
            md5('network' || n % 1000), md5('request' || n)::uuid::text,
            case when n % 5 = 3 then '{"before":{"roles":["MEMBER"]},"after":{"roles":["MEMBER","SUPPORT_TEAM"]}}'::jsonb
                 else '{}'::jsonb end
       from generate_series(0, ? - 1) n`,
    [size.auditEvents, size.auditEvents, size.users, size.users, size.auditEvents],
  );
}
