/** The check of a pair before it is stored, with the simulated Hytale. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { HytaleSimulator } from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import type { HytaleClient } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { createTokenVerifier } from '../../../src/clients/hytale/token-verifier.ts';
import { checkPair } from '../../../src/services/hytale/session-pair.ts';

let sim: HytaleSimulator;
let client: HytaleClient;
beforeAll(async () => {
  sim = await startHytaleSimulator({ seed: 7 });
  client = createHytaleClient({ hosts: sim.hosts, timeoutMs: 5_000 });
});
afterAll(async () => {
  await client.close();
  await sim.close();
});

test('keys that Hytale rotates while sessions are renewed make no pair invalid', async () => {
  const account = sim.addAccount();
  const profile = account.profiles[0]?.uuid ?? '';
  const code = await client.requestDeviceCode();
  if (code.outcome !== 'ok') throw new Error('no device code');
  sim.approve(code.userCode, account.id);
  sim.advance(5_000);
  const login = await client.pollToken(code.deviceCode);
  if (login.outcome !== 'ok') throw new Error('no tokens');
  const { accessToken } = login.tokens;
  const verifier = createTokenVerifier({ sessionsBase: sim.hosts.sessions, issuer: sim.issuer, now: sim.now });
  const check = async (of = profile) => {
    const session = await client.newSession(accessToken, profile);
    if (session.outcome !== 'ok') throw new Error('no session');
    return checkPair({ verifier, now: sim.now }, of, session.pair);
  };
  expect(await check()).toMatchObject({ state: 'valid' });
  for (const keepOld of [true, false]) {
    await sim.rotateKeys({ keepOld });
    expect(await check()).toEqual({ state: 'valid', expiresAt: expect.any(Date) });
  }
  expect(await check(account.id)).toMatchObject({ state: 'invalid' });
  sim.fault('session-new', { kind: 'spoiled', how: 'tampered' });
  expect(await check()).toMatchObject({ state: 'invalid' });
});
