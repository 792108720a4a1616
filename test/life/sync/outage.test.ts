/** Outages of the panel that last longer than a fallback takes: the sync waits for their end. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { expectedMirror, readMirror, sorted } from '../../support/mirror.ts';
import { startStack } from '../../support/stack.ts';

test.each([
  [502, 10_000],
  [500, 20_000],
] as const)('a panel that answers %i for %i ms is read without any fallback (F2)', async (status, ms) => {
  const stack = await startStack();
  try {
    const over = stack.sim.faults.add({ action: { kind: 'status', status } });
    const ended = stack.sync();
    await delay(ms);
    over();
    const log = await ended;
    expect(log.status).toBe('COMPLETED');
    expect(log.metadata['warnings']).toBeUndefined();
    expect(sorted(await readMirror(stack.database.db))).toEqual(sorted(expectedMirror(stack.sim.dump())));
    const well = stack.sim.requests.filter((r) => r.status === 200 && !r.query.includes('per_page=1&'));
    expect(new Set(well.map((r) => r.path.replace(/^.*application/, '')))).toEqual(
      new Set(['/locations', '/nests', '/users', '/servers']),
    );
  } finally {
    await stack.stop();
  }
});
