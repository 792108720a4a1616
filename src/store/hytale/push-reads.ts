/** Reads what is pushed to the server of a game session: its pair, and the variables that the egg of the server has. */
import type { HytaleEnvironment } from '../../domain/hytale/environment.ts';
import type { PushStatus, SessionStatus } from '../../domain/hytale/lifecycle.ts';
import type { Db } from '../db/db.ts';
import { query } from '../db/query.ts';

/** A startup variable of an egg, as the last sync saw it. */
export interface EggVariable {
  name: string;
  /** Whether users may see and edit it; else only an administrator sets it. */
  open: boolean;
  /** Laravel's rules in one text. */
  rules: string;
}

/** A game session with its server. */
export interface SessionToPush {
  id: string;
  status: SessionStatus;
  version: number;
  wantedVersion: number;
  /** As they are stored. */
  sessionToken: string;
  identityToken: string;
  expiresAt: Date;
  pushStatus: PushStatus;
  pushedVersion: number | null;
  pushFailures: number;
  restartWanted: boolean;
  /** Null: it is linked to none. */
  serverId: string | null;
  /** Null: the mirror knows no such server of the panel. */
  server: { uuid: string; panelId: number; eggId: number | null } | null;
  /** The variables of these names that the egg of the server has. */
  variables: EggVariable[];
}

/** A session of this environment; undefined when there is none. @param names of variables that are looked for. */
export async function findSessionToPush(
  db: Db,
  sessionId: string,
  environment: HytaleEnvironment,
  names: readonly string[],
): Promise<SessionToPush | undefined> {
  const [row] = await query<
    Omit<SessionToPush, 'server' | 'variables'> & {
      uuid: string | null;
      panelId: number | null;
      eggId: number | null;
      variables: EggVariable[] | null;
    }
  >(
    db,
    `select g.id, coalesce(g.status, 'active') as status, g.version, g.wanted_version as "wantedVersion", g.session_token as "sessionToken",
            g.identity_token as "identityToken", g.expires_at as "expiresAt", g.push_status as "pushStatus",
            g.pushed_version as "pushedVersion", g.push_failures as "pushFailures", g.restart_wanted as "restartWanted",
            g.server_id as "serverId", s.uuid, s."pterodactylId" as "panelId", s."eggId",
            (select json_agg(json_build_object('name', v.env_variable, 'rules', coalesce(v.rules, ''),
                      'open', coalesce(v.user_viewable, true) and coalesce(v.user_editable, true)) order by v.id)
               from egg_variables v where v.egg_id = s."eggId" and v.env_variable = any(?::text[])) as variables
       from hytale_game_sessions g left join servers s on s.id = g.server_id
      where g.id = ?::uuid and coalesce(g.environment, ?) = ?`,
    [names, sessionId, environment, environment],
  );
  if (row === undefined) return undefined;
  const { uuid, panelId, eggId, variables, ...session } = row;
  const known = uuid !== null && uuid !== '' && panelId !== null;
  return { ...session, server: known ? { uuid, panelId, eggId } : null, variables: variables ?? [] };
}
