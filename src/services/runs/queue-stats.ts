/** The figures of the task queues, read at most once a second. */
import type { AllQueueFigures } from '../../temporal/task-queues.ts';

/** Milliseconds for which the figures are given again. */
const KEEP_MS = 1_000;

export interface QueueStats {
  /** The figures, at most a second old; concurrent callers share one read. */
  read(): Promise<AllQueueFigures>;
}

/** Makes the figures of one process. `read` limits its own duration, and gives null for what it cannot read. */
export function createQueueStats(read: () => Promise<AllQueueFigures>): QueueStats {
  let kept: { until: number; figures: AllQueueFigures } | undefined;
  let running: Promise<AllQueueFigures> | undefined;
  return {
    async read() {
      if (kept !== undefined && kept.until > performance.now()) return kept.figures;
      running ??= read()
        .then((figures) => {
          kept = { until: performance.now() + KEEP_MS, figures };
          return figures;
        })
        .finally(() => {
          running = undefined;
        });
      return running;
    },
  };
}
