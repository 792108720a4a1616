/** The data under the measured api: a mirror of size M, its users with passwords, and an administrator. */
import bcrypt from 'bcrypt';
import type { AuthUser } from '../../src/domain/accounts/account.ts';
import { hashPassword } from '../../src/services/accounts/password-hash.ts';
import { query } from '../../src/store/db/query.ts';
import type { TestDb } from '../../test/support/database.ts';

/** Number of rows per table. Nodes, nests, eggs and allocations are those of size M of the sync benchmark. */
export const SIZE = {
  locations: 3,
  nodes: 20,
  nests: 5,
  eggs: 40,
  allocations: 10_000,
  users: 5_000,
  servers: 5_000,
  subusers: 3_000,
  tickets: 2_500,
} as const;

export const PASSWORD = 'Correct-horse-battery-7';
/** A word that only the names of {@link FOUND} servers contain. */
export const SEARCH = 'lobby';
export const FOUND = SIZE.servers / 100;

/** Half of the users own two servers each and share servers with each other. */
const OWNERS = SIZE.users / 2;
/** Number of owners who, beside their own two servers, share exactly one server of another owner. */
const CUSTOMERS = OWNERS / 2;
export const SERVERS_PER_CUSTOMER = 3;

/** Number of accounts with a weaker hash, and of accounts without a password. */
export const ACCOUNTS = 200;
/** Users below this number have a hash of the current cost, the next ones a weaker hash, the last ones no password. */
export const WEAK_FROM = SIZE.users - 2 * ACCOUNTS;
export const NO_PASSWORD_FROM = SIZE.users - ACCOUNTS;
/** bcrypt cost of the earlier service's hashes. */
const WEAK_COST = 10;

/** Email address of the user with this number, from 0. */
export const emailOf = (n: number): string => `customer${n}@bench.example`;

export interface Filled {
  /** Users who see {@link SERVERS_PER_CUSTOMER} servers each: two of their own and a shared one. */
  customers: AuthUser[];
  admin: AuthUser;
  /** Hash of {@link PASSWORD} with the current cost. */
  hash: string;
}

/** Fills an empty, migrated database. */
export async function fillDatabase(db: TestDb): Promise<Filled> {
  const [hash, weakHash] = await Promise.all([hashPassword(PASSWORD), bcrypt.hash(PASSWORD, WEAK_COST)]);
  await fillUsers(db, hash, weakHash);
  await fillPanel(db);
  await fillServers(db);
  // In production autovacuum has done this.
  await db.raw('vacuum analyze');
  const users = await query<AuthUser>(
    db,
    `select u.id, u.email, u.username, u."firstName", u."lastName", u.roles, u."isPterodactylAdmin",
       u."isVirtfusionAdmin", u."isSystemAdmin", u."pterodactylId", u."emailVerified", u."isActive"
     from users u where u."isSystemAdmin" or u."pterodactylId" <= ? order by u."isSystemAdmin" desc, u."pterodactylId"`,
    [CUSTOMERS],
  );
  const [admin, ...customers] = users;
  if (admin === undefined || customers.length !== CUSTOMERS) throw new Error('the database was not filled');
  return { customers, admin, hash };
}

async function fillUsers(db: TestDb, hash: string, weakHash: string): Promise<void> {
  await db.raw(
    `insert into users (id, email, password, username, "firstName", "lastName", roles, "isSystemAdmin", "pterodactylId",
                        "isMigrated", "emailVerified", "createdAt", "updatedAt")
     select md5('user' || n)::uuid::text, 'customer' || n || '@bench.example',
            case when n < ? then ?::text when n < ? then ?::text end,
            'customer' || n, 'First' || n, 'Last' || n, '{MEMBER}'::text[], false, n + 1, true, t.at, t.at, t.at
       from generate_series(0, ? - 1) n, (select now() at time zone 'utc' - interval '1 day' as at) t
     union all
     select md5('admin')::uuid::text, 'admin@bench.example', ?, 'admin', null, null, '{ADMINISTRATOR}', true, null,
            false, t.at, t.at, t.at
       from (select now() at time zone 'utc' - interval '1 day' as at) t`,
    [WEAK_FROM, hash, NO_PASSWORD_FROM, weakHash, SIZE.users, hash],
  );
}

