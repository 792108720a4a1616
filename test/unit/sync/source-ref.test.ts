/** What a run reads, in words and as columns. */
import { describe, expect, test } from 'vitest';
import { primaryEntity, type SourceRef, sourceColumns, sourceName } from '../../../src/domain/sync/source-ref.ts';

describe('a source', () => {
  test.each([
    [{ kind: 'listing', listing: 'servers' }, 'servers', { source: 'servers', sourceId: null }, 'servers'],
    [{ kind: 'node', id: 7 }, 'node 7', { source: 'node', sourceId: 7 }, 'allocations'],
    [{ kind: 'nest', id: 3 }, 'nest 3', { source: 'nest', sourceId: 3 }, 'eggs'],
    [{ kind: 'client' }, 'client', { source: 'client', sourceId: null }, 'subusers'],
  ] satisfies [SourceRef, string, object, string][])('%o is "%s"', (ref, name, columns, entity) => {
    expect(sourceName(ref)).toBe(name);
    expect(sourceColumns(ref)).toEqual(columns);
    expect(primaryEntity(ref)).toBe(entity);
  });
});
