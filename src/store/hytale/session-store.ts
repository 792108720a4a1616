/**
 * Reads and writes `hytale_game_sessions`: one row per game session. Tokens are stored encrypted. `version` counts the pairs
 * of a session; a writer names the version that it saw.
 */
import { randomUUID } from 'node:crypto';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { SessionStatus } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Db } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';
import { OF_ENVIRONMENT, type RunningRow } from './account-store.ts';
import { sealed } from './secrets.ts';

export interface StoredSession {
  id: string;
  accountId: string;
  profileUuid: string;
  serverId: string | null;
  status: SessionStatus;
  reason: string | null;
  /** As stored; "" while there is no pair. */
  sessionToken: string;
  identityToken: string;
  expiresAt: Date;
  version: number;
  /** Above `version`: a fresh pair is wanted. */
  wantedVersion: number;
  failures: number;
  recreations: number;
  /** Version of the account's tokens with which Hytale refused to create the session. */
  authRefusedVersion: number | null;
  nextAt: Date | null;
  /** When it was linked to a server. Without a `serverId` the server is gone. */
  linkedAt: Date | null;
  pushedVersion: number | null;
  pushStatus: string;
  restartWanted: boolean;
  ipAddress: string | null;
  userAgent: string | null;
}

const COLUMNS = `id, account_id as "accountId", profile_uuid as "profileUuid", server_id as "serverId",
  coalesce(status, 'active') as status, reason, session_token as "sessionToken", identity_token as "identityToken",
  expires_at as "expiresAt", version, wanted_version as "wantedVersion", failures, recreations,
  auth_refused_version as "authRefusedVersion", next_at as "nextAt", linked_at as "linkedAt",
  pushed_version as "pushedVersion", push_status as "pushStatus", restart_wanted as "restartWanted",
  host(ip_address) as "ipAddress", user_agent as "userAgent"`;

/** @param options `lock`: the row stays as it is until the transaction ends. */
export async function findSession(
  db: Db,
  environment: HytaleEnvironment,
  id: string,
  options: { lock?: boolean } = {},
): Promise<StoredSession | undefined> {
  const [row] = await query<StoredSession>(
    db,
    `select ${COLUMNS} from hytale_game_sessions where id = ? and ${OF_ENVIRONMENT} ${options.lock === true ? 'for update' : ''}`,
    [id, environment, environment],
  );
  return row;
}

/** The sessions of an account that are not being ended, oldest first. */
export const sessionsOfAccount = (
  db: Db,
  environment: HytaleEnvironment,
  accountId: string,
): Promise<StoredSession[]> =>
  query(
    db,
    `select ${COLUMNS} from hytale_game_sessions
      where account_id = ? and ${OF_ENVIRONMENT} and status is distinct from 'ending' order by created_at, id`,
    [accountId, environment, environment],
  );

/** Number of sessions of an account that live at Hytale, as far as we know. */
export async function countLive(db: Db, accountId: string, now: Date): Promise<number> {
  const [row] = await query<{ n: number }>(
    db,
    `select count(*)::int as n from hytale_game_sessions where account_id = ? and session_token <> '' and expires_at > ?`,
    [accountId, now],
  );
  return row?.n ?? 0;
}

/** Number of rows of an account, also of sessions that are being ended. */
export async function countSessions(db: Db, accountId: string): Promise<number> {
  const [row] = await query<{ n: number }>(
    db,
    'select count(*)::int as n from hytale_game_sessions where account_id = ?',
    [accountId],
  );
  return row?.n ?? 0;
}

/** Creations of sessions of one account take turns, so that a repeated request finds the row of the first one. */
export const lockSessionCreations = (trx: Db, accountId: string): Promise<unknown> =>
  execute(trx, `select pg_advisory_xact_lock(hashtext('nodebyte-hytale-sessions'), hashtext(?))`, [accountId]);

/**
 * The session of another account or profile that is linked to a server. Links to one server take turns until the end of the
 * transaction, so that two of them do not set the same variables by turns.
 */
export async function otherSessionOf(
  trx: Db,
  environment: HytaleEnvironment,
  serverId: string,
  own: { accountId: string; profileUuid: string },
): Promise<string | undefined> {
  await execute(trx, `select pg_advisory_xact_lock(hashtext('nodebyte-hytale-server'), hashtext(?))`, [serverId]);
  const [row] = await query<{ id: string }>(
    trx,
    `select id from hytale_game_sessions where server_id = ? and ${OF_ENVIRONMENT} and status is distinct from 'ending'
       and not (account_id = ? and profile_uuid = ?) limit 1`,
    [serverId, environment, environment, own.accountId, own.profileUuid],
  );
  return row?.id;
}

