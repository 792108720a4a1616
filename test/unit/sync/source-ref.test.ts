/** Names of sources: built and read in one place. */
import { describe, expect, test } from 'vitest';
import {
  CONFIRMATIONS,
  clientSource,
  nestSource,
  nodeSource,
  parseSource,
  primaryEntity,
} from '../../../src/domain/sync/source-ref.ts';
import { LISTINGS } from '../../../src/domain/sync/targets.ts';

describe('source names', () => {
  test('what is built is read again', () => {
    expect(LISTINGS.map(parseSource)).toEqual(LISTINGS.map((listing) => ({ kind: 'listing', listing })));
    expect(parseSource(nodeSource(7))).toEqual({ kind: 'node', id: 7 });
    expect(parseSource(nestSource(3))).toEqual({ kind: 'nest', id: 3 });
    expect(parseSource(clientSource(12))).toEqual({ kind: 'client', batch: 12 });
  });

  test.each([CONFIRMATIONS, '', 'node:', 'node:x', 'node:7x', 'nodes:7', 'egg:1', 'constructor'])(
    '%o names no source that is read',
    (name) => {
      expect(parseSource(name)).toBeUndefined();
      expect(primaryEntity(name)).toBeUndefined();
    },
  );

  test('each has one entity of its own', () => {
    expect(['servers', nodeSource(1), nestSource(1), clientSource(1)].map(primaryEntity)).toEqual([
      'servers',
      'allocations',
      'eggs',
      'subusers',
    ]);
  });
});
