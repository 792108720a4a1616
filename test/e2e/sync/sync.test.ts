import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectedMirror, readMirror, rowVersions, sorted } from '../../support/mirror.ts';
import { type Stack, startStack } from '../../support/stack.ts';

describe('a full sync', () => {
  let stack: Stack;
  beforeAll(async () => {
    stack = await startStack();
  });
  afterAll(() => stack?.stop());

  test('makes the database equal to the panel in every owned column', async () => {
    const log = await stack.sync();
    expect(log.error).toBeNull();
    expect(log.status).toBe('COMPLETED');
    expect(sorted(await readMirror(stack.database.db))).toEqual(sorted(expectedMirror(stack.sim.dump())));
    expect(log.metadata['counts']).toMatchObject({
      servers: { created: 240, updated: 0, unchanged: 0, pruned: 0, failed: 0 },
    });
  });

  test('writes and locks no row of the mirror when nothing changed', async () => {
    const before = await rowVersions(stack.database.db);
    const log = await stack.sync();
    expect(log.status).toBe('COMPLETED');
    expect(await rowVersions(stack.database.db)).toEqual(before);
    expect(log.metadata['counts']).toMatchObject({
      allocations: { created: 0, updated: 0, unchanged: 400, pruned: 0, failed: 0 },
    });
  });
});
