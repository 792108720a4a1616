/**
 * Reads and writes `hytale_oauth_tokens`: one row per account. Tokens are stored encrypted. A pair of tokens has a version;
 * a writer names the version that it saw, so that an answer which comes late cannot replace newer tokens.
 */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { AccountStatus } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Db } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';
import { sealed } from './secrets.ts';

export interface StoredProfile {
  uuid: string;
  username: string;
}

export interface StoredAccount {
  accountId: string;
  status: AccountStatus;
  reason: string | null;
  /** Null: not asked yet. */
  profiles: StoredProfile[] | null;
  profileUuid: string | null;
  /** As stored. */
  accessToken: string;
  refreshToken: string;
  accessExpiresAt: Date;
  /** When the refresh token was received, as far as it is known. */
  obtainedAt: Date;
  /** When the row was written last: the refresh token is not older. */
  updatedAt: Date;
  tokenType: string;
  scope: string;
  version: number;
  leaseUntil: Date | null;
  /** Version of a refresh token that was sent and whose answer is not known. */
  sentVersion: number | null;
  failures: number;
  nextAt: Date | null;
  ipAddress: string | null;
  userAgent: string | null;
}

/** Rows of the earlier service have no environment; they count as ours. */
export const OF_ENVIRONMENT = `coalesce(environment, ?) = ?`;

const COLUMNS = `account_id as "accountId", status, reason, profiles, profile_uuid as "profileUuid", access_token as "accessToken",
  refresh_token as "refreshToken", access_token_expiry as "accessExpiresAt",
  coalesce(last_refreshed_at, created_at) as "obtainedAt", updated_at as "updatedAt", token_type as "tokenType", scope,
  refresh_version as version, refresh_lease_until as "leaseUntil", refresh_sent_version as "sentVersion", failures,
  next_at as "nextAt", host(ip_address) as "ipAddress", user_agent as "userAgent"`;

/** @param options `lock`: the row stays as it is until the transaction ends. */
export async function findAccount(
  db: Db,
  environment: HytaleEnvironment,
  accountId: string,
  options: { lock?: boolean } = {},
): Promise<StoredAccount | undefined> {
  const [row] = await query<StoredAccount>(
    db,
    `select ${COLUMNS} from hytale_oauth_tokens where account_id = ? and ${OF_ENVIRONMENT}
     ${options.lock === true ? 'for update' : ''}`,
    [accountId, environment, environment],
  );
  return row;
}

/** Takes the lease of the refresh token of this version, unless somebody holds it. @returns whether it was taken. */
export async function takeLease(
  db: Db,
  lease: { accountId: string; version: number; now: Date; until: Date },
): Promise<boolean> {
  const taken = await execute(
    db,
    `update hytale_oauth_tokens set refresh_lease_until = ?, refresh_sent_version = refresh_version
      where account_id = ? and refresh_version = ? and (refresh_lease_until is null or refresh_lease_until <= ?)`,
    [lease.until, lease.accountId, lease.version, lease.now],
  );
  return taken === 1;
}

export interface NewTokens {
  accessToken: Secret;
  /** Null: the one before stays. */
  refreshToken: Secret | null;
  tokenType: string;
  /** "": the one before stays. */
  scope: string;
  accessExpiresAt: Date;
  obtainedAt: Date;
  nextAt: Date;
}

/** Stores new tokens in place of this version. @returns false if newer ones are there. */
export async function storeRefreshed(
  trx: Db,
  encryption: Encryption,
  accountId: string,
  version: number,
  tokens: NewTokens,
): Promise<boolean> {
  const stored = await execute(
    trx,
    `update hytale_oauth_tokens set access_token = ?, refresh_token = coalesce(?, refresh_token), token_type = ?,
       scope = coalesce(nullif(?, ''), scope), access_token_expiry = ?, last_refreshed_at = ?, updated_at = ?, next_at = ?,
       status = case when status = 'closing' then status else 'active' end, reason = null, failures = 0,
       refresh_version = refresh_version + 1, refresh_lease_until = null, refresh_sent_version = null
      where account_id = ? and refresh_version = ?`,
    [
      sealed(encryption, 'hytale_oauth_tokens.access_token', tokens.accessToken),
      sealed(encryption, 'hytale_oauth_tokens.refresh_token', tokens.refreshToken),
      tokens.tokenType,
      tokens.scope,
      tokens.accessExpiresAt,
      tokens.obtainedAt,
      tokens.obtainedAt,
      tokens.nextAt,
      accountId,
      version,
    ],
  );
  return stored === 1;
}

/** Notes that a refresh brought no tokens. @param note `lost`: its answer is not known. @returns false if newer tokens are there. */
export async function noteRefreshFailed(
  trx: Db,
  accountId: string,
  version: number,
  note: { status: AccountStatus; reason: string; lost: boolean; nextAt: Date | null; failures: number },
): Promise<boolean> {
  const noted = await execute(
    trx,
    `update hytale_oauth_tokens set status = case when status = 'closing' then status else ? end, reason = ?, next_at = ?,
       failures = ?, refresh_lease_until = null, refresh_sent_version = case when ? then refresh_sent_version end
      where account_id = ? and refresh_version = ?`,
    [note.status, note.reason, note.nextAt, note.failures, note.lost, accountId, version],
  );
  return noted === 1;
}

