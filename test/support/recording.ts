/** Writes histories of workflows for test/replay. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';

const FOLDER = new URL('../replay/histories/', import.meta.url);

/** Removes what belongs to the machine it was recorded on; a replay needs none of it. */
function cleaned(value: unknown): unknown {
  if (typeof value === 'string') return value.replaceAll(hostname(), 'host');
  if (Array.isArray(value)) return value.map(cleaned);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) => {
      if (key === 'stackTrace') return [];
      return [[key, key === 'identity' ? 'worker' : cleaned(inner)]];
    }),
  );
}

/** Writes one history under its name, over the one before. */
export function writeHistory(name: string, history: Parameters<typeof historyToJSON>[0]): void {
  mkdirSync(FOLDER, { recursive: true });
  const text = JSON.stringify(cleaned(JSON.parse(historyToJSON(history))), null, 1);
  writeFileSync(new URL(`${name}.json`, FOLDER), `${text}\n`);
}
