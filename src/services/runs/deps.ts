/** What the services of runs work with. */
import type { Logger } from 'pino';
import type { RunKind } from '../../domain/runs.ts';
import { readUuid } from '../../domain/uuid.ts';
import type { Db } from '../../store/db/db.ts';
import type { EmailStore } from '../../store/email/email-store.ts';
import type { EngineRuns } from '../../temporal/engine-runs.ts';
import type { SyncLauncher } from '../sync/launcher.ts';
import type { TemporalUi } from './ui-link.ts';

export interface RunDeps {
  db: Db;
  emails: EmailStore;
  launcher: Pick<SyncLauncher, 'requestSync'>;
  engine: EngineRuns;
  ui: TemporalUi;
  log: Logger;
}

/** Whether a run of this kind can have the id. Logs of syncs have any text that PostgreSQL takes, all others a UUID. */
export const isRunId = (kind: RunKind, id: string): boolean =>
  kind === 'sync' ? id !== '' && !id.includes('\0') : readUuid(id) !== undefined;
