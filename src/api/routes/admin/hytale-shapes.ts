/** How the administration shows Hytale accounts, sessions and logins. No token and no device code. */
import { z } from 'zod';
import { ACCOUNT_STATES, accountState } from '../../../domain/hytale/account-state.ts';
import {
  ACCOUNT_STATUSES,
  LOGIN_STATUSES,
  PUSH_STATUSES,
  REFRESH_TOKEN_LIFE_MS,
  SESSION_STATUSES,
} from '../../../domain/hytale/lifecycle.ts';
import { shownReason } from '../../../domain/runs.ts';
import type { LoginView } from '../../../services/hytale/hytale.ts';
import type { AccountRow } from '../../../store/hytale/account-list.ts';
import type { SessionRow } from '../../../store/hytale/session-list.ts';
import { hytaleAccountId, hytaleLoginId, hytaleSessionId } from '../../../workflows/contract.ts';
import type { Services } from '../../context.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { isoOrNull } from '../../http/lists.ts';

const Link = z.string().nullable().meta({ description: 'Page of its workflow in the Temporal UI' });
const NextAt = IsoDate.nullable().meta({
  description: 'When its next step comes by itself; null: it waits for somebody',
});
const Reason = z.string().nullable().meta({ description: 'Why it is in this status, or what it waits for' });

export const HytaleAccountSchema = z
  .object({
    id: z.string().meta({ description: 'UUID of the Hytale account' }),
    environment: z.string(),
    status: z.enum(ACCOUNT_STATUSES),
    state: z
      .enum(ACCOUNT_STATES)
      .meta({ description: 'The status and, for an active account, what is known of its profiles' }),
    reason: Reason,
    profiles: z.array(z.object({ uuid: z.string(), username: z.string() })),
    profileUuid: z.string().nullable().meta({ description: 'The selected profile' }),
    profileName: z.string().nullable(),
    version: z.int().meta({ description: 'One more with each new pair of tokens' }),
    failures: Count.meta({ description: 'Attempts to renew the tokens that failed in a row' }),
    nextAt: NextAt,
    accessExpiresAt: IsoDate,
    refreshExpiresAt: IsoDate.meta({
      description: 'When a person must sign in again if the tokens are not renewed before',
    }),
    sessions: Count,
    activeSessions: Count,
    createdAt: IsoDate,
    updatedAt: IsoDate,
    link: Link,
  })
  .meta({ id: 'HytaleAccount' });

export const HytaleSessionSchema = z
  .object({
    id: z.string(),
    environment: z.string(),
    accountId: z.string(),
    profileUuid: z.string(),
    profileName: z.string().nullable(),
    server: z
      .object({ id: z.string(), name: z.string().nullable() })
      .nullable()
      .meta({ description: 'null: of no server' }),
    status: z.string().meta({ description: SESSION_STATUSES.join(', ') }),
    reason: Reason,
    version: z.int().meta({ description: 'One more with each new pair of tokens; 0: none yet' }),
    wantedVersion: z.int().meta({ description: 'Above `version`: a fresh pair is wanted' }),
    failures: Count,
    recreations: Count.meta({ description: 'How often it could not be renewed and was replaced' }),
    nextAt: NextAt,
    expiresAt: IsoDate.nullable(),
    refreshedAt: IsoDate.nullable(),
    linkedAt: IsoDate.nullable(),
    push: z.object({
      status: z.string().meta({ description: PUSH_STATUSES.join(', ') }),
      reason: z.string().nullable(),
      version: z.int().nullable().meta({ description: 'Version of the pair that the server has' }),
      variables: z.array(z.string()).meta({ description: 'Startup variables that were written' }),
      at: IsoDate.nullable(),
      failures: Count,
      restartWanted: z.boolean(),
    }),
    createdAt: IsoDate,
    updatedAt: IsoDate,
    link: Link,
  })
  .meta({ id: 'HytaleSession' });

export const HytaleLoginSchema = z
  .object({
    id: z.string(),
    status: z.enum(LOGIN_STATUSES),
    reason: Reason,
    accountId: z.string().nullable().meta({ description: 'The account that approved it' }),
    userCode: z.string(),
    verificationUri: z.string(),
    verificationUriComplete: z.string().nullable(),
    intervalSeconds: z.int(),
    expiresAt: IsoDate.nullable(),
    link: Link,
  })
  .meta({ id: 'HytaleLogin', description: 'A sign-in that a person approves at Hytale' });

const linkOf = ({ runs }: Pick<Services, 'runs'>, workflowId: string): string | null =>
  runs.linkOf({ workflowId, runId: null });

export function toWireAccount(row: AccountRow, deps: Services): z.input<typeof HytaleAccountSchema> {
  const profiles = row.profiles ?? [];
  return {
    id: row.id,
    environment: row.environment ?? deps.config.hytale.environment,
    status: row.status,
    state: accountState(row),
    reason: shownReason(row.reason),
    profiles,
    profileUuid: row.profileUuid,
    profileName: profiles.find(({ uuid }) => uuid === row.profileUuid)?.username ?? null,
    version: row.version,
    failures: row.failures,
    nextAt: isoOrNull(row.nextAt),
    accessExpiresAt: row.accessExpiresAt.toISOString(),
    refreshExpiresAt: new Date(row.obtainedAt.getTime() + REFRESH_TOKEN_LIFE_MS).toISOString(),
    sessions: row.sessions,
    activeSessions: row.activeSessions,
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    link: linkOf(deps, hytaleAccountId(row.id)),
  };
}

export function toWireSession(row: SessionRow, deps: Services): z.input<typeof HytaleSessionSchema> {
  return {
    id: row.id,
    environment: row.environment ?? deps.config.hytale.environment,
    accountId: row.accountId,
    profileUuid: row.profileUuid,
    profileName: row.profileName,
    server: row.serverId === null ? null : { id: row.serverId, name: row.serverName },
    status: row.status,
    reason: shownReason(row.reason),
    version: row.version,
    wantedVersion: row.wantedVersion,
    failures: row.failures,
    recreations: row.recreations,
    nextAt: isoOrNull(row.nextAt),
    expiresAt: isoOrNull(row.expiresAt),
    refreshedAt: isoOrNull(row.refreshedAt),
    linkedAt: isoOrNull(row.linkedAt),
    push: {
      status: row.pushStatus,
      reason: shownReason(row.pushReason),
      version: row.pushedVersion,
      variables: row.pushedVariables ?? [],
      at: isoOrNull(row.pushedAt),
      failures: row.pushFailures,
      restartWanted: row.restartWanted,
    },
    createdAt: row.createdAt.toISOString(),
    updatedAt: row.updatedAt.toISOString(),
    link: linkOf(deps, hytaleSessionId(row.id)),
  };
}

export const toWireLogin = (
  id: string,
  view: Omit<LoginView, 'loginId'>,
  deps: Services,
): z.input<typeof HytaleLoginSchema> => ({
  id,
  status: view.status,
  reason: shownReason(view.reason),
  accountId: view.accountId,
  userCode: view.userCode,
  verificationUri: view.verificationUri,
  verificationUriComplete: view.verificationUriComplete,
  intervalSeconds: view.intervalSeconds,
  expiresAt: isoOrNull(view.expiresAt),
  link: linkOf(deps, hytaleLoginId(id)),
});