/** Adds a session without a pair. @returns its id. */
export async function insertSession(
  trx: Db,
  session: {
    environment: HytaleEnvironment;
    accountId: string;
    profileUuid: string;
    serverId: string | null;
    ipAddress: string | null;
    userAgent: string | null;
  },
): Promise<string> {
  const id = randomUUID();
  await execute(
    trx,
    `insert into hytale_game_sessions (id, environment, account_id, profile_uuid, server_id, linked_at, session_token,
       identity_token, expires_at, status, ip_address, user_agent)
     values (?, ?, ?, ?, ?, case when ?::text is null then null else now() end, '', '', now() at time zone 'utc', 'requested', ?, ?)`,
    [
      id,
      session.environment,
      session.accountId,
      session.profileUuid,
      session.serverId,
      session.serverId,
      session.ipAddress,
      session.userAgent,
    ],
  );
  return id;
}

/** Asks for a fresh pair. `ifVersion`: unless there is one since then. */
export const wantFreshPair = (
  trx: Db,
  id: string,
  options: { restart?: boolean; ifVersion?: number | undefined } = {},
): Promise<unknown> =>
  execute(
    trx,
    `update hytale_game_sessions set wanted_version = version + 1, restart_wanted = restart_wanted or ?, failures = 0,
       status = case when status in ('lapsed', 'failed', 'limited') then 'requested' else status end
      where id = ? and status is distinct from 'ending' and (?::int is null or version = ?::int)`,
    [options.restart === true, id, options.ifVersion ?? null, options.ifVersion ?? null],
  );

/** Gives up a wish for a fresh pair: the present one of this version is renewed as before. */
export const dropFreshPair = (trx: Db, id: string, version: number, reason: string): Promise<unknown> =>
  execute(
    trx,
    `update hytale_game_sessions set wanted_version = greatest(version, 1), restart_wanted = false, failures = 0,
       next_at = null, auth_refused_version = null, reason = ?
      where id = ? and version = ? and status is distinct from 'ending'`,
    [reason, id, version],
  );

/** Notes who asked for what the workflow will do next. */
export const noteSessionRequester = (
  trx: Db,
  id: string,
  who: { ipAddress: string | null; userAgent: string | null },
): Promise<unknown> =>
  execute(trx, 'update hytale_game_sessions set ip_address = ?, user_agent = ? where id = ?', [
    who.ipAddress,
    who.userAgent,
    id,
  ]);

/** Links a session to a server, or to none. Its present pair is pushed. */
export const setServer = (trx: Db, id: string, serverId: string | null): Promise<unknown> =>
  execute(
    trx,
    `update hytale_game_sessions set server_id = ?, linked_at = case when ?::text is null then null else now() end,
       pushed_version = null, push_failures = 0, push_reason = null, pushed_variables = null, restart_wanted = false,
       push_status = case when ?::text is null then 'none' else 'pending' end, updated_at = now() at time zone 'utc'
      where id = ?`,
    [serverId, serverId, serverId, id],
  );

export interface NewPairToStore {
  /** Null: the one before stays. */
  sessionToken: Secret | null;
  identityToken: Secret;
  expiresAt: Date;
  now: Date;
  nextAt: Date;
  /** The pair is of a new session at Hytale, not of a refresh. */
  created: boolean;
}

/** Stores a pair in place of this version. @returns false if a newer one is there, or the session is being ended. */
export async function storePair(
  trx: Db,
  encryption: Encryption,
  id: string,
  version: number,
  pair: NewPairToStore,
): Promise<boolean> {
  const stored = await execute(
    trx,
    `update hytale_game_sessions set session_token = coalesce(?, session_token), identity_token = ?, expires_at = ?,
       status = 'active', reason = null, version = version + 1, wanted_version = version + 1, failures = 0,
       recreations = recreations + case when ? and session_token <> '' then 1 else 0 end, auth_refused_version = null,
       next_at = ?, refreshed_at = ?, updated_at = ?, push_failures = 0, push_reason = null,
       push_status = case when server_id is null then 'none' else 'pending' end
      where id = ? and version = ? and status is distinct from 'ending'`,
    [
      sealed(encryption, 'hytale_game_sessions.session_token', pair.sessionToken),
      sealed(encryption, 'hytale_game_sessions.identity_token', pair.identityToken),
      pair.expiresAt,
      pair.created,
      pair.nextAt,
      pair.now,
      pair.now,
      id,
      version,
    ],
  );
  return stored === 1;
}

