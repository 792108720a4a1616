/** A worker of another version meets a run that an earlier version began: the run cannot continue, so its sync is started again. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import { onFailure } from '../../support/journal.ts';
import type { Installation } from '../../support/processes.ts';
import { type Disturbable, expectEnd, expectOnce, startDisturbable } from '../../support/spoiled.ts';

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

test('a deployment does not fail a running sync: it is started again under its row, and completes once', async () => {
  await life.prepare(1);
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
  await other.kill();
  await installation.startWorker();
  for (let i = 0; i < 50 && (await installation.launcher.watch()) === 'nothing'; i += 1) await delay(100);
  await expectEnd(installation, await installation.ended(logId), life.undisturbed, 2);
  await expectOnce(installation, logId, 'sync.completed');
});
