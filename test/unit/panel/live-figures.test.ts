import { describe, expect, test } from 'vitest';
import { AppError, type ErrorCode } from '../../../src/domain/errors.ts';
import { readLiveFigures } from '../../../src/domain/panel/live-figures.ts';
import { pauseAfter } from '../../../src/services/inventory/usage-failures.ts';
import { panelExamples } from '../../support/panel.ts';

const UNKNOWN = { state: null, memoryMb: null, diskMb: null, cpuPercent: null };

describe('what a node says of a server', () => {
  test('is read from the recorded answer of a panel', () => {
    const recorded = panelExamples().find(({ name }) => name === 'client-server-resources');
    const body = recorded?.body as { attributes: Record<string, unknown> } | undefined;
    expect(readLiveFigures(body?.attributes ?? {})).toEqual({
      state: 'running',
      memoryMb: 56,
      diskMb: 56,
      cpuPercent: 132.7,
    });
  });

  test('counts MB like the limits, and keeps two digits of a per cent', () => {
    const resources = { memory_bytes: 1024 * 1024 * 1.5, disk_bytes: 0, cpu_absolute: 0.126 };
    expect(readLiveFigures({ current_state: 'offline', resources })).toEqual({
      state: 'offline',
      memoryMb: 2,
      diskMb: 0,
      cpuPercent: 0.13,
    });
  });

  test.each([
    ['words', 'many'],
    ['digits as text', '5'],
    ['negative numbers', -1],
    ['more than there can be', 1e99],
    ['Infinity', Number.POSITIVE_INFINITY],
    ['no number', Number.NaN],
    ['null', null],
    ['nothing', undefined],
    ['objects', {}],
    ['lists', [1]],
    ['booleans', true],
  ])('is unknown where it is nonsense: %s', (_, value) => {
    const resources = { memory_bytes: value, disk_bytes: value, cpu_absolute: value };
    expect(readLiveFigures({ current_state: value, resources })).toEqual(UNKNOWN);
    expect(readLiveFigures({ current_state: 'RUNNING', resources: value })).toEqual(UNKNOWN);
  });

  test('is stored without overflow at its largest', () => {
    const resources = { memory_bytes: Number.MAX_SAFE_INTEGER, disk_bytes: 2 ** 51, cpu_absolute: 100_000.1 };
    expect(readLiveFigures({ resources })).toEqual(UNKNOWN);
    expect(readLiveFigures({ resources: { memory_bytes: 2_147_483_647 * 1024 * 1024 } }).memoryMb).toBe(2_147_483_647);
  });
});

describe('after a failed read', () => {
  const paused = (code: ErrorCode, meta: Record<string, unknown> = {}, retryAfterMs?: number) =>
    pauseAfter(new AppError(code, { meta, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) }));

  test.each([
    ['429 pauses everything for as long as it says', paused('PANEL_RATE_LIMITED', {}, 7000), 'panel', 7000],
    ['429 that says nothing pauses for a window', paused('PANEL_RATE_LIMITED'), 'panel', 60_000],
    ['a refused key pauses everything', paused('PANEL_AUTH'), 'panel', 300_000],
    ['a refused address pauses everything', paused('ADDRESS_REFUSED'), 'panel', 300_000],
    [
      'a page in between pauses everything',
      paused('PANEL_UNAVAILABLE', { kind: 'http', status: 502 }),
      'panel',
      30_000,
    ],
    [
      'a panel that is not reached pauses everything',
      paused('PANEL_UNAVAILABLE', { kind: 'network' }),
      'panel',
      30_000,
    ],
    ['503 pauses everything for as long as it says', paused('PANEL_UNAVAILABLE', { status: 503 }, 9000), 'panel', 9000],
    [
      'a daemon that does not answer pauses its node',
      paused('PANEL_UNAVAILABLE', { kind: 'http', status: 504, panelCode: 'DaemonConnectionException' }),
      'node',
      60_000,
    ],
    ['an answer that does not come pauses the node', paused('PANEL_UNAVAILABLE', { kind: 'timeout' }), 'node', 60_000],
    [
      'a bug of the panel pauses the server',
      paused('PANEL_UNAVAILABLE', { kind: 'http', status: 500, panelCode: 'ErrorException' }),
      'server',
      300_000,
    ],
    ['an unknown server is paused', paused('PANEL_NOT_FOUND'), 'server', 300_000],
    ['a busy server is paused for a minute', paused('PANEL_CONFLICT'), 'server', 60_000],
    ['an answer that is not understood pauses the server', paused('PANEL_CONTRACT'), 'server', 300_000],
    ['an error of our own pauses the server', pauseAfter(new TypeError('bug')), 'server', 300_000],
  ])('%s', (_, pause, scope, ms) => {
    expect(pause).toEqual({ scope, ms });
  });
});
