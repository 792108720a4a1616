/** Faults of Hytale at each call: sessions stay alive or are replaced, and the request log shows the pauses between attempts. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HytaleCall, HytaleFault, HytaleSimulator } from '../../simulators/hytale/contract.ts';
import { HOUR, type HytaleHarness, MINUTE, SECOND, startHytaleHarness, WHO } from '../support/hytale/harness.ts';
import { createPeople } from '../support/hytale/people.ts';
import { noTimeSkipping } from '../support/time-skipping.ts';

/** A fault, and the pause that it asks for in seconds. `lost`: it was carried out, and the answer did not arrive. */
const FAULTS: { name: string; fault: HytaleFault; asks?: number; lost?: boolean }[] = [
  { name: '429 without Retry-After', fault: { kind: 'limited', retryAfter: null } },
  { name: '429 with seconds', fault: { kind: 'limited', retryAfter: 200 }, asks: 200 },
  { name: '429 with a date', fault: { kind: 'limited', retryAfter: 200, date: true }, asks: 199 },
  { name: '500', fault: { kind: 'status', status: 500 } },
  { name: '503 with HTML', fault: { kind: 'status', status: 503, html: true } },
  { name: 'reset', fault: { kind: 'cut' } },
  { name: 'hang', fault: { kind: 'hang' } },
  { name: 'reset afterwards', fault: { kind: 'done-cut' }, lost: true },
  { name: 'hang afterwards', fault: { kind: 'done-hang' }, lost: true },
  { name: 'truncated JSON', fault: { kind: 'done-half' }, lost: true },
];

