import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mayPrune, PRUNE_GUARD_MIN_ROWS } from '../../../src/domain/sync/prune-guard.ts';

describe('the prune guard', () => {
  test('refuses an empty listing always, and more than half of more than 20 rows unless allowed', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 200 }),
        fc.nat({ max: 200 }),
        fc.boolean(),
        fc.boolean(),
        (a, b, emptyListing, allowMass) => {
          const [gone, present] = [Math.min(a, b), Math.max(a, b)];
          const allowed = mayPrune(gone, present, { emptyListing, allowMass });
          if (gone === 0) expect(allowed).toBe(true);
          else if (emptyListing) expect(allowed).toBe(false);
          else expect(allowed).toBe(allowMass || present <= PRUNE_GUARD_MIN_ROWS || gone * 2 <= present);
        },
      ),
    );
  });
});
