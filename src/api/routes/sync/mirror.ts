/** The age of the mirror and its renewal, as the API shows them. */
import { z } from 'zod';
import { AUTO_SYNC_MODES } from '../../../domain/settings.ts';
import type { MirrorStatus } from '../../../services/sync/live-mirror.ts';
import { Count, IsoDate } from '../../http/envelopes.ts';

export const MirrorSchema = z
  .object({
    mode: z.enum(AUTO_SYNC_MODES),
    ageSeconds: Count.nullable().meta({
      description: 'Since the newest completed full sync began: what changed on the panel before it is mirrored',
    }),
    nextRunAt: IsoDate.nullable().meta({ description: 'When the next automatic sync is due; null: they are off' }),
    requests: Count.nullable().meta({ description: 'Panel requests of the newest full sync' }),
    budgetShare: z.int().meta({ description: "Percent of the panel's limit that mode `auto` spends at most" }),
    shareUsed: z.number().nullable().meta({
      description:
        "Percent of the panel's limit that automatic syncs take at their present pace; null: off, or not known",
    }),
  })
  .meta({ id: 'Mirror', description: 'How old the mirror is, and when it is renewed' });

export const toMirror = ({ enabled: _, nextRunAt, ...mirror }: MirrorStatus): z.input<typeof MirrorSchema> => ({
  ...mirror,
  nextRunAt: nextRunAt?.toISOString() ?? null,
});