describe.skipIf(noTimeSkipping !== undefined)('faults of Hytale', () => {
  let life: HytaleHarness;
  beforeAll(async () => {
    life = await startHytaleHarness();
  });
  afterAll(() => life.stop());
  const { accountRow, sessionRow, events, signIn, expectNoTokenSpentTwice } = createPeople(() => life);

  const timesOf = (sim: HytaleSimulator, call: HytaleCall, account: string): number[] =>
    sim
      .requests(call)
      .filter((request) => request.account === account)
      .map(({ at }) => at);
  const waitsOf = (times: readonly number[]): number[] =>
    times.slice(1).map((at, index) => (at - (times[index] ?? 0)) / SECOND);

  /** One account with one session for each fault. */
  async function inhabit(sim: HytaleSimulator) {
    const all = [];
    for (const { name, ...about } of FAULTS) {
      const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
      await signIn(sim, account);
      const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
      all.push({ name, id: account.id, sessionId, ...about });
    }
    return all;
  }

  test('renewals of account tokens: 30 s, 60 s, or what Hytale asks for; a lost answer asks for a person', async () => {
    const sim = await life.begin({ timeoutMs: 1_000 });
    const all = await inhabit(sim);
    for (const { id, fault, lost } of all) sim.fault('token-refresh', fault, { account: id, times: lost ? 1 : 2 });
    await life.pass(3 * HOUR);
    for (const { name, id, sessionId, asks = 0, lost = false } of all) {
      const [first = 0, second = 0] = waitsOf(timesOf(sim, 'token-refresh', id));
      expect({ name, ok: first >= Math.max(30, asks) }).toEqual({ name, ok: true });
      const account = await accountRow(id);
      const ends = { name, status: account?.['status'], alive: sim.live(id).length };
      expect(ends).toEqual({ name, status: lost ? 'reauth_required' : 'active', alive: 1 });
      expect({ name, status: (await sessionRow(sessionId))?.['status'] }).toEqual({ name, status: 'active' });
      // The second attempt after a lost answer presents a spent token, once. It is the last.
      if (lost) expect({ name, n: timesOf(sim, 'token-refresh', id).length }).toEqual({ name, n: 2 });
      else expect({ name, ok: second >= Math.max(60, asks) }).toEqual({ name, ok: true });
    }
    expect(await events('hytale.reauth_required')).toHaveLength(all.filter(({ lost }) => lost).length);
    for (const { spent } of sim.refreshTokens()) expect(spent).toBeLessThanOrEqual(1);
  });

  test('renewals of sessions: 30 s, 60 s, then a new session', async () => {
    const sim = await life.begin({ timeoutMs: 1_000 });
    const all = await inhabit(sim);
    for (const { id, fault } of all) sim.fault('session-refresh', fault, { account: id, times: 3 });
    await life.pass(100 * MINUTE);
    for (const { name, id, sessionId, asks = 0, lost = false } of all) {
      const waits = waitsOf(timesOf(sim, 'session-refresh', id));
      expect({ name, ok: (waits[0] ?? 0) >= Math.max(30, asks) }).toEqual({ name, ok: true });
      const row = await sessionRow(sessionId);
      expect({ name, status: row?.['status'], alive: sim.live(id).length >= 1 }).toEqual({
        name,
        status: 'active',
        alive: true,
      });
      expect({ name, n: timesOf(sim, 'session-new', id).length }).toEqual({ name, n: 2 });
      expect({ name, ok: timesOf(sim, 'session-refresh', id).length <= 3 }).toEqual({ name, ok: true });
      if (!lost) expect({ name, ok: (waits[1] ?? 0) >= Math.max(60, asks) }).toEqual({ name, ok: true });
      expect(await accountRow(id)).toMatchObject({ status: 'active' });
    }
    expectNoTokenSpentTwice(sim);
  });

  test('new sessions: tried again at growing pauses until one is there', async () => {
    const sim = await life.begin({ timeoutMs: 1_000 });
    const all = await inhabit(sim);
    for (const { id } of all) sim.endSessions(id);
    for (const { id, fault } of all) sim.fault('session-new', fault, { account: id, times: 3 });
    await life.pass(80 * MINUTE);
    for (const { name, id, sessionId, asks = 0, lost } of all) {
      // The first one is that of the beginning.
      const [, first = 0, second = 0, third = 0] = waitsOf(timesOf(sim, 'session-new', id));
      expect({ name, ok: first >= Math.max(30, asks) }).toEqual({ name, ok: true });
      if (lost) continue;
      const ok = [second >= Math.max(60, asks), third >= Math.max(300, asks)];
      expect({ name, ok }).toEqual({ name, ok: [true, true] });
      expect({ name, n: timesOf(sim, 'session-new', id).length }).toEqual({ name, n: 5 });
      expect({ name, status: (await sessionRow(sessionId))?.['status'] }).toEqual({ name, status: 'active' });
    }
    // Sessions whose answer was lost count against the limit until they end by themselves, after an hour.
    await life.pass(HOUR);
    for (const { name, id, sessionId } of all.filter(({ lost }) => lost)) {
      expect({ name, status: (await sessionRow(sessionId))?.['status'] }).toEqual({ name, status: 'active' });
      const times = timesOf(sim, 'session-new', id);
      // A refusal for the limit that says nothing is tried with a fresh token, once.
      const hasty = waitsOf(times).filter((seconds) => seconds < 30).length;
      expect({ name, ok: times.length <= 12 && hasty <= 1 }).toEqual({ name, ok: true });
    }
    expectNoTokenSpentTwice(sim);
  });

  test('logins: an outage while a person approves loses nothing', async () => {
    const sim = await life.begin({ timeoutMs: 1_000 });
    for (const { name, fault, lost } of FAULTS) {
      if (lost === true) continue;
      const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
      const login = await life.hytale.startLogin(account.id, WHO);
      sim.fault('token-device', fault, { times: 2 });
      sim.fault('profiles', fault, { times: 2 });
      sim.approve(login.userCode, account.id);
      await life.pass(14 * MINUTE);
      expect({ name, status: (await life.hytale.login(login.loginId)).status }).toEqual({ name, status: 'completed' });
      sim.clearFaults();
    }
  });

  test('keys that are away: no session is spent on tokens that could not be verified', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    sim.fault('jwks', { kind: 'status', status: 503 }, { times: Number.POSITIVE_INFINITY });
    await expect(life.hytale.newSession({ accountId: account.id }, WHO)).rejects.toBeInstanceOf(Error);
    expect(sim.requests('session-new')).toHaveLength(0);
    expect(sim.requests('jwks').length).toBeLessThanOrEqual(3);
  });

  test('a key that is rotated without notice: the session lives on', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    await sim.rotateKeys({ keepOld: false });
    await life.pass(3 * HOUR);
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'active' });
    expect(sim.live(account.id).length).toBeGreaterThanOrEqual(1);
    expect(sim.requests('session-new').length).toBeLessThanOrEqual(2);
  });
});
