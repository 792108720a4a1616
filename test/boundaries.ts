/**
 * `npm run boundaries`: the rules of .dependency-cruiser.cjs over the whole tree. The number of modules is checked too:
 * with a TypeScript that the cruiser cannot read it would find none, and no violation.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDERS = ['src', 'migrations', 'simulators', 'bench', 'test'];
/** The tree has more TypeScript files than this; fewer modules mean that the cruiser did not read them. */
const LEAST_MODULES = 30;

interface Violation {
  from: string;
  to: string;
  rule: { name: string; severity: string };
  cycle?: { name: string }[];
}
interface Result {
  summary: { totalCruised: number; error: number; violations: Violation[] };
}

const cruiser = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruiser.mjs');
const run = spawnSync(
  process.execPath,
  [cruiser, '--config', '.dependency-cruiser.cjs', '--output-type', 'json', ...FOLDERS],
  { cwd: ROOT, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 },
);

function isResult(value: unknown): value is Result {
  if (typeof value !== 'object' || value === null || !('summary' in value)) return false;
  const { summary } = value;
  return typeof summary === 'object' && summary !== null && 'totalCruised' in summary && 'violations' in summary;
}

let parsed: unknown;
try {
  parsed = JSON.parse(run.stdout);
} catch {
  // said below
}
if (!isResult(parsed)) {
  console.error(`boundaries: dependency-cruiser did not answer\n${run.stderr.trim()}\n${run.stdout.slice(0, 2000)}`);
  process.exit(1);
}
const { totalCruised, violations } = parsed.summary;
for (const { from, to, rule, cycle } of violations) {
  console.error(`${rule.name}: ${from} → ${cycle === undefined ? to : cycle.map((step) => step.name).join(' → ')}`);
}
if (totalCruised < LEAST_MODULES) console.error(`boundaries: only ${totalCruised} modules were read`);
console.log(`boundaries: ${totalCruised} modules, ${violations.length} violations`);
process.exitCode = violations.length > 0 || totalCruised < LEAST_MODULES ? 1 : 0;
