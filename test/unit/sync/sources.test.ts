/** The state of a source: which pages are requested next, and what a verdict leads to. */
import { describe, expect, test } from 'vitest';
import { listingRef } from '../../../src/domain/sync/source-ref.ts';
import type { SyncWarning } from '../../../src/domain/sync/targets.ts';
import type { StagedPageInfo } from '../../../src/store/sync/staging-store.ts';
import { fallBack, shrink } from '../../../src/workflows/panel-sync/fallbacks.ts';
import { newRunState, packState, unpackState } from '../../../src/workflows/panel-sync/run-state.ts';
import {
  addStaged,
  judge,
  newSource,
  type Piece,
  type SourceState,
  takePieces,
  type Verdict,
} from '../../../src/workflows/panel-sync/sources.ts';

const result = (...pages: Partial<StagedPageInfo>[]) => ({
  pages: pages.map((p) => ({
    page: 1,
    rows: 100,
    total: 1_000,
    perPage: 100,
    rejected: 0,
    unprintable: 0,
    missingIncludes: [],
    ...p,
  })),
  answers: [],
  retried: false,
  stopped: null,
  absent: null,
  warnings: [],
});
const sizes = (pieces: readonly Piece[]) => pieces.map(({ page, size }) => `${page}/${size}`);
/** A source of 1,000 records whose first page is read. */
function begun(name: 'servers' | 'users' = 'servers', now = 1_000): SourceState {
  const source = newSource(listingRef(name), '');
  addStaged(source, takePieces(source, 5, now), result({}), now);
  return source;
}
const verdict = (reason: Verdict['reason']): Verdict => ({
  complete: reason === 'complete',
  reason,
  missingPages: [],
  total: 1_000,
  distinct: 999,
  unreadable: 0,
  candidates: [],
});

describe('pages', () => {
  test('follow the first one; after a pause it is read again with them (1.10)', () => {
    expect(sizes(takePieces(begun(), 3, 2_000))).toEqual(['2/100', '3/100', '4/100']);
    expect(sizes(takePieces(begun(), 3, 60_000))).toEqual(['1/100']);
  });

  test('that fail are read in parts, down to single records (1.15)', () => {
    const source = begun();
    let [piece] = takePieces(source, 1, 2_000);
    const seen: string[][] = [];
    while (piece !== undefined && piece.size > 1) {
      expect(fallBack(source, piece, [])).toBe(true);
      seen.push(sizes(source.again.filter((p) => p.size < (piece?.size ?? 0))));
      [piece] = source.again.splice(0, 1);
    }
    expect(seen).toEqual([
      ['3/50', '4/50'],
      ['5/25', '6/25'],
      ['21/5', '22/5', '23/5', '24/5', '25/5'],
      ['101/1', '102/1', '103/1', '104/1', '105/1'],
    ]);
    expect(fallBack(source, piece ?? { page: 1, size: 1, part: true, mayBeStaged: false }, [])).toBe(false);
  });

  test('are small from the start once three whole ones have failed, and that way is remembered', () => {
    const source = begun('users');
    for (const page of [2, 3, 4]) fallBack(source, { page, size: 100, part: false, mayBeStaged: false }, []);
    source.again = [];
    source.nextPage = 10;
    expect(sizes(shrink(source, takePieces(source, 5, 2_000)))).toEqual(['37/25', '38/25', '39/25', '40/25']);
    expect(source.way).toBe('pages-of-25');
  });

  test('of a node that has several are requested in one (1.7)', () => {
    const node = newSource({ kind: 'node', id: 7 }, '');
    addStaged(node, takePieces(node, 5, 0), result({ total: 250 }), 0);
    expect(node).toMatchObject({ pass: 2, perPage: 300, items: 0 });
    expect(sizes(takePieces(node, 5, 0))).toEqual(['1/300']);
    // A panel that caps the page is read in pages after all.
    addStaged(node, [{ page: 1, size: 300, part: false, mayBeStaged: false }], result({ total: 250, perPage: 100 }), 0);
    expect(node).toMatchObject({ pass: 2, pagesTotal: 3 });
    expect(sizes(takePieces(node, 5, 0))).toEqual(['2/100', '3/100']);
  });
});

describe('a listing', () => {
  test('that lacks records is read again, at most twice', () => {
    const source = begun();
    const warnings: SyncWarning[] = [];
    for (const pass of [2, 3]) {
      judge(source, verdict('lacking'), warnings);
      expect(source).toMatchObject({ pass, state: 'reading' });
    }
    judge(source, verdict('lacking'), warnings);
    expect(source).toMatchObject({ pass: 3, state: 'incomplete' });
    expect(warnings.map((w) => w.code)).toEqual(['SOURCE_MOVED']);
  });

  test('that moved, but lacks nothing, is not read again (1.10)', () => {
    const source = begun();
    const warnings: SyncWarning[] = [];
    judge(source, verdict('moved'), warnings);
    expect(source).toMatchObject({ pass: 1, state: 'incomplete' });
    expect(warnings.map((w) => w.code)).toEqual(['SOURCE_MOVED']);
  });
});

test('the state of a run is plain data: a new run goes on with the same', () => {
  const state = { ...newRunState(), sources: [begun(), newSource({ kind: 'node', id: 3 }, '')] };
  const packed = packState(state);
  expect(unpackState(JSON.parse(JSON.stringify(packed)))).toEqual(state);
  expect(Object.keys(packed.sources[1] ?? {})).toEqual(['source', 'include']);
});