/** Notes what a step came to that brought no pair. A session that is being ended stays so. */
export const noteSession = (
  trx: Db,
  id: string,
  version: number,
  note: {
    status: SessionStatus;
    reason: string | null;
    failures: number;
    nextAt: Date | null;
    authRefusedVersion?: number | null;
  },
): Promise<unknown> =>
  execute(
    trx,
    `update hytale_game_sessions set status = ?, reason = ?, failures = ?, next_at = ?, auth_refused_version = ?
      where id = ? and version = ? and status is distinct from 'ending'`,
    [note.status, note.reason, note.failures, note.nextAt, note.authRefusedVersion ?? null, id, version],
  );

/** When a session is renewed next, where its row does not say it yet. */
export const setSessionNextAt = (db: Db, id: string, version: number, nextAt: Date): Promise<unknown> =>
  execute(db, 'update hytale_game_sessions set next_at = ? where id = ? and version = ? and next_at is null', [
    nextAt,
    id,
    version,
  ]);

/** Marks a session as one that is being ended. @returns whether it was there and not marked. */
export const markEnding = async (trx: Db, id: string): Promise<boolean> =>
  (await execute(
    trx,
    `update hytale_game_sessions set status = 'ending', reason = null, next_at = null
      where id = ? and status is distinct from 'ending'`,
    [id],
  )) === 1;

/** Marks all sessions of an account as ending. @returns the ids of all that are. */
export async function markAllEnding(trx: Db, accountId: string): Promise<string[]> {
  const rows = await query<{ id: string }>(
    trx,
    `update hytale_game_sessions set status = 'ending', next_at = null where account_id = ? returning id`,
    [accountId],
  );
  return rows.map(({ id }) => id);
}

/** Deletes a session that is being ended. @returns whether it was there. */
export const deleteSession = async (trx: Db, id: string): Promise<boolean> =>
  (await execute(trx, `delete from hytale_game_sessions where id = ? and status = 'ending'`, [id])) === 1;

/** Lets the oldest session that the limit of its account refused try again now. @returns its id. */
export async function releaseLimited(db: Db, accountId: string): Promise<string | undefined> {
  const [row] = await query<{ id: string }>(
    db,
    `update hytale_game_sessions set failures = 0 where id = (
       select id from hytale_game_sessions where account_id = ? and status = 'limited' order by created_at, id limit 1)
     returning id`,
    [accountId],
  );
  return row?.id;
}

/** Lets sessions try again that wait for their account to be signed in. @returns their ids. */
export async function releaseWaiting(trx: Db, accountId: string, now: Date): Promise<string[]> {
  const rows = await query<{ id: string }>(
    trx,
    `update hytale_game_sessions set failures = 0, auth_refused_version = null, reason = null,
       next_at = case when status = 'active' then ?::timestamptz end
      where account_id = ? and (status in ('requested', 'lapsed', 'failed') or (status = 'active' and reason is not null))
      returning id`,
    [now, accountId],
  );
  return rows.map(({ id }) => id);
}

/** All sessions of an environment, those first that may have something to do. */
export const sessionsToRun = (db: Db, environment: HytaleEnvironment): Promise<RunningRow[]> =>
  query(
    db,
    `select id, due as "dueAt" from (
       select id, case when coalesce(status, 'active') = 'active' and session_token <> '' and identity_token <> ''
                    and wanted_version <= greatest(version, 1) and not restart_wanted
                    and (server_id is not null or linked_at is null)
                    and (server_id is null or push_status = 'none' or pushed_version = version)
                  then next_at end as due
         from hytale_game_sessions where ${OF_ENVIRONMENT}) s
      order by due nulls first, id`,
    [environment, environment],
  );

/** Marks sessions of no server whose pair died before `before` as ending. @returns their ids. */
export async function markDead(db: Db, environment: HytaleEnvironment, before: Date, limit: number): Promise<string[]> {
  const rows = await query<{ id: string }>(
    db,
    `update hytale_game_sessions set status = 'ending', next_at = null where id in (
       select id from hytale_game_sessions
        where ${OF_ENVIRONMENT} and server_id is null and expires_at < ? and updated_at < ?
          and status is distinct from 'ending' order by expires_at limit ?)
     returning id`,
    [environment, environment, before, before, limit],
  );
  return rows.map(({ id }) => id);
}

/** Whether a server of this id is mirrored. */
export async function serverExists(db: Db, serverId: string): Promise<boolean> {
  return (await query(db, 'select 1 from servers where id = ?', [serverId])).length > 0;
}
