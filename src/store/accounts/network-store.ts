/** The networks that an account was signed in from, as keyed digests, and the time of its last sign-in. */
import type { AuditEvent } from '../../domain/audit.ts';
import { auditInsert } from '../audit/audit-store.ts';
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';
import { addressOf } from './address.ts';

/** How an account's sign-ins know a network: the first one of the account, one seen before, or a further one. */
export type NetworkStanding = 'first' | 'known' | 'new';

/** Number of networks kept per account: the latest ones. */
export const KEPT_NETWORKS = 20;

/**
 * Stores the network, and drops the account's oldest ones beyond {@link KEPT_NETWORKS}. `last_seen` is renewed once an
 * hour only, so most sign-ins write no row here.
 */
const REMEMBER = `
  it as (select ?::text as user_id, ?::text as digest),
  before as (
    select count(n.digest) > 0 as has_any, coalesce(bool_or(n.digest = it.digest), false) as has_it
      from it left join account_networks n on n.user_id = it.user_id
  ), stored as (
    insert into account_networks as n (user_id, digest) select u.id, it.digest from it join users u on u.id = it.user_id
    on conflict (user_id, digest) do update set last_seen = excluded.last_seen
      where n.last_seen < excluded.last_seen - interval '1 hour'
  ), dropped as (
    delete from account_networks n using it where n.user_id = it.user_id and n.digest in (
      select o.digest from account_networks o where o.user_id = it.user_id and o.digest <> it.digest
       order by o.last_seen desc, o.digest offset ${KEPT_NETWORKS - 1})
  )`;
const STANDING = `
  select case when b.has_it then 'known' when b.has_any then 'new' else 'first' end as standing from before b`;

/** Remembers a network of an account. The caller holds the user's lock. */
export async function rememberDigest(trx: Db, userId: string, digest: string): Promise<NetworkStanding> {
  const [row] = await query<{ standing: NetworkStanding }>(trx, `with ${REMEMBER} ${STANDING}`, [userId, digest]);
  return row?.standing ?? 'first';
}

/** Stores the time, the event and the network of a sign-in in one statement. Locks the user's row as a write does. */
export async function recordSignInWith(
  trx: Db,
  userId: string,
  event: AuditEvent,
  digest: string,
): Promise<NetworkStanding> {
  const insert = auditInsert(event);
  const [row] = await query<{ standing: NetworkStanding }>(
    trx,
    `with ${REMEMBER}, signed_in as (
       update users u set "lastLoginAt" = now() at time zone 'utc' from it where u.id = it.user_id
     ), event as (${insert.sql}) ${STANDING}`,
    [userId, digest, ...insert.bindings],
  );
  return row?.standing ?? 'first';
}

/** Whether an account of this address, in lower case, was signed in to from the network. */
export async function isKnownDigest(db: Db, email: string, digest: string): Promise<boolean> {
  const [row] = await query<{ known: boolean }>(
    db,
    `select exists (
       select 1 from users u join account_networks n on n.user_id = u.id where ${addressOf('u')} = ? and n.digest = ?
     ) as known`,
    [email, digest],
  );
  return row?.known === true;
}

/** Forgets the networks of an account. */
export async function forgetDigests(trx: Db, userId: string): Promise<void> {
  await execute(trx, 'delete from account_networks where user_id = ?', [userId]);
}

/** Deletes networks that were not seen for this number of days. @returns number of rows. */
export async function purgeNetworks(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ digest: string }>(
    db,
    `delete from account_networks where (user_id, digest) in (
       select n.user_id, n.digest from account_networks n where n.last_seen < now() - make_interval(days => ?) limit ?
       for update skip locked) returning digest`,
    [days, batch],
  );
  return deleted.length;
}
