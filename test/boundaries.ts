/**
 * `npm run boundaries`: the rules of .dependency-cruiser.cjs over the whole tree, and those of
 * .dependency-cruiser.runtime.cjs over what workflows load. The number of modules is checked too: with a TypeScript
 * version that the cruiser cannot read it would find no module, and so no violation.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CRUISER = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
/** `minModules`: each tree has more files than this; fewer modules mean that the cruiser did not read them. */
const RUNS = [
  { config: '.dependency-cruiser.cjs', folders: ['src', 'migrations', 'simulators', 'bench', 'test'], minModules: 30 },
  { config: '.dependency-cruiser.runtime.cjs', folders: ['src/workflows'], minModules: 10 },
];

interface Violation {
  from: string;
  to: string;
  rule: { name: string; severity: string };
  cycle?: { name: string }[];
  via?: { name: string }[];
}
interface Result {
  summary: { totalCruised: number; error: number; violations: Violation[] };
}

function isResult(value: unknown): value is Result {
  if (typeof value !== 'object' || value === null || !('summary' in value)) return false;
  const { summary } = value;
  return typeof summary === 'object' && summary !== null && 'totalCruised' in summary && 'violations' in summary;
}

function cruise(config: string, folders: string[]): Result['summary'] {
  const run = spawnSync(process.execPath, [CRUISER, '--config', config, '--output-type', 'json', ...folders], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 256 * 1024 * 1024,
  });
  let parsed: unknown;
  try {
    parsed = JSON.parse(run.stdout);
  } catch {
    // reported below
  }
  if (isResult(parsed)) return parsed.summary;
  console.error(`boundaries: dependency-cruiser did not answer\n${run.stderr.trim()}\n${run.stdout.slice(0, 2000)}`);
  process.exit(1);
}

let modules = 0;
let failures = 0;
for (const { config, folders, minModules } of RUNS) {
  const { totalCruised, violations } = cruise(config, folders);
  for (const { from, to, rule, cycle, via } of violations) {
    const path = cycle ?? via;
    console.error(`${rule.name}: ${from} → ${path === undefined ? to : path.map((step) => step.name).join(' → ')}`);
  }
  if (totalCruised < minModules) console.error(`boundaries: only ${totalCruised} modules were read (${config})`);
  modules += totalCruised;
  failures += violations.length + (totalCruised < minModules ? 1 : 0);
}
console.log(`boundaries: ${modules} modules, ${failures} violations`);
process.exitCode = failures > 0 ? 1 : 0;
