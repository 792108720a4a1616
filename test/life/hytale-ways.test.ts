/** What is not known of Hytale: a short life with each value of each switch of the simulator. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { HytaleSwitches } from '../../simulators/hytale/contract.ts';
import { type HytaleHarness, MINUTE, startHytaleHarness, WHO } from '../support/hytale/harness.ts';
import { createPeople } from '../support/hytale/people.ts';
import { noTimeSkipping } from '../support/time-skipping.ts';

describe.skipIf(noTimeSkipping !== undefined)('what is not known of Hytale, each way', () => {
  let life: HytaleHarness;
  beforeAll(async () => {
    life = await startHytaleHarness();
  });
  afterAll(() => life.stop());
  const { accountRow, sessionRow, signIn, expectNoTokenSpentTwice } = createPeople(() => life);

  const WAYS: Partial<HytaleSwitches>[] = [
    {},
    { kid: false },
    { audience: 'hytale-server' },
    { audience: ['a', 'b'] },
    { deniedStatus: 400 },
    { slowDownStatus: 429 },
    { graceSeconds: 60 },
    { reuseRevokesFamily: false },
    { reuseError: 'token_inactive' },
    { rotates: false },
    { sliding: false },
    { newSessionStatus: 200 },
    { endStatus: 200 },
    { goneStatus: 401 },
    { goneStatus: 403 },
    { badBearerStatus: 401 },
    { limitBody: 'text' },
    { limitBody: 'json' },
    { refreshEndsEarlierPair: false },
    { refreshOfExpired: true },
    { refreshHasSessionToken: false },
    { completeUri: false },
    { sendsInterval: false },
  ];
  test.each(WAYS.map((way) => [JSON.stringify(way), way] as const))('a short life with %s', async (_, way) => {
    const sim = await life.begin({ switches: way });
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    const denied = await life.hytale.startLogin(account.id, WHO);
    sim.deny(denied.userCode);
    await signIn(sim, account);
    expect((await life.hytale.login(denied.loginId)).status).toBe('denied');
    const first = await life.hytale.newSession({ accountId: account.id }, WHO);
    await life.pass(110 * MINUTE);
    // Its session token dies with the first hour; a session in its place leaves the first one to die.
    const live = way.refreshHasSessionToken === false ? [1, 2] : [1];
    expect(live).toContain(sim.live(account.id).length);
    expect(sim.requests('session-refresh').length).toBeGreaterThanOrEqual(1);
    // Ended in the portal: the refused renewal leads to a new session.
    sim.endSessions(account.id);
    await life.pass(65 * MINUTE);
    expect(sim.live(account.id)).toHaveLength(1);
    expect(await sessionRow(first.sessionId)).toMatchObject({ status: 'active' });
    // Consent is withdrawn: the refused tokens mean a new sign-in.
    sim.revokeConsent(account.id);
    await expect(life.hytale.refreshAccount(account.id, WHO)).rejects.toMatchObject({ code: 'REAUTH_REQUIRED' });
    await signIn(sim, account);
    await life.hytale.endSessionById(first.sessionId, WHO);
    expect(sim.live(account.id)).toEqual([]);
    expect(await accountRow(account.id)).toMatchObject({ status: 'active' });
    expectNoTokenSpentTwice(sim);
  });
});
