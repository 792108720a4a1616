/** Reads and writes `hytale_logins`: device logins. Device codes and tokens are stored encrypted, and cleared at the end. */
import { createHash } from 'node:crypto';
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { LoginStatus } from '../../domain/hytale/lifecycle.ts';
import type { Secret } from '../../domain/secret.ts';
import type { Db } from '../db/db.ts';
import type { Encryption } from '../db/encryption.ts';
import { execute, query } from '../db/query.ts';
import type { RunningRow } from './account-store.ts';
import { sealed } from './secrets.ts';

export interface StoredLogin {
  id: string;
  /** The account that must approve it; null: whichever does. */
  accountId: string | null;
  ownerId: string | null;
  status: LoginStatus;
  /** As stored. */
  deviceCode: string;
  userCode: string | null;
  verificationUri: string | null;
  verificationUriComplete: string | null;
  intervalSeconds: number;
  expiresInSeconds: number | null;
  expiresAt: Date | null;
  nextAt: Date | null;
  polls: number;
  failures: number;
  /** Code of OAuth of a login that ended without an account. */
  error: string | null;
  reason: string | null;
  accessToken: string;
  refreshToken: string;
  accessExpiresAt: Date | null;
  scope: string | null;
  ipAddress: string | null;
  userAgent: string | null;
}

const COLUMNS = `id, account_id as "accountId", owner_id as "ownerId", status, device_code as "deviceCode", user_code as "userCode",
  verification_uri as "verificationUri", verification_uri_complete as "verificationUriComplete",
  interval_seconds as "intervalSeconds", expires_in_seconds as "expiresInSeconds", expires_at as "expiresAt",
  next_at as "nextAt", polls, failures, error, reason, access_token as "accessToken", refresh_token as "refreshToken",
  access_expires_at as "accessExpiresAt", scope, host(ip_address) as "ipAddress", user_agent as "userAgent"`;

const hashOf = (deviceCode: string): string => createHash('sha256').update(deviceCode).digest('hex');

/** Adds a login without a code. */
export const insertLogin = (
  trx: Db,
  login: {
    id: string;
    environment: HytaleEnvironment;
    accountId: string | null;
    requestedBy: string;
    ipAddress: string | null;
    userAgent: string | null;
  },
): Promise<unknown> =>
  execute(
    trx,
    `insert into hytale_logins (id, environment, account_id, requested_by, ip_address, user_agent) values (?, ?, ?, ?, ?, ?)`,
    [login.id, login.environment, login.accountId, login.requestedBy, login.ipAddress, login.userAgent],
  );

/** @param options `lock`: the row stays as it is until the transaction ends. */
export async function findLogin(
  db: Db,
  environment: HytaleEnvironment,
  id: string,
  options: { lock?: boolean } = {},
): Promise<StoredLogin | undefined> {
  const [row] = await query<StoredLogin>(
    db,
    `select ${COLUMNS} from hytale_logins where id = ? and environment = ? ${options.lock === true ? 'for update' : ''}`,
    [id, environment],
  );
  return row;
}

/** The login of a device code that was given to this account. */
export async function findLoginByCode(
  db: Db,
  environment: HytaleEnvironment,
  deviceCode: string,
  accountId: string,
): Promise<StoredLogin | undefined> {
  const [row] = await query<StoredLogin>(
    db,
    `select ${COLUMNS} from hytale_logins where code_hash = ? and account_id = ? and environment = ?
      order by created_at desc limit 1`,
    [hashOf(deviceCode), accountId, environment],
  );
  return row;
}

export interface CodeToStore {
  deviceCode: Secret;
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string | null;
  intervalSeconds: number;
  expiresInSeconds: number;
  expiresAt: Date;
  nextAt: Date;
}

