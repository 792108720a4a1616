import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'partners',
    `
    id text primary key
    name text not null unique
    slug text not null unique
    description text
    "partnerType" text not null
    website text
    logo_url text
    "contactEmail" text
    "contactPerson" text
    "partnershipStartDate" timestamp
    "partnershipEndDate" timestamp
    status text default 'active'
    metadata jsonb default '{}'
    "createdById" text references users (id) on delete set null
    "isActive" boolean default true
    "isFeatured" boolean default false
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_partners_slug (slug)
    idx_partners_type ("partnerType")
    idx_partners_status (status)
    idx_partners_is_active ("isActive")
    idx_partners_is_featured ("isFeatured")
    `,
  ),
  defineTable(
    'partner_services',
    `
    id text primary key
    "partnerId" text not null references partners (id) on delete cascade
    name text not null
    description text
    config jsonb default '{}'
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_partner_services_partner_id ("partnerId")
    `,
  ),
  defineTable(
    'partner_revenue_sharing',
    `
    id text primary key
    "partnerId" text not null references partners (id) on delete cascade
    "commissionType" text not null
    "commissionRate" decimal(5,2)
    "commissionAmount" decimal(10,2)
    "payoutFrequency" text default 'monthly'
    "minimumPayout" decimal(10,2)
    "payoutMethod" text
    "payoutAccount" text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_partner_revenue_sharing_partner_id ("partnerId")
    `,
  ),
];

/** Partners of the company. The web site writes them. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
