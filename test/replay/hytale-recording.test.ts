/** Records histories of the Hytale workflows, when asked to by test/replay/record.ts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HytaleSimulator } from '../../simulators/hytale/contract.ts';
import { hytaleAccountId, hytaleLoginId, hytaleSessionId } from '../../src/workflows/contract.ts';
import { textOf } from '../support/histories.ts';
import { addGameServer } from '../support/hytale/game-server.ts';
import { DAY, HOUR, type HytaleHarness, MINUTE, SECOND, startHytaleHarness, WHO } from '../support/hytale/harness.ts';
import { createPeople } from '../support/hytale/people.ts';
import { writeHistory } from '../support/recording.ts';

describe.runIf(process.env['RECORD_HISTORIES'] === '1')('recording of Hytale', { timeout: 60_000 }, () => {
  let life: HytaleHarness;
  let sim: HytaleSimulator;
  beforeAll(async () => {
    life = await startHytaleHarness();
  });
  afterAll(() => life?.stop());
  const { accountRow, sessionRow, signIn } = createPeople(() => life);

  async function record(name: string, workflowId: string, runId?: string): Promise<void> {
    // A step that is under way ends first.
    await life.pass(SECOND);
    const history = await life.env.client.workflow.getHandle(workflowId, runId).fetchHistory();
    for (const secret of sim.secrets()) expect(textOf(history)).not.toContain(secret);
    writeHistory(name, history);
  }
  async function begin(options: Parameters<HytaleHarness['begin']>[0] = {}) {
    sim = await life.begin(options);
    const account = sim.addAccount({ profiles: [{ username: 'A' }, { username: 'B' }, { username: 'C' }] });
    const [first = '', second = '', third = ''] = account.profiles.map(({ uuid }) => uuid);
    return { account, first, second, third };
  }

  test('hytale-login: completed, denied, cancelled in Temporal', async () => {
    const { account } = await begin();
    const completed = await signIn(sim, account);
    await record('hytale-login-completed', hytaleLoginId(completed.loginId));
    const denied = await life.hytale.startLogin(account.id, WHO);
    sim.deny(denied.userCode);
    await life.pass(MINUTE);
    await record('hytale-login-denied', hytaleLoginId(denied.loginId));
    const cancelled = await life.hytale.startLogin(account.id, WHO);
    await life.env.client.workflow.getHandle(hytaleLoginId(cancelled.loginId)).cancel();
    await life.until('it ends', async () => (await life.hytale.login(cancelled.loginId)).status === 'cancelled');
    await record('hytale-login-cancelled', hytaleLoginId(cancelled.loginId));
  });

  test('hytale-account: continued, signed in again, disconnected', async () => {
    const { account, first } = await begin();
    await signIn(sim, account);
    await life.pass(HOUR);
    const { runId } = await life.env.client.workflow.getHandle(hytaleAccountId(account.id)).describe();
    await life.pass(3 * DAY);
    await record('hytale-account-continued', hytaleAccountId(account.id), runId);
    await life.hytale.refreshAccount(account.id, WHO);
    sim.revokeConsent(account.id);
    await life.pass(HOUR);
    sim.fault('token-refresh', { kind: 'status', status: 503 });
    await signIn(sim, account);
    await life.pass(HOUR);
    await record('hytale-account-signed-in-again', hytaleAccountId(account.id));
    await life.hytale.newSession({ accountId: account.id, profileUuid: first }, WHO);
    await life.hytale.disconnect(account.id, WHO);
    await life.until('it is gone', async () => (await accountRow(account.id)) === undefined);
    await record('hytale-account-disconnected', hytaleAccountId(account.id));
  });

  test('hytale-session: lapsed and ended, limited, pushed, cancelled in Temporal', async () => {
    const { account, first, second, third } = await begin();
    await signIn(sim, account);
    const open = (profileUuid: string, serverId?: string) =>
      life.hytale.newSession({ accountId: account.id, profileUuid, serverId }, WHO);
    const server = await addGameServer(life.panel, life.db);
    const pushed = await open(first, server.id);
    const other = await open(second);
    const waits = await addGameServer(life.panel, life.db);
    await open(third, waits.id).catch(() => undefined);
    await life.pass(2 * HOUR);
    const limited = await limitedId();
    await life.hytale.endSessionById(other.sessionId, WHO);
    await life.pass(HOUR);
    await record('hytale-session-limited', hytaleSessionId(limited));
    sim.setSessionLimit(10);
    await life.hytale.renewSession(pushed.sessionId, { restart: true }, WHO);
    await life.pass(HOUR);
    await record('hytale-session-pushed', hytaleSessionId(pushed.sessionId));
    await life.env.client.workflow.getHandle(hytaleSessionId(pushed.sessionId)).cancel();
    await life.until('it ends', async () => (await sessionRow(pushed.sessionId)) === undefined);
    await record('hytale-session-cancelled', hytaleSessionId(pushed.sessionId));
    sim.revokeConsent(account.id);
    sim.endSessions(account.id);
    await life.pass(3 * HOUR);
    await life.hytale.endSessionById(limited, WHO);
    await record('hytale-session-lapsed', hytaleSessionId(limited));
  });

  async function limitedId(): Promise<string> {
    const rows = await life.db('hytale_game_sessions').where({ status: 'limited' }).select('id');
    return String(rows[0]?.id);
  }
});
