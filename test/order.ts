/** The order of the test files: what mostly waits runs beside what mostly computes, and the long ones first. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Projects whose files mostly wait: for processes, for timers, for pauses between attempts. */
const WAITING = new Set(['e2e', 'workflow']);

export class Order extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // Of each project the longest first, or the largest where no run has measured them.
    const sorted = await super.sort(files);
    const isWaiting = (file: TestSpecification) => WAITING.has(file.project.name);
    return spread(
      sorted.filter(isWaiting),
      sorted.filter((file) => !isWaiting(file)),
    );
  }
}

/** Both lists in their order, the shorter one spread evenly over the longer one. */
function spread<T>(a: readonly T[], b: readonly T[]): T[] {
  const placed = [a, b].flatMap((list) => list.map((value, i) => ({ value, at: i / list.length })));
  return placed.sort((x, y) => x.at - y.at).map(({ value }) => value);
}
