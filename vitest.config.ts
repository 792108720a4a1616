import { defineConfig } from 'vitest/config';
import { Order } from './test/order.ts';

const project = (name: string, options: Record<string, unknown> = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    pool: 'forks' as const,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // How long a busy machine takes is no matter of the tests. What is awaited ends a poll at once.
    expect: { poll: { timeout: 10_000 } },
    ...options,
  },
});

export default defineConfig({
  test: {
    // Three workers on two cores: many tests wait more than they compute. PostgreSQL, Temporal and the simulators share
    // the machine with them.
    maxWorkers: 3,
    sequence: { sequencer: Order },
    projects: [
      // Its files share the modules of their worker: loading them took as long as the tests.
      project('unit', { isolate: false }),
      project('store', { testTimeout: 60_000 }),
      project('workflow', { testTimeout: 60_000 }),
      project('replay', { testTimeout: 60_000 }),
      project('api', { testTimeout: 60_000 }),
      project('e2e', { testTimeout: 180_000, hookTimeout: 120_000, provide: { crashPlans: 10 } }),
      project('life', {
        testTimeout: 1_200_000,
        hookTimeout: 180_000,
        fileParallelism: false,
        provide: { crashPlans: 100 },
      }),
      // A real Temporal cluster. Its programs are built first, which takes minutes.
      project('cluster', { testTimeout: 300_000, hookTimeout: 3_600_000, fileParallelism: false }),
    ],
  },
});
