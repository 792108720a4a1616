/**
 * Writes what became of the push of a session's pair. Each write is for the version and the server that were read: a session
 * with a newer pair, or with another server, keeps what it says.
 */
import type { PushStatus } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { execute } from '../db/query.ts';

/** The pair that was read, and the server that it is for. */
export interface PushedPair {
  id: string;
  version: number;
  serverId: string | null;
}

const SAME = `id = ?::uuid and version = ? and server_id is not distinct from ?::text`;
const same = ({ id, version, serverId }: PushedPair) => [id, version, serverId];

/** The pair is in these variables of its server. @param reason what is missing nevertheless. @returns false: the session has moved on. */
export async function notePushed(
  db: Db,
  pair: PushedPair,
  { variables, reason, at }: { variables: readonly string[]; reason: string | null; at: Date },
): Promise<boolean> {
  const changed = await execute(
    db,
    `update hytale_game_sessions
        set push_status = 'pushed', push_reason = ?, push_failures = 0, pushed_version = version, pushed_variables = ?::text[],
            pushed_at = ?::timestamptz
      where ${SAME}`,
    [reason, variables, at, ...same(pair)],
  );
  return changed > 0;
}

/** The pair is not, or not yet, at its server. @returns false: the session has moved on. */
export async function noteNotPushed(
  db: Db,
  pair: PushedPair,
  { status, reason, failures }: { status: PushStatus; reason: string | null; failures: number },
): Promise<boolean> {
  const changed = await execute(
    db,
    `update hytale_game_sessions set push_status = ?, push_reason = ?, push_failures = ? where ${SAME}`,
    [status, reason, failures, ...same(pair)],
  );
  return changed > 0;
}

/** It is not known which pair the server has: an older one was sent while the session got a newer one. The newer one is pushed again. */
export async function forgetPushed(db: Db, sessionId: string): Promise<void> {
  await execute(
    db,
    `update hytale_game_sessions set pushed_version = null, push_status = 'pending'
      where id = ?::uuid and server_id is not null`,
    [sessionId],
  );
}

/**
 * The server is restarted, or will not be. A later wish, which asks for a newer pair, stays.
 * @param reason what is missing nevertheless.
 */
export async function endRestartWish(
  db: Db,
  { id, version, serverId, wantedVersion }: PushedPair & { wantedVersion: number },
  reason: string | null,
): Promise<void> {
  await execute(
    db,
    `update hytale_game_sessions
        set restart_wanted = false, push_failures = case when version = ? then 0 else push_failures end,
            push_reason = case when version = ? then ? else push_reason end
      where id = ?::uuid and server_id is not distinct from ?::text and wanted_version = ?`,
    [version, version, reason, id, serverId, wantedVersion],
  );
}
