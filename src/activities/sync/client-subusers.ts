/** Activity that reads subusers by the client API, which identifies them by their address. */
import { activityInfo } from '@temporalio/activity';
import { isAppError } from '../../domain/errors.ts';
import { type MappedPage, mapClientSubusers } from '../../domain/panel/records.ts';
import type { Db } from '../../store/db/db.ts';
import { type StagedServersPlace, stagedServers, stagePage } from '../../store/sync/staging-store.ts';
import { withHeartbeat } from '../failures.ts';
import { panelFailure, type Stopped, throttled } from './panel-failures.ts';
import { type PanelOfRunDeps, panelOfRun } from './panel-of-run.ts';

export interface ClientSubuserActivityDeps extends PanelOfRunDeps {
  db: Db;
}

export interface StageClientSubusersInput {
  logId: string;
  /** Fingerprint of the panel that the run reads. */
  panel: string;
  /** Pass in which the servers were read. */
  pass: number;
  /** Where the batch begins; null: at the first server. */
  after: StagedServersPlace | null;
  /** Number of the batch within the run, from 1. */
  batch: number;
  /** Servers per batch. */
  size: number;
}

export interface StageClientSubusersResult {
  servers: number;
  /** Servers whose subusers could not be read in their present state. */
  skipped: number;
  /** Where the next batch begins; null after the last one. */
  next: StagedServersPlace | null;
  stopped: Stopped;
}

async function stage(
  deps: ClientSubuserActivityDeps,
  input: StageClientSubusersInput,
  signal: AbortSignal,
): Promise<StageClientSubusersResult> {
  const client = await panelOfRun(deps, input.panel);
  const { logId, pass, after, batch, size } = input;
  const { servers, next } = await stagedServers(deps.db, { logId, pass, after, limit: size });
  const mapped: MappedPage = { parts: [], rejected: [], rejectedWithoutId: [], missingIncludes: [] };
  let skipped = 0;
  for (const server of servers) {
    try {
      const answer = await client.clientList(`/servers/${encodeURIComponent(server.uuid)}/users`, {}, { signal });
      const one = mapClientSubusers(answer.items, server.panelId);
      mapped.parts.push(...one.parts);
      mapped.rejected.push(...one.rejected);
    } catch (error) {
      if (isAppError(error, 'PANEL_RATE_LIMITED'))
        return { servers: 0, skipped: 0, next: after, stopped: throttled(error) };
      // Suspended, installing, transferring or gone meanwhile: its subusers were not read, so none is deleted.
      if (!isAppError(error, 'PANEL_CONFLICT') && !isAppError(error, 'PANEL_NOT_FOUND'))
        throw panelFailure(error, activityInfo().attempt, batch);
      skipped += 1;
    }
  }
  const source = { kind: 'client' } as const;
  const page = { logId, source, pass: 1, page: batch, total: servers.length, perPage: size };
  const outcome = mapped.parts.length === 0 ? 'staged' : await stagePage(deps.db, { ...page, mapped });
  return {
    servers: servers.length,
    skipped,
    next,
    stopped: outcome === 'cancelled' ? { kind: 'cancelled' } : null,
  };
}

export function createClientSubuserActivities(deps: ClientSubuserActivityDeps) {
  return {
    /** Stages the subusers of one batch of servers. */
    stageClientSubusers: (input: StageClientSubusersInput) => withHeartbeat((signal) => stage(deps, input, signal)),
  };
}

export type ClientSubuserActivities = ReturnType<typeof createClientSubuserActivities>;
