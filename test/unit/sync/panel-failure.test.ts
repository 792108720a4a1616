/** Which failures of the panel end a source, and which lead to a fallback. */
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import { FINAL_ATTEMPT, panelFailure } from '../../../src/activities/sync/panel-reader.ts';
import { AppError } from '../../../src/domain/errors.ts';

const unavailable = (meta: Record<string, unknown>) =>
  new AppError('PANEL_UNAVAILABLE', { publicMessage: 'a sentence', meta });

/** Attempt at which a failure is final, and its details. */
function finalOf(meta: Record<string, unknown>): [attempt: number, failure: ApplicationFailure] {
  for (let attempt = 1; attempt <= FINAL_ATTEMPT.other; attempt += 1) {
    const failure = panelFailure(unavailable(meta), attempt, 7);
    if (failure instanceof ApplicationFailure) return [attempt, failure];
  }
  throw new Error('not final');
}

describe('a failure of the panel', () => {
  test.each([
    ...[500, 501, 502, 504, 507, 520, 521, 522, 523, 524, 525, 530, 599].map((status) => ({ kind: 'http', status })),
    { kind: 'body', status: 520 },
    { kind: 'timeout' },
  ])('%j leads to smaller pages and single nodes (C-5)', (meta) => {
    const [attempt, failure] = finalOf(meta);
    expect(attempt).toBe(FINAL_ATTEMPT.fallback);
    expect(failure).toMatchObject({ type: 'PANEL_UNAVAILABLE', nonRetryable: true, message: 'a sentence' });
    expect(failure.details).toEqual([{ page: 7, fallback: true }]);
  });

  test.each([
    { kind: 'http', status: 503 },
    { kind: 'http', status: 403 },
    { kind: 'body', status: 200 },
    { kind: 'network' },
  ])('%j is an outage: the panel gets more time', (meta) => {
    const [attempt, failure] = finalOf(meta);
    expect(attempt).toBe(FINAL_ATTEMPT.other);
    expect(failure.details).toEqual([{ page: 7, fallback: false }]);
  });
});
