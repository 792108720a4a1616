/** What an administrator reads of syncs in the web UI: in the list, on the page of a running one, and of one that failed. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { OPERATOR } from '../../src/services/audit/record-change.ts';
import { PANEL_SYNC_ID } from '../../src/workflows/contract.ts';
import { onFailure } from '../support/journal.ts';
import { type Installation, MEDIUM } from '../support/processes.ts';
import { type ClusterUnderTest, createReport, eventually, startClusterUnderTest } from './harness.ts';
import { type WebUi, webUi } from './web-ui.ts';

const NAMESPACE = 'nodebyte';
/** The filter that the guide gives (docs/guide/sync.md): the watch has a run every minute. */
const SYNCS = 'WorkflowType = "panelSync"';
const PAGE = `workflows/${PANEL_SYNC_ID}`;

const report = createReport();
let cluster: ClusterUnderTest;
let installation: Installation;
let ui: WebUi;
onFailure(() => installation);
beforeAll(async () => {
  cluster = await startClusterUnderTest();
  await cluster.createNamespace(NAMESPACE);
  installation = await cluster.install(NAMESPACE, { ...MEDIUM, latencyMs: 60 });
  ui = webUi(cluster.uiUrl, NAMESPACE);
  await installation.haveWorkers(1);
});
afterAll(async () => {
  report.print();
  await cluster?.discard();
});
beforeEach(async () => {
  installation.sim.faults.clear();
  await installation.settled();
});

const request = async () =>
  (await installation.launcher.requestSync({ target: 'full', requestedBy: 'test' })).syncLogId;
const runIdOf = async () => (await installation.gateway.client.workflow.getHandle(PANEL_SYNC_ID).describe()).runId;

test('a running sync: its summary, how far each listing is, and what is pending', async () => {
  const logId = await request();
  await installation.atRequest(40, async () => {
    const shown = await eventually(async () => {
      const found = await ui.sync();
      return found.pending.length > 0 ? found : undefined;
    }, 'pending activities');
    expect(shown.summary).toBe('A full sync');
    expect(shown.details).toBe(`Log \`${logId}\`, requested by \`api\``);
    expect(shown.currentDetails).toMatch(/^\*\*reading\*\*/);
    for (const listing of ['locations', 'nests', 'users', 'servers'])
      expect(shown.currentDetails).toMatch(new RegExp(`^- ${listing}: page \\d+ of (\\d+|\\?), \\d+ records`, 'm'));
    for (const { attempt, lastFailure } of shown.pending) expect([attempt, lastFailure]).toEqual([1, undefined]);
    report.saw('a running sync', String(shown.currentDetails).replaceAll('\n', ' '));
    await ui.picture('running', PAGE);
    await ui.picture('running-details', `${PAGE}/${await runIdOf()}/user-metadata`);
    await ui.picture('running-pending', `${PAGE}/${await runIdOf()}/pending-activities`);
  });
  expect((await installation.ended(logId)).status).toBe('COMPLETED');
});

test('a completed sync: its details say how it ended, and its history holds no key and no address', async () => {
  const logId = await request();
  await installation.ended(logId);
  await installation.settled();
  const runId = await runIdOf();
  const { currentDetails, pending } = await ui.sync(runId);
  report.saw('a completed sync', String(currentDetails).split('\n')[0] ?? '');
  expect(currentDetails).toMatch(/^\*\*completed\*\*/i);
  expect(pending).toEqual([]);
  const { bars, failure } = await ui.timeline(runId);
  report.saw('its timeline', [...new Set(bars)].slice(0, 6).join(' | '));
  expect(failure).toBeUndefined();
  for (const bar of ['locations, page 1', 'servers, page 1', 'openRun', 'mergeRun']) expect(bars).toContain(bar);
  const history = await ui.historyText(runId);
  expect(history).toContain(logId);
  expect(history).not.toContain(installation.sim.keys.full);
  expect(history).not.toMatch(/@[\w.-]+\.(invalid|example)/);
  await ui.picture('completed', `${PAGE}/${runId}/timeline`);
  await ui.picture('completed-details', `${PAGE}/${runId}/user-metadata`);
});

test('a failed sync: the reason is the message of its failure', async () => {
  installation.sim.faults.add({ afterNth: 20, action: { kind: 'status', status: 401 } });
  const log = await installation.ended(await request());
  await installation.settled();
  const runId = await runIdOf();
  const { failure } = await ui.timeline(runId);
  report.saw('a failed sync', String(failure));
  expect(log.error).toContain('The panel refused the API key');
  expect(failure).toBe(log.error);
  const { currentDetails } = await ui.sync(runId);
  expect(currentDetails).toMatch(/^\*\*failed\*\*/i);
  await ui.picture('failed', `${PAGE}/${runId}/history`);
  await ui.picture('failed-details', `${PAGE}/${runId}/user-metadata`);
});

test('the list with the filter of the guide has all syncs and nothing else, with the ids of their logs', async () => {
  const logId = await request();
  await installation.atRequest(30, () => installation.launcher.cancelSync(logId, OPERATOR));
  await installation.ended(logId);
  await installation.settled();
  const listed = await eventually(async () => {
    const found = await ui.list(SYNCS);
    return found.some((run) => run.logId === logId && run.status === 'CANCELED') ? found : undefined;
  }, 'the cancelled sync in the list');
  expect(new Set(listed.map(({ type }) => type))).toEqual(new Set(['panelSync']));
  expect(listed.map(({ status }) => status)).toEqual(['CANCELED', 'FAILED', 'COMPLETED', 'COMPLETED']);
  expect(await ui.count(SYNCS)).toBe(listed.length);
  expect(await ui.count(`${SYNCS} AND SyncType = "full"`)).toBeGreaterThan(0);
  report.saw('the list of syncs', listed.map(({ status }) => status).join(', '));
  await ui.picture('list', `workflows?query=${encodeURIComponent(SYNCS)}`);
  await ui.picture('cancelled', `${PAGE}/${listed[0]?.runId ?? ''}/history`);
  await ui.picture('schedules', 'schedules');
});