async function fillPanel(db: TestDb): Promise<void> {
  await db.raw(
    `insert into locations (id, "shortCode", description)
     select n, 'loc' || n, 'Location ' || n from generate_series(1, ?) n`,
    [SIZE.locations],
  );
  await db.raw(
    `insert into nodes (id, uuid, name, fqdn, memory, disk, "locationId")
     select n, md5('node' || n)::uuid::text, 'Node ' || n, 'node' || n || '.bench.example', 131072, 2000000, 1 + n % ?
       from generate_series(1, ?) n`,
    [SIZE.locations, SIZE.nodes],
  );
  await db.raw(
    `insert into nests (id, uuid, name, author)
     select n, md5('nest' || n)::uuid::text, 'Nest ' || n, 'nests@bench.example' from generate_series(1, ?) n`,
    [SIZE.nests],
  );
  await db.raw(
    `insert into eggs (id, uuid, name, description, author, "nestId")
     select n, md5('egg' || n)::uuid::text, 'Game ' || n, 'How game ' || n || ' is installed and run',
            'eggs@bench.example', 1 + n % ?
       from generate_series(1, ?) n`,
    [SIZE.nests, SIZE.eggs],
  );
}

async function fillServers(db: TestDb): Promise<void> {
  await db.raw(
    `insert into servers (id, "pterodactylId", uuid, "uuidShort", "eggId", "nestId", name, description, status,
                          "isSuspended", memory, disk, cpu, "ownerId", "nodeId", "createdAt", "updatedAt")
     select md5('server' || n)::uuid::text, n + 1, md5('panel' || n)::uuid::text, left(md5('panel' || n), 8), e.id,
            e."nestId", case when n % 100 = 0 then 'Lobby ' else 'World ' end || n,
            case when n % 3 > 0 then 'A server for game nights and for those who cannot sleep, number ' || n end,
            (array['online', 'online', 'offline', 'starting'])[1 + n % 4], n % 50 = 7, 2048 + 1024 * (n % 6), 20480,
            100 * (1 + n % 4), md5('user' || n % ?)::uuid::text, 1 + n % ?, t.at - interval '1 year',
            -- 7919 is prime: last changed in no order that a column is in.
            t.at - (n * 7919 % ?) * interval '1 minute'
       from generate_series(0, ? - 1) n join eggs e on e.id = 1 + n % ?, (select now() at time zone 'utc' as at) t`,
    [OWNERS, SIZE.nodes, SIZE.servers, SIZE.servers, SIZE.eggs],
  );
  // Each server has one allocation of its node, every second server has two. The other allocations are free.
  await db.raw(
    `insert into allocations (id, ip, port, "isAssigned", "nodeId", "serverId")
     select n + 1, '10.0.' || n % ? || '.1', 25000 + n / ?, s.id is not null, 1 + n % ?, s.id
       from generate_series(0, ? - 1) n
       left join servers s on s."pterodactylId" = 1 + n % ? and n < ?`,
    [SIZE.nodes, SIZE.nodes, SIZE.nodes, SIZE.allocations, SIZE.servers, SIZE.servers * 1.5],
  );
  await db.raw(
    `insert into server_subusers (id, "serverId", "userId", permissions)
     select md5('subuser' || n)::uuid::text, md5('server' || n)::uuid::text, md5('user' || (n + ?) % ?)::uuid::text,
            '{control.console,control.start,control.stop}'
       from generate_series(0, ? - 1) n`,
    [CUSTOMERS, OWNERS, SIZE.subusers],
  );
  await db.raw(
    `insert into support_tickets (id, "ticketNumber", "userId", title, description, status)
     select md5('ticket' || n)::uuid::text, 'T-' || n, md5('user' || n)::uuid::text, 'Ticket ' || n, 'It does not start',
            (array['open', 'pending', 'closed'])[1 + n % 3]
       from generate_series(0, ? - 1) n`,
    [SIZE.tickets],
  );
}
