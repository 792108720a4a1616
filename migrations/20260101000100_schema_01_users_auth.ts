import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { attempt, defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'users',
    `
    id text primary key
    email text not null unique
    password text
    username text
    "firstName" text
    "lastName" text
    roles text[] default '{MEMBER}'
    "isPterodactylAdmin" boolean default false
    "isVirtfusionAdmin" boolean default false
    "isSystemAdmin" boolean default false
    "pterodactylId" integer
    "virtfusionId" integer
    "isMigrated" boolean default false
    "emailVerified" timestamp
    "isActive" boolean default true
    "avatarUrl" text
    "companyName" text
    "phoneNumber" text
    "billingEmail" text
    "accountBalance" decimal(10,2) default 0
    "accountStatus" text default 'active'
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "lastLoginAt" timestamp
    "lastSyncedAt" timestamp
    `,
    `
    idx_users_email (email)
    idx_users_pterodactyl_id ("pterodactylId")
    idx_users_virtfusion_id ("virtfusionId")
    `,
  ),
  // A rotated session row stays until it expires. It is needed to distinguish a late browser tab from a stolen token.
  defineTable(
    'sessions',
    `
    id text primary key
    "sessionToken" text not null unique
    "userId" text not null references users (id) on delete cascade
    expires timestamp not null
    "createdAt" timestamp not null default current_timestamp
    "familyId" text
    "rotatedAt" timestamp
    `,
    `
    idx_sessions_user_id ("userId")
    idx_sessions_expires (expires)
    `,
  ),
  defineTable(
    'password_reset_tokens',
    `
    id text primary key
    "userId" text not null unique references users (id) on delete cascade
    token text not null unique
    "expiresAt" timestamp not null
    "createdAt" timestamp not null default current_timestamp
    `,
    `
    idx_password_reset_tokens_user_id ("userId")
    idx_password_reset_tokens_token (token)
    `,
  ),
  defineTable(
    'verification_tokens',
    `
    identifier text not null
    token text not null unique
    expires timestamp not null
    type text default 'email'
    "createdAt" timestamp not null default current_timestamp
    constraint verification_tokens_unique unique (identifier, token)
    `,
    `
    idx_verification_tokens_token (token)
    idx_verification_tokens_identifier (identifier)
    `,
  ),
];

/** Users, sessions and one-time tokens. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  // A rule that existing accounts break is left out. These accounts stay as they are; an administrator merges them.
  await attempt(
    knex,
    'create unique index if not exists users_pterodactyl_id_unique on users ("pterodactylId") where "pterodactylId" is not null',
  );
  const unique = await attempt(
    knex,
    'create unique index if not exists users_email_lower_unique on users (lower(email))',
  );
  if (!unique) await knex.raw('create index if not exists idx_users_email_lower on users (lower(email))');
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
