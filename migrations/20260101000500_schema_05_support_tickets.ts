import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'support_tickets',
    `
    id text primary key
    "ticketNumber" text not null unique
    "userId" text not null references users (id) on delete cascade
    "serverId" text references servers (id) on delete set null
    title text not null
    description text not null
    status text default 'open'
    priority text default 'medium'
    category text
    "assignedToId" text references users (id) on delete set null
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "closedAt" timestamp
    `,
    `
    idx_support_tickets_user_id ("userId")
    idx_support_tickets_server_id ("serverId")
    idx_support_tickets_assigned_to_id ("assignedToId")
    idx_support_tickets_status (status)
    idx_support_tickets_priority (priority)
    idx_support_tickets_created_at ("createdAt")
    `,
  ),
  defineTable(
    'support_ticket_replies',
    `
    id text primary key
    "ticketId" text not null references support_tickets (id) on delete cascade
    "userId" text not null references users (id) on delete cascade
    message text not null
    "isInternal" boolean default false
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_support_ticket_replies_ticket_id ("ticketId")
    idx_support_ticket_replies_user_id ("userId")
    idx_support_ticket_replies_created_at ("createdAt")
    `,
  ),
];

/** Support tickets and their replies. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
