/** The JSON shapes of a sync log, as administrators and as programs get it. */
import { z } from 'zod';
import { SYNC_STATUSES } from '../../../domain/sync/targets.ts';
import type { SyncTicket } from '../../../services/sync/request-sync.ts';
import type { SyncLog } from '../../../store/sync/log-store.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';
import { documentedAs } from '../../http/fields.ts';

const base = {
  id: z.string(),
  type: z.string().meta({ example: 'full' }),
  status: z.enum(SYNC_STATUSES),
  itemsTotal: Count,
  itemsSynced: Count,
  itemsFailed: Count,
  error: z.string().nullable(),
  startedAt: IsoDate,
  completedAt: IsoDate.nullable(),
  durationSeconds: z.int().nullable(),
};

export const SyncLogSchema = z
  .object({
    ...base,
    metadata: z.record(z.string(), z.unknown()).meta({
      description:
        'Progress (`step`, `progress`, `lastMessage`, `version`), options (`dry_run`), result (`counts`, `warnings`)',
    }),
  })
  .meta({ id: 'SyncLog', description: 'One sync: what was requested, its progress, how it ended' });

export const SyncLogTextSchema = z
  .object({ ...base, metadata: z.string().meta({ description: 'The same object as JSON text' }) })
  .meta({ id: 'SyncLogText', description: 'A sync log with its metadata as JSON text' });

const shared = (log: SyncLog) => ({
  id: log.id,
  type: log.type,
  status: log.status,
  itemsTotal: log.itemsTotal,
  itemsSynced: log.itemsSynced,
  itemsFailed: log.itemsFailed,
  error: log.error,
  startedAt: log.startedAt.toISOString(),
  completedAt: log.completedAt?.toISOString() ?? null,
  durationSeconds: log.durationSeconds,
});

/** A log with its metadata as an object. */
export const toApiLog = (log: SyncLog): z.input<typeof SyncLogSchema> => ({ ...shared(log), metadata: log.metadata });

/** A log with its metadata as JSON text. */
export const toTextLog = (log: SyncLog): z.input<typeof SyncLogTextSchema> => ({
  ...shared(log),
  metadata: JSON.stringify(log.metadata),
});

export const StartedSchema = z.object({
  sync_log_id: z.string(),
  task_id: z.string().meta({ description: 'Opaque' }),
  status: z.enum(SYNC_STATUSES),
});

/** What a request that started a sync is answered with. */
export const toStarted = (ticket: SyncTicket): z.input<typeof StartedSchema> => ({
  sync_log_id: ticket.syncLogId,
  task_id: ticket.taskId,
  status: ticket.status,
});

/** A type of logs in the query; absent and empty mean all types. */
export const TypeFilter = z
  .string()
  .max(50)
  .optional()
  .transform((text) => (text === undefined || text === '' ? undefined : text))
  .meta({ description: 'Only logs of this type', ...documentedAs({ type: 'string' }) });
