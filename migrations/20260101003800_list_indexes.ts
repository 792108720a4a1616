import type { Knex } from 'knex';
import { dropCreated } from '../src/store/db/created-objects.ts';
import { ensureSearchIndexes } from '../src/store/db/search-indexes.ts';
import { attempt } from './schema/table.ts';

/**
 * An index for each order of the lists. The id is in it, as it breaks ties; so a page far back is found in the index
 * alone. Where rows without a value are last in both directions, each direction has its own.
 */
const ORDERS = [
  'idx_users_list_created on users ("createdAt", id)',
  'idx_users_list_updated on users ("updatedAt", id)',
  'idx_users_list_email on users (email, id)',
  'idx_users_list_username on users (username, id)',
  'idx_users_list_username_desc on users (username desc nulls last, id desc)',
  'idx_users_list_login on users ("lastLoginAt", id)',
  'idx_users_list_login_desc on users ("lastLoginAt" desc nulls last, id desc)',
  'idx_servers_list_created on servers ("createdAt", id)',
  'idx_servers_list_updated on servers ("updatedAt", id)',
  'idx_servers_list_name on servers (name, id)',
];

/** Indexes for the orders and searches of lists. Reads go on meanwhile; writes wait, about four seconds at 50,000 users. */
export async function up(knex: Knex): Promise<void> {
  // An order whose column has a text too long for an index has none, and sorts.
  for (const index of ORDERS) await attempt(knex, `create index if not exists ${index}`);
  await ensureSearchIndexes(knex);
}

/** Drops the indexes. The extension stays: the site may have begun to use it. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
}
