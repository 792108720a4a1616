/** A worker of another version meets a run that an earlier version began: the run cannot continue, and must not block others. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { onFailure } from '../../support/journal.ts';
import type { Installation } from '../../support/processes.ts';
import { committedRows, type Disturbable, expectEnd, expectOnce, startDisturbable } from '../../support/spoiled.ts';

let life: Disturbable;
let installation: Installation;
let cacheDir = '';
onFailure(() => installation);
beforeAll(async () => {
  life = await startDisturbable();
  installation = life.installation;
  cacheDir = mkdtempSync(join(tmpdir(), 'nodebyte-other-version-'));
});
afterAll(async () => {
  await installation?.stop();
  rmSync(cacheDir, { recursive: true, force: true });
});

test('the run ends as failed, nothing is written, and the next run completes', async () => {
  await life.prepare(1);
  const before = await committedRows(installation.db);
  const logId = await life.request();
  await installation.atRequest(20, async () => {
    for (const worker of installation.workers()) await worker.kill();
  });

  // The same workflows, with another name of an activity.
  const bundle = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  mkdirSync(join(cacheDir, 'workflows'));
  writeFileSync(
    join(cacheDir, 'workflows', basename(bundle)),
    readFileSync(bundle, 'utf8').replaceAll('stagePages', 'renamedPages'),
  );
  const other = await installation.startWorker({ CACHE_DIR: cacheDir });
  await installation.settled(60_000);
  expect((await installation.gateway.client.workflow.getHandle('panel-sync').describe()).status.name).toBe('FAILED');
  for (let i = 0; i < 20 && (await installation.launcher.watch()) === 'nothing'; i += 1) await delay(100);
  const log = await installation.ended(logId, 5_000);
  expect(log.status).toBe('FAILED');
  expect(await committedRows(installation.db)).toEqual(before);
  await expectOnce(installation, logId, 'sync.failed');
  await other.kill();

  await life.prepare(1);
  await expectEnd(installation, await installation.ended(await life.request()), life.undisturbed);
});
