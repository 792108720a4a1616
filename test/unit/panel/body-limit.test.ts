/** The size limit of one answer against the heaps with which workers are started. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { bodyLimit } from '../../../src/clients/panel/client.ts';
import { WORKER_NODE_FLAGS } from '../../../src/embedded/process-group.ts';

const MIB = 2 ** 20;
/** An answer of this many bytes ended a worker with a heap of 160 MB; one of 31.9 MB did not. */
const DEADLY = 35.9e6;

const flagsIn = (file: string) =>
  [...readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8').matchAll(/--max-[a-z-]+=\d+/g)].map(
    ([f]) => f,
  );

test.each([
  ['npm start', [...WORKER_NODE_FLAGS]],
  ['npm run start:worker', flagsIn('package.json')],
  ['docker compose', flagsIn('docker-compose.yml').slice(-2)],
])('an answer is refused before it can end the worker of %s (1.4)', (_, flags) => {
  expect(flags).toHaveLength(2);
  const code = `console.log(require('node:v8').getHeapStatistics().heap_size_limit)`;
  const heap = Number(spawnSync(process.execPath, [...flags, '-e', code], { encoding: 'utf8' }).stdout);
  const oldSpace = Number(/old-space-size=(\d+)/.exec(flags.join(' '))?.[1]);
  expect(bodyLimit(heap)).toBeLessThan((DEADLY / 160) * oldSpace * 0.8);
  // 100,000 included allocations still fit.
  expect(bodyLimit(heap)).toBeGreaterThan(20 * MIB);
});

test('no answer is larger than 64 MiB, whatever the heap', () => {
  expect(bodyLimit(8_192 * MIB)).toBe(64 * MIB);
});
