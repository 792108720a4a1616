import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureForeignKey } from './schema/adopt.ts';
import { ensureTables } from './schema/ensure.ts';
import { defineTable } from './schema/table.ts';

const TABLES = [
  defineTable(
    'products',
    `
    id text primary key
    name text not null
    slug text not null unique
    description text
    "serverType" text not null default 'game_server'
    "panelType" text default 'pterodactyl'
    "eggId" integer references eggs (id) on delete set null
    "nestId" integer references nests (id) on delete set null
    price decimal(10,2) not null
    "billingCycle" text default 'monthly'
    "isFree" boolean default false
    "specsMemory" integer
    "specsDisk" integer
    "specsCpu" decimal(5,2)
    "specsBandwidth" decimal(5,2)
    "specsMailboxes" integer
    "specsStorage" integer
    features jsonb default '{}'
    "includeDescription" text
    "createdById" text references users (id) on delete set null
    "isActive" boolean default true
    "isFeatured" boolean default false
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_products_slug (slug)
    idx_products_server_type ("serverType")
    idx_products_egg_id ("eggId")
    idx_products_created_by_id ("createdById")
    idx_products_is_active ("isActive")
    idx_products_active_featured ("isActive", "isFeatured") where "isActive"
    `,
  ),
  defineTable(
    'invoices',
    `
    id text primary key
    "invoiceNumber" text not null unique
    "userId" text not null references users (id) on delete cascade
    amount decimal(10,2) not null
    tax decimal(10,2) default 0
    total decimal(10,2) not null
    status text default 'unpaid'
    "paymentMethod" text
    "paidAt" timestamp
    "dueAt" timestamp
    notes text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    "deletedAt" timestamp
    `,
    `
    idx_invoices_user_id ("userId")
    idx_invoices_invoice_number ("invoiceNumber")
    idx_invoices_status (status)
    idx_invoices_created_at ("createdAt")
    `,
  ),
  defineTable(
    'invoice_items',
    `
    id text primary key
    "invoiceId" text not null references invoices (id) on delete cascade
    description text not null
    quantity integer default 1
    "unitPrice" decimal(10,2) not null
    amount decimal(10,2) not null
    "productId" text references products (id) on delete set null
    "serverId" text references servers (id) on delete set null
    "createdAt" timestamp not null default current_timestamp
    `,
    `
    idx_invoice_items_invoice_id ("invoiceId")
    idx_invoice_items_product_id ("productId")
    idx_invoice_items_server_id ("serverId")
    `,
  ),
  defineTable(
    'payments',
    `
    id text primary key
    "invoiceId" text not null references invoices (id) on delete cascade
    "userId" text not null references users (id) on delete cascade
    amount decimal(10,2) not null
    "paymentMethod" text not null
    "externalTransactionId" text unique
    status text default 'completed'
    notes text
    "createdAt" timestamp not null default current_timestamp
    "updatedAt" timestamp not null default current_timestamp
    `,
    `
    idx_payments_invoice_id ("invoiceId")
    idx_payments_user_id ("userId")
    idx_payments_external_transaction_id ("externalTransactionId")
    `,
  ),
];

/** Products, invoices and payments of the web site. */
export async function up(knex: Knex): Promise<void> {
  await ensureTables(knex, TABLES);
  await ensureForeignKey(knex, 'servers', 'productId', { table: 'products', column: 'id', onDelete: 'set null' });
}

/** Drops what `up` created. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