/** Stores the code of a login that waits for one. */
export const storeCode = (db: Db, encryption: Encryption, id: string, code: CodeToStore): Promise<unknown> =>
  execute(
    db,
    `update hytale_logins set status = 'pending', device_code = ?, code_hash = ?, user_code = ?, verification_uri = ?,
       verification_uri_complete = ?, interval_seconds = ?, expires_in_seconds = ?, expires_at = ?, next_at = ?, failures = 0,
       updated_at = now()
      where id = ? and status = 'requested'`,
    [
      sealed(encryption, 'hytale_logins.device_code', code.deviceCode),
      hashOf(code.deviceCode.reveal()),
      code.userCode,
      code.verificationUri,
      code.verificationUriComplete,
      code.intervalSeconds,
      code.expiresInSeconds,
      code.expiresAt,
      code.nextAt,
      id,
    ],
  );

/** Notes a step of a login that goes on: how often it failed, how fast it polls, and when the next step is. */
export const noteLogin = (
  db: Db,
  id: string,
  note: { status: LoginStatus; intervalSeconds?: number; failures: number; reason: string | null; nextAt: Date },
): Promise<unknown> =>
  execute(
    db,
    `update hytale_logins set interval_seconds = coalesce(?, interval_seconds), failures = ?, reason = ?, next_at = ?,
       updated_at = now() where id = ? and status = ?`,
    [note.intervalSeconds ?? null, note.failures, note.reason, note.nextAt, id, note.status],
  );

/** Begins a poll: the next one is not before `nextAt`, also if this one is never noted. @returns whether the login is pending. */
export const beginPoll = async (db: Db, id: string, nextAt: Date): Promise<boolean> =>
  (await execute(
    db,
    `update hytale_logins set polls = polls + 1, next_at = ?, updated_at = now() where id = ? and status = 'pending'`,
    [nextAt, id],
  )) === 1;

/** Stores the tokens of an approved login until their owner is known. The device code is spent. */
export const storeApproved = (
  db: Db,
  encryption: Encryption,
  id: string,
  tokens: { accessToken: Secret; refreshToken: Secret | null; accessExpiresAt: Date; scope: string; nextAt: Date },
): Promise<unknown> =>
  execute(
    db,
    `update hytale_logins set status = 'approved', access_token = ?, refresh_token = coalesce(?, ''), access_expires_at = ?,
       scope = ?, device_code = '', failures = 0, reason = null, next_at = ?, updated_at = now()
      where id = ? and status = 'pending'`,
    [
      sealed(encryption, 'hytale_logins.access_token', tokens.accessToken),
      sealed(encryption, 'hytale_logins.refresh_token', tokens.refreshToken),
      tokens.accessExpiresAt,
      tokens.scope,
      tokens.nextAt,
      id,
    ],
  );

/** Ends a login that has not ended. Its tokens and its device code are deleted. @returns whether it was ended now. */
export const endLogin = async (
  trx: Db,
  id: string,
  end: { status: LoginStatus; error: string | null; reason: string | null; ownerId?: string | null },
): Promise<boolean> =>
  (await execute(
    trx,
    `update hytale_logins set status = ?, error = ?, reason = ?, owner_id = coalesce(?, owner_id), device_code = '',
       access_token = '', refresh_token = '', next_at = null, ended_at = now(), updated_at = now()
      where id = ? and status in ('requested', 'pending', 'approved')`,
    [end.status, end.error, end.reason, end.ownerId ?? null, id],
  )) === 1;

/** Logins that have not ended. */
export const openLogins = (db: Db, environment: HytaleEnvironment): Promise<RunningRow[]> =>
  query(
    db,
    `select id, null as "dueAt" from hytale_logins where environment = ? and status in ('requested', 'pending', 'approved')`,
    [environment],
  );

/** Deletes logins that ended longer ago. @returns number of rows. */
export async function purgeLogins(db: Db, days: number, batch: number): Promise<number> {
  const deleted = await query<{ id: string }>(
    db,
    `delete from hytale_logins where id in (
       select id from hytale_logins where ended_at < now() - make_interval(days => ?) order by ended_at limit ?)
     returning id`,
    [days, batch],
  );
  return deleted.length;
}