/** When the tokens are renewed next, where a row does not say it yet. */
export const setAccountNextAt = (db: Db, accountId: string, version: number, nextAt: Date): Promise<unknown> =>
  execute(
    db,
    'update hytale_oauth_tokens set next_at = ? where account_id = ? and refresh_version = ? and next_at is null',
    [nextAt, accountId, version],
  );

/** Marks an account as one that a person must sign in again. @returns false if newer tokens are there, or it is marked. */
export async function requireSignIn(trx: Db, accountId: string, version: number, reason: string): Promise<boolean> {
  const marked = await execute(
    trx,
    `update hytale_oauth_tokens set status = 'reauth_required', reason = ?, next_at = null
      where account_id = ? and refresh_version = ? and status in ('active', 'misconfigured')`,
    [reason, accountId, version],
  );
  return marked === 1;
}

/**
 * Stores the tokens of a completed login. An account of the other environment is not touched.
 * @returns false for such an account.
 */
export async function storeSignedIn(
  trx: Db,
  encryption: Encryption,
  account: {
    environment: HytaleEnvironment;
    accountId: string;
    profiles: readonly StoredProfile[];
    profileUuid: string | null;
    ipAddress: string | null;
    userAgent: string | null;
  },
  tokens: NewTokens & { refreshToken: Secret },
): Promise<boolean> {
  const stored = await execute(
    trx,
    `insert into hytale_oauth_tokens as t (account_id, environment, status, profiles, profile_uuid, access_token, refresh_token,
       token_type, scope, access_token_expiry, last_refreshed_at, created_at, updated_at, next_at, ip_address, user_agent)
     values (?, ?, 'active', ?::jsonb, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
     on conflict (account_id) do update set environment = excluded.environment, status = 'active', reason = null,
       profiles = excluded.profiles, profile_uuid = excluded.profile_uuid, access_token = excluded.access_token,
       refresh_token = excluded.refresh_token, token_type = excluded.token_type, scope = excluded.scope,
       access_token_expiry = excluded.access_token_expiry, last_refreshed_at = excluded.last_refreshed_at,
       updated_at = excluded.updated_at, next_at = excluded.next_at, failures = 0, refresh_version = t.refresh_version + 1,
       refresh_lease_until = null, refresh_sent_version = null, ip_address = excluded.ip_address,
       user_agent = excluded.user_agent
     where coalesce(t.environment, excluded.environment) = excluded.environment`,
    [
      account.accountId,
      account.environment,
      JSON.stringify(account.profiles),
      account.profileUuid,
      sealed(encryption, 'hytale_oauth_tokens.access_token', tokens.accessToken),
      sealed(encryption, 'hytale_oauth_tokens.refresh_token', tokens.refreshToken),
      tokens.tokenType,
      tokens.scope,
      tokens.accessExpiresAt,
      tokens.obtainedAt,
      tokens.obtainedAt,
      tokens.obtainedAt,
      tokens.nextAt,
      account.ipAddress,
      account.userAgent,
    ],
  );
  return stored === 1;
}

/** Stores which profiles an account has, and which of them is selected. */
export const storeProfiles = (
  trx: Db,
  accountId: string,
  profiles: readonly StoredProfile[],
  profileUuid: string | null,
): Promise<unknown> =>
  execute(
    trx,
    `update hytale_oauth_tokens set profiles = ?::jsonb, profile_uuid = ?, updated_at = now() at time zone 'utc'
      where account_id = ?`,
    [JSON.stringify(profiles), profileUuid, accountId],
  );

/** Notes who asked for what the workflow will do next. */
export const noteAccountRequester = (
  trx: Db,
  accountId: string,
  who: { ipAddress: string | null; userAgent: string | null },
): Promise<unknown> =>
  execute(trx, 'update hytale_oauth_tokens set ip_address = ?, user_agent = ? where account_id = ?', [
    who.ipAddress,
    who.userAgent,
    accountId,
  ]);

/** Marks an account as one that is being disconnected. */
export const closeAccount = (trx: Db, accountId: string): Promise<unknown> =>
  execute(trx, `update hytale_oauth_tokens set status = 'closing', next_at = null where account_id = ?`, [accountId]);

/** Deletes an account that is being disconnected, with its tokens. @returns whether it was there. */
export const deleteAccount = async (trx: Db, accountId: string): Promise<boolean> =>
  (await execute(trx, `delete from hytale_oauth_tokens where account_id = ? and status = 'closing'`, [accountId])) ===
  1;

/** Takes rows of the earlier service, which say no environment. @returns number of accounts and sessions. */
export async function takeForeignRows(db: Db, environment: HytaleEnvironment): Promise<number> {
  const accounts = await execute(db, 'update hytale_oauth_tokens set environment = ? where environment is null', [
    environment,
  ]);
  const sessions = await execute(db, 'update hytale_game_sessions set environment = ? where environment is null', [
    environment,
  ]);
  return accounts + sessions;
}

/** A row that has a workflow. */
export interface RunningRow {
  id: string;
  /** Of its next step; null: there may be something to do now. */
  dueAt: Date | null;
}

/** All accounts of an environment, those first that may have something to do. */
export const accountsToRun = (db: Db, environment: HytaleEnvironment): Promise<RunningRow[]> =>
  query(
    db,
    `select account_id as id, case when status = 'active' then next_at end as "dueAt" from hytale_oauth_tokens
      where ${OF_ENVIRONMENT} order by 2 nulls first, 1`,
    [environment, environment],
  );
