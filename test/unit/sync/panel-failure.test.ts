/** Which failures of the panel are an outage, and which may be those of one page. */
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import { FINAL_ATTEMPT, isTooLarge, mayBeBroken, panelFailure } from '../../../src/activities/sync/panel-failures.ts';
import { lostAttempts } from '../../../src/activities/sync/read-pages.ts';
import { AppError } from '../../../src/domain/errors.ts';

const unavailable = (meta: Record<string, unknown>) =>
  new AppError('PANEL_UNAVAILABLE', { publicMessage: 'a sentence', meta });

describe('a failure of the panel', () => {
  test.each([
    ...[500, 501, 502, 504, 507, 520, 521, 522, 523, 524, 525, 530, 599].map((status) => ({ kind: 'http', status })),
    { kind: 'body', status: 520 },
    { kind: 'timeout' },
    { kind: 'too-large' },
  ])('%j may be that of one page: every 5xx but 503 (C-5)', (meta) => {
    expect(mayBeBroken(unavailable(meta))).toBe(true);
    expect(isTooLarge(unavailable(meta))).toBe(meta.kind === 'too-large');
  });

  test.each([
    { kind: 'http', status: 503 },
    { kind: 'http', status: 403 },
    { kind: 'body', status: 200 },
    { kind: 'network' },
  ])('%j is an outage', (meta) => {
    expect(mayBeBroken(unavailable(meta))).toBe(false);
  });

  test('of an outage is final after eight attempts, and no fallback follows', () => {
    const error = unavailable({ kind: 'http', status: 502 });
    expect(panelFailure(error, FINAL_ATTEMPT.outage - 1, 7)).toBe(error);
    const failure = panelFailure(error, FINAL_ATTEMPT.outage, 7);
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({ type: 'PANEL_UNAVAILABLE', nonRetryable: true, message: 'a sentence' });
    expect((failure as ApplicationFailure).details).toEqual([{ page: 7, fallback: false }]);
  });
});

test('attempts that were lost with their process are counted in a row; one that failed by itself ends the row', () => {
  expect(lostAttempts(undefined)).toBe(0);
  expect(lostAttempts({ running: true, lost: 0 })).toBe(1);
  expect(lostAttempts({ running: true, lost: 2 })).toBe(3);
  expect(lostAttempts({ running: false, lost: 0 })).toBe(0);
});
