/**
 * `npm run history:record`: records the histories of test/replay/histories again, with made-up data. Run it after an
 * intended change of a workflow, if no run in flight has to survive the change; the diff shows what changed. Arguments are
 * passed on: `npm run history:record -- -t email` records only those of `sendEmail`.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const run = fileURLToPath(new URL('../run.ts', import.meta.url));
/** Files that record: recording.test.ts and hytale-recording.test.ts. */
const recording = 'recording.test.ts';
const { status } = spawnSync(process.execPath, [run, '--project', 'replay', recording, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env: { ...process.env, RECORD_HISTORIES: '1' },
});
process.exitCode = status ?? 1;
