import { expect, test } from 'vitest';
import { readStatus } from '../../../src/domain/sync/targets.ts';

test('statuses of the existing service are read; anything else counts as failed', () => {
  const spellings = [
    'pending',
    'RUNNING',
    'in_progress',
    'cancelling',
    'success',
    'Completed',
    'canceled',
    'CANCELLED',
    'odd',
    null,
  ];
  expect(spellings.map(readStatus)).toEqual([
    'PENDING',
    'RUNNING',
    'RUNNING',
    'RUNNING',
    'COMPLETED',
    'COMPLETED',
    'CANCELLED',
    'CANCELLED',
    'FAILED',
    'FAILED',
  ]);
});
