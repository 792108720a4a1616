/** The client and the verifier with the simulated Hytale: a life of tokens and sessions, its switches and its faults. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type {
  HytaleCall,
  HytaleFault,
  HytaleSimulator,
  SimulatedAccount,
} from '../../../simulators/hytale/contract.ts';
import { startHytaleSimulator } from '../../../simulators/hytale/simulator.ts';
import type { HytaleClient, SessionPair, TokenSet, TokenVerifier } from '../../../src/clients/hytale/answers.ts';
import { createHytaleClient } from '../../../src/clients/hytale/client.ts';
import { createTokenVerifier } from '../../../src/clients/hytale/token-verifier.ts';
import type { Secret } from '../../../src/domain/secret.ts';

let sim: HytaleSimulator;
let client: HytaleClient;
let impatient: HytaleClient;
let verifier: TokenVerifier;
let account: SimulatedAccount;
const usual = { sessionLimit: 5 };
beforeAll(async () => {
  sim = await startHytaleSimulator({ seed: 12, ...usual });
  client = createHytaleClient({ hosts: sim.hosts, timeoutMs: 5_000 });
  impatient = createHytaleClient({ hosts: sim.hosts, timeoutMs: 60 });
  verifier = createTokenVerifier({ sessionsBase: sim.hosts.sessions, issuer: sim.issuer, now: sim.now });
  account = sim.addAccount();
});
const initial = {};
beforeAll(() => void Object.assign(initial, sim.switches));
afterEach(() => {
  sim.clearFaults();
  sim.switches = { ...sim.switches, ...initial };
  sim.endSessions(account.id);
});
afterAll(async () => {
  await Promise.all([client.close(), impatient.close()]);
  await sim.close();
});

async function codeOf() {
  const code = await client.requestDeviceCode();
  if (code.outcome !== 'ok') throw new Error(`no device code: ${code.outcome}`);
  sim.advance(5_000);
  return code;
}
type Tokens = TokenSet & { refreshToken: Secret };
async function login(): Promise<Tokens> {
  const code = await codeOf();
  sim.approve(code.userCode, account.id);
  const answer = await client.pollToken(code.deviceCode);
  if (answer.outcome !== 'ok' || answer.tokens.refreshToken === null) throw new Error(`no tokens: ${answer.outcome}`);
  return { ...answer.tokens, refreshToken: answer.tokens.refreshToken };
}
const profileOf = (): string => account.profiles[0]?.uuid ?? '';
async function session(accessToken: Secret): Promise<SessionPair & { sessionToken: Secret }> {
  const answer = await client.newSession(accessToken, profileOf());
  if (answer.outcome !== 'ok') throw new Error(`no session: ${answer.outcome}`);
  return answer.pair;
}
const isValid = async (pair: SessionPair): Promise<boolean> => {
  const check = (token: Secret | null, type: 'session' | 'identity') =>
    token === null ? undefined : verifier.verify(token, { type, profileUuid: profileOf(), justReceived: true });
  const checked = await Promise.all([check(pair.sessionToken, 'session'), check(pair.identityToken, 'identity')]);
  return checked.every((one) => one === undefined || one.state === 'valid');
};

describe('a life', () => {
  test('a login that waits, is slowed down, and is approved; profiles, a session, its renewal and its end', async () => {
    const code = await codeOf();
    expect(await client.pollToken(code.deviceCode)).toEqual({ outcome: 'pending' });
    expect(await client.pollToken(code.deviceCode)).toEqual({ outcome: 'slow_down' });
    const tokens = await login();
    expect(await client.profiles(tokens.accessToken)).toEqual({
      outcome: 'ok',
      owner: account.id,
      profiles: account.profiles,
    });
    const pair = await session(tokens.accessToken);
    expect(await isValid(pair)).toBe(true);
    const renewed = await client.refreshSession(pair.sessionToken);
    if (renewed.outcome !== 'ok' || renewed.pair.sessionToken === null) throw new Error('not renewed');
    expect(await isValid(renewed.pair)).toBe(true);
    // The earlier pair is dead, so it renews nothing.
    expect(await client.refreshSession(pair.sessionToken)).toMatchObject({ outcome: 'rejected' });
    expect(await client.endSession(renewed.pair.sessionToken)).toEqual({ outcome: 'ended' });
    expect(await client.endSession(renewed.pair.sessionToken)).toEqual({ outcome: 'gone' });
    expect(await client.newSession(tokens.accessToken, account.id)).toMatchObject({ outcome: 'no_profile' });
  });

  test('a login that is refused, and one that expires', async () => {
    for (const status of [403, 400] as const) {
      sim.switches.deniedStatus = status;
      const code = await codeOf();
      sim.deny(code.userCode);
      expect(await client.pollToken(code.deviceCode)).toMatchObject({ outcome: 'denied', httpStatus: status });
    }
    const code = await codeOf();
    sim.advance(600_000);
    expect(await client.pollToken(code.deviceCode)).toMatchObject({ outcome: 'expired' });
  });

  test('a refresh token that is reused, or whose consent is withdrawn, is rejected', async () => {
    for (const error of ['invalid_grant', 'token_inactive'] as const) {
      sim.switches.reuseError = error;
      const tokens = await login();
      expect(await client.refreshToken(tokens.refreshToken)).toMatchObject({ outcome: 'ok' });
      expect(await client.refreshToken(tokens.refreshToken)).toMatchObject({ outcome: 'rejected', error });
    }
    const tokens = await login();
    sim.revokeConsent(account.id);
    expect(await client.refreshToken(tokens.refreshToken)).toMatchObject({ outcome: 'rejected' });
    expect(await client.profiles(tokens.accessToken)).toMatchObject({ outcome: 'unauthorized' });
  });

  test.each(['empty', 'text', 'json'] as const)(
    'the limit of sessions with a body of the kind %s',
    async (limitBody) => {
      sim.switches.limitBody = limitBody;
      const { accessToken } = await login();
      for (let n = 0; n < usual.sessionLimit; n += 1) await session(accessToken);
      const expected = { outcome: 'forbidden', limit: limitBody !== 'empty', auth: false };
      expect(await client.newSession(accessToken, profileOf())).toMatchObject(expected);
    },
  );

  test('each of two ways in which Hytale may answer', async () => {
    const { accessToken } = await login();
    for (const switches of [
      { kid: false, newSessionStatus: 200, endStatus: 200, goneStatus: 401, badBearerStatus: 401 },
      { audience: ['x', 'y'], goneStatus: 403, refreshHasSessionToken: false },
    ] as const) {
      Object.assign(sim.switches, switches);
      const pair = await session(accessToken);
      expect(await isValid(pair)).toBe(true);
      const renewed = await client.refreshSession(pair.sessionToken);
      if (renewed.outcome !== 'ok') throw new Error('not renewed');
      expect(await isValid(renewed.pair)).toBe(true);
      const last = renewed.pair.sessionToken ?? pair.sessionToken;
      expect(await client.endSession(last)).toEqual({ outcome: 'ended' });
      expect(await client.endSession(last)).toEqual({ outcome: 'gone' });
      const status = sim.switches.badBearerStatus;
      const refused = await client.newSession(pair.identityToken, profileOf());
      expect(refused).toMatchObject(
        status === 401 ? { outcome: 'unauthorized' } : { outcome: 'forbidden', auth: true },
      );
    }
  });

  test('keys are rotated, with the old one kept and without, and tokens may not name theirs', async () => {
    const { accessToken } = await login();
    for (const [kid, keepOld] of [
      [true, true],
      [true, false],
      [false, true],
    ] as const) {
      sim.switches.kid = kid;
      await sim.rotateKeys({ keepOld });
      expect(await isValid(await session(accessToken))).toBe(true);
    }
  });

  test.each(['issuer', 'expired', 'future', 'no-exp', 'none', 'tampered', 'subject', 'scope'] as const)(
    'tokens that are spoiled (%s) are not valid',
    async (how) => {
      const { accessToken } = await login();
      sim.fault('session-new', { kind: 'spoiled', how });
      expect(await isValid(await session(accessToken))).toBe(false);
    },
  );
});

describe('faults of each call', () => {
  const FAULTS: [string, HytaleFault, object][] = [
    ['429', { kind: 'limited', retryAfter: 7 }, { httpStatus: 429, retryAfterMs: 7_000, lost: false }],
    ['429 without a time', { kind: 'limited', retryAfter: null }, { httpStatus: 429, lost: false }],
    ['429 with a date', { kind: 'limited', retryAfter: 60, date: true }, { retryAfterMs: expect.any(Number) }],
    ['500', { kind: 'status', status: 500 }, { httpStatus: 500 }],
    ['503 with a page', { kind: 'status', status: 503, html: true }, { httpStatus: 503 }],
    ['403 with a page', { kind: 'status', status: 403, html: true }, { httpStatus: 403 }],
    ['a connection that is reset', { kind: 'cut' }, { httpStatus: null, lost: true }],
    ['no answer', { kind: 'hang' }, { httpStatus: null, lost: true }],
    ['an answer that is lost', { kind: 'done-cut' }, { httpStatus: null, lost: true }],
  ];
  const CALLS: Record<
    Exclude<HytaleCall, 'jwks'>,
    (by: HytaleClient, tokens: Tokens, pair: Secret) => Promise<object>
  > = {
    device: (by) => by.requestDeviceCode(),
    'token-device': async (by) => by.pollToken((await codeOf()).deviceCode),
    'token-refresh': (by, { refreshToken }) => by.refreshToken(refreshToken),
    profiles: (by, { accessToken }) => by.profiles(accessToken),
    'session-new': (by, { accessToken }) => by.newSession(accessToken, profileOf()),
    'session-refresh': (by, _tokens, pair) => by.refreshSession(pair),
    'session-end': (by, _tokens, pair) => by.endSession(pair),
  };
  test.each(Object.keys(CALLS) as (keyof typeof CALLS)[])('%s', async (call) => {
    // Only the last fault carries the request out, so the tokens live until then.
    const tokens = await login();
    const { sessionToken } = await session(tokens.accessToken);
    for (const [what, fault, expected] of FAULTS) {
      sim.fault(call, fault);
      const by = fault.kind === 'hang' ? impatient : client;
      expect(await CALLS[call](by, tokens, sessionToken), what).toMatchObject({ outcome: 'unavailable', ...expected });
      sim.clearFaults();
    }
  });
});

test('no result of a call shows a token or code that was given out', async () => {
  const { accessToken, refreshToken } = await login();
  const pair = await session(accessToken);
  const shown = JSON.stringify([accessToken, refreshToken, pair, await client.refreshSession(accessToken)]);
  for (const secret of sim.secrets()) expect(shown).not.toContain(secret);
});
