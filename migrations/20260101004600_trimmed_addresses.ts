import type { Knex } from 'knex';
import { createdBy, dropCreated } from '../src/store/db/created-objects.ts';
import { attempt } from './schema/table.ts';

/** The indexes that this one replaces, with the statements of the migration that created them. */
const REPLACED = {
  users_email_lower_unique: 'create unique index if not exists users_email_lower_unique on users (lower(email))',
  idx_users_email_lower: 'create index if not exists idx_users_email_lower on users (lower(email))',
} as const;

/** Those of the indexes that a migration of ours created here. An index of the site is left alone. */
async function replacedHere(knex: Knex): Promise<(keyof typeof REPLACED)[]> {
  const created = await createdBy(knex, '20260101000100_schema_01_users_auth.ts');
  // Of a table that it created, its parts are not recorded.
  if (created.some(({ kind, name }) => kind === 'table' && name === 'users')) return ['users_email_lower_unique'];
  return (['users_email_lower_unique', 'idx_users_email_lower'] as const).filter((index) =>
    created.some(({ kind, name }) => kind === 'index' && name === index),
  );
}

/** Addresses are looked up without the spaces around them. Reads go on meanwhile; writes of users wait. */
export async function up(knex: Knex): Promise<void> {
  // Accounts that differ only in case or spaces stay as they are, and `db migrate` names them. Then no rule is taken away.
  const unique = await attempt(
    knex,
    'create unique index if not exists users_email_address_unique on users (lower(btrim(email)))',
  );
  if (!unique) await knex.raw('create index if not exists idx_users_email_address on users (lower(btrim(email)))');
  for (const index of await replacedHere(knex))
    if (unique || index === 'idx_users_email_lower') await knex.raw('drop index if exists ??', [index]);
}

/** Drops the index; the release before has the indexes that were replaced. */
export async function down(knex: Knex): Promise<void> {
  await dropCreated(knex);
  for (const index of await replacedHere(knex)) await knex.raw(REPLACED[index]);
}
