/** The life of Hytale accounts and game sessions, months of it, by the clock of a Temporal server that skips time. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sessionsToRun } from '../../../src/store/hytale/session-store.ts';
import { HYTALE_QUERY, type HytaleView, hytaleSessionId } from '../../../src/workflows/contract.ts';
import { addGameServer, SESSION_VARIABLE } from '../../support/hytale/game-server.ts';
import {
  DAY,
  HOUR,
  type HytaleHarness,
  intervals,
  MINUTE,
  SECOND,
  SESSION_LIMIT,
  startHytaleHarness,
  WHO,
} from '../../support/hytale/harness.ts';
import { createPeople } from '../../support/hytale/people.ts';
import { query } from '../../support/merge.ts';
import { noTimeSkipping } from '../../support/time-skipping.ts';

describe.skipIf(noTimeSkipping !== undefined)('the life of Hytale accounts and sessions', () => {
  let life: HytaleHarness;
  beforeAll(async () => {
    life = await startHytaleHarness();
  });
  afterAll(() => life.stop());

  const { accountRow, sessionRow, events, audit, signIn, expectNoTokenSpentTwice } = createPeople(() => life);

  test('thirty days: both are renewed in time, each refresh token is spent once, without anybody acting', async () => {
    // Half a day in place of an hour: the same life in fewer steps.
    const LIFE = 12 * HOUR;
    const sim = await life.begin({ lives: { accessToken: LIFE / SECOND, session: LIFE / SECOND } });
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    const login = await signIn(sim, account);
    expect((await life.hytale.pollLogin(login.deviceCode.reveal(), account.id)).state).toBe('granted');
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    await life.pass(30 * DAY);
    for (const call of ['token-refresh', 'session-refresh'] as const) {
      const waits = intervals(sim, call);
      expect(waits.length).toBeGreaterThanOrEqual(59);
      for (const wait of waits) {
        expect(wait).toBeGreaterThanOrEqual(LIFE - 5 * MINUTE - 31 * SECOND);
        expect(wait).toBeLessThanOrEqual(LIFE - 5 * MINUTE + 5 * SECOND);
      }
      expect(sim.requests(call).every(({ status }) => status === 200)).toBe(true);
    }
    expect(sim.requests('session-new')).toHaveLength(1);
    expect(sim.requests('device')).toHaveLength(1);
    expectNoTokenSpentTwice(sim);
    expect(sim.live(account.id)).toHaveLength(1);
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'active', recreations: 0 });
    // They are spread: two that began together do not come together.
    expect(new Set(intervals(sim, 'token-refresh').map((ms) => Math.round(ms / SECOND))).size).toBeGreaterThan(5);
    await life.hytale.endSessionById(sessionId, WHO);
    expect(sim.live(account.id)).toEqual([]);
    expect(sim.requests('session-end').at(-1)).toMatchObject({ done: true });
    expect(await sessionRow(sessionId)).toBeUndefined();
    await life.hytale.disconnect(account.id, WHO);
    await life.until('the account is gone', async () => (await accountRow(account.id)) === undefined);
    expect(new Set(await audit(account.id))).toEqual(
      new Set([
        'TOKEN_CREATED',
        'PROFILE_SELECTED',
        'SESSION_CREATED',
        'TOKEN_REFRESHED',
        'SESSION_REFRESHED',
        'SESSION_DELETED',
        'TOKEN_DELETED',
      ]),
    );
  });

  test('a refresh token is rotated at 23 days although its access token would live for 40', async () => {
    const sim = await life.begin({ lives: { accessToken: (40 * DAY) / SECOND } });
    const account = sim.addAccount({ profiles: [{ username: 'Idle' }] });
    await signIn(sim, account);
    await life.pass(70 * DAY);
    expect(sim.requests('token-refresh')).toHaveLength(3);
    for (const wait of intervals(sim, 'token-refresh')) {
      expect(wait).toBeGreaterThan(23 * DAY - MINUTE);
      expect(wait).toBeLessThan(23 * DAY + MINUTE);
    }
    expect(await accountRow(account.id)).toMatchObject({ status: 'active', refresh_version: 4 });
    expectNoTokenSpentTwice(sim);
  });

  test('slow_down makes every later poll of that code slower; a poll never comes early', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Slow' }] });
    const login = await life.hytale.startLogin(account.id, WHO);
    const slow = { kind: 'answer', status: 400, body: '{"error":"slow_down"}', type: 'application/json' } as const;
    sim.fault('token-device', slow);
    await life.pass(16 * SECOND);
    sim.fault('token-device', slow);
    await life.pass(60 * SECOND);
    sim.approve(login.userCode, account.id);
    await life.until('the login ends', async () => (await life.hytale.login(login.loginId)).status === 'completed');
    const waits = intervals(sim, 'token-device').map((ms) => Math.round(ms / SECOND));
    expect(waits).toEqual([10, 10, 15, 15, 15, ...waits.slice(5).map(() => 15)]);
    expect((sim.requests('token-device')[0]?.at ?? 0) - (sim.requests('device')[0]?.at ?? 0)).toBeGreaterThanOrEqual(
      5 * SECOND,
    );
  });

  test('a login that is refused, not approved in time, approved by another account, or cancelled', async () => {
    const sim = await life.begin({ lives: { deviceCode: 60 } });
    const [account, stranger] = [sim.addAccount(), sim.addAccount()];
    const start = () => life.hytale.startLogin(account.id, WHO);
    const [denied, late, other, cancelled] = [await start(), await start(), await start(), await start()];
    sim.deny(denied.userCode);
    sim.approve(other.userCode, stranger.id);
    await life.hytale.cancelLogin(cancelled.loginId, WHO);
    await life.pass(90 * SECOND);
    const ended = async (login: typeof denied) => (await life.hytale.login(login.loginId)).status;
    expect(await Promise.all([denied, late, other, cancelled].map(ended))).toEqual([
      'denied',
      'expired',
      'denied',
      'cancelled',
    ]);
    const answer = async (login: typeof denied) => {
      const polled = await life.hytale.pollLogin(login.deviceCode.reveal(), account.id);
      return polled.state === 'failed' ? polled.error : polled.state;
    };
    expect(await Promise.all([denied, late, other, cancelled].map(answer))).toEqual([
      'access_denied',
      'expired_token',
      'access_denied',
      'access_denied',
    ]);
    expect(await accountRow(account.id)).toBeUndefined();
    expect(await accountRow(stranger.id)).toBeUndefined();
    const polls = sim.requests('token-device').length;
    await life.pass(HOUR);
    expect(sim.requests('token-device')).toHaveLength(polls);
  });

  test('one profile is taken by itself, of two a person chooses, and without one there is no session', async () => {
    const sim = await life.begin();
    const one = sim.addAccount({ profiles: [{ username: 'Only' }] });
    const two = sim.addAccount({ profiles: [{ username: 'First' }, { username: 'Second' }] });
    const none = sim.addAccount({ profiles: [] });
    for (const account of [one, two, none]) await signIn(sim, account);
    expect(await accountRow(one.id)).toMatchObject({ profile_uuid: one.profiles[0]?.uuid });
    for (const account of [two, none]) {
      expect(await accountRow(account.id)).toMatchObject({ profile_uuid: null });
      await expect(life.hytale.newSession({ accountId: account.id }, WHO)).rejects.toMatchObject({
        code: 'BAD_REQUEST',
      });
    }
    expect((await life.hytale.profiles(two.id)).profiles).toHaveLength(2);
    await expect(life.hytale.selectProfile(two.id, one.profiles[0]?.uuid ?? '', WHO)).rejects.toMatchObject({
      code: 'HYTALE_NOT_FOUND',
    });
    await life.hytale.selectProfile(two.id, two.profiles[1]?.uuid ?? '', WHO);
    await life.hytale.newSession({ accountId: two.id }, WHO);
    expect(sim.live(two.id).map(({ profile }) => profile)).toEqual([two.profiles[1]?.uuid]);
    // An account without the game is not asked again and again.
    const asked = sim.requests('profiles').length;
    await life.pass(HOUR);
    expect(sim.requests('profiles')).toHaveLength(asked);
  });

  test('a withdrawn consent: reported once, sessions live on while they can, and go on by themselves after a new sign-in', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    sim.revokeConsent(account.id);
    await life.pass(70 * MINUTE);
    expect(await accountRow(account.id)).toMatchObject({ status: 'reauth_required' });
    expect(await events('hytale.reauth_required')).toHaveLength(1);
    expect(await audit(account.id)).toContain('AUTH_FAILED');
    await expect(life.hytale.refreshAccount(account.id, WHO)).rejects.toMatchObject({ code: 'REAUTH_REQUIRED' });
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'active' });
    // The session cannot be renewed any more, and its account cannot give a new one.
    sim.endSessions(account.id);
    await life.pass(3 * HOUR);
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'lapsed' });
    expect(sim.requests('token-refresh')).toHaveLength(1);
    const quiet = sim.requests().length;
    await life.pass(3 * DAY);
    expect(sim.requests()).toHaveLength(quiet);
    expect(await events('hytale.reauth_required')).toHaveLength(1);
    await signIn(sim, account);
    await life.until('the session lives again', async () => (await sessionRow(sessionId))?.['status'] === 'active');
    expect(sim.live(account.id)).toHaveLength(1);
    expect(await accountRow(account.id)).toMatchObject({ status: 'active' });
  });

  test('sessions that were ended in the account portal: one new session, and no loop', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    sim.endSessions(account.id);
    await life.pass(65 * MINUTE);
    expect(sim.requests('session-new')).toHaveLength(2);
    expect(sim.requests('session-refresh')).toHaveLength(1);
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'active', recreations: 1, version: 2 });
    expect(sim.live(account.id)).toHaveLength(1);
  });

  test('403 with plain text for everything: one renewal of the tokens, then somebody must sign in', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    const refused = { kind: 'answer', status: 403, body: 'invalid token', type: 'text/plain' } as const;
    sim.fault('session-refresh', refused, { times: Number.POSITIVE_INFINITY });
    sim.fault('session-new', refused, { times: Number.POSITIVE_INFINITY });
    sim.clearRequests();
    await life.pass(DAY);
    expect(sim.requests('session-new').length).toBeLessThanOrEqual(4);
    expect(sim.requests('token-refresh').length).toBeLessThanOrEqual(3);
    expect(await accountRow(account.id)).toMatchObject({ status: 'reauth_required' });
    expect(await sessionRow(sessionId)).toMatchObject({ status: 'lapsed' });
    expect(await events('hytale.reauth_required')).toHaveLength(1);
    expectNoTokenSpentTwice(sim);
  });

  test('a workflow that is started again waits until its row is due, or somebody asks', async () => {
    const sim = await life.begin();
    const account = sim.addAccount();
    await signIn(sim, account);
    const { sessionId } = await life.hytale.newSession({ accountId: account.id }, WHO);
    const handle = life.env.client.workflow.getHandle(hytaleSessionId(sessionId));
    /** Starts it as the watch does, after somebody ended it in Temporal. @returns when its row is due. */
    const startAgain = async (): Promise<number> => {
      await handle.terminate();
      const row = (await sessionsToRun(life.db, 'production')).find(({ id }) => id === sessionId);
      expect(await life.engine.start('session', sessionId, row?.dueAt ?? undefined)).toBe(true);
      return row?.dueAt?.getTime() ?? 0;
    };
    const stepsDone = async () =>
      (await handle.fetchHistory()).events?.filter((event) => event.activityTaskScheduledEventAttributes != null)
        .length;
    await startAgain();
    await life.pass(20 * MINUTE);
    expect(await stepsDone()).toBe(0);
    await life.hytale.refreshSession({ accountId: account.id, sessionId }, WHO);
    expect(sim.requests('session-refresh')).toHaveLength(1);
    const dueAt = await startAgain();
    await life.pass(dueAt - life.now() - 5 * SECOND);
    expect(sim.requests('session-refresh')).toHaveLength(1);
    await life.pass(10 * SECOND);
    expect(sim.requests('session-refresh')).toHaveLength(2);
    expect(await stepsDone()).toBe(1);
    // After twelve steps it goes on in a new run, which waits too, and knows what the run before came to.
    const steps = () => stepsDone().then((done) => done ?? 0);
    for (let n = 1; n < 12; n += 1) await life.hytale.refreshSession({ accountId: account.id, sessionId }, WHO);
    await expect.poll(steps).toBe(0);
    const view = await handle.query<HytaleView | undefined>(HYTALE_QUERY);
    expect(view).toMatchObject({ id: sessionId, status: 'active', version: 14 });
  });

  test('a server: each pair is pushed, a restart reads a fresh one, a deleted server ends its session', async () => {
    const sim = await life.begin();
    const account = sim.addAccount({ profiles: [{ username: 'Host' }] });
    await signIn(sim, account);
    const server = await addGameServer(life.panel, life.db);
    const first = await life.hytale.newSession({ accountId: account.id, serverId: server.id }, WHO);
    const pushed = async (version: number) => {
      await life.until(
        `pair ${version} is pushed`,
        async () => (await sessionRow(first.sessionId))?.['pushed_version'] === version,
      );
      return String(server.values()[SESSION_VARIABLE]);
    };
    expect(await pushed(1)).toBe(first.sessionToken.reveal());
    await life.pass(HOUR);
    expect(await pushed(2)).not.toBe(first.sessionToken.reveal());
    // The panel is away for a while: the session is renewed all the same, and pushed afterwards.
    const closed = life.panel.on('before', () => Promise.reject(new Error('the panel is away')));
    await life.pass(HOUR);
    closed();
    expect(await sessionRow(first.sessionId)).toMatchObject({ version: 3, status: 'active' });
    const third = await pushed(3);
    // The container is made again: a fresh pair is there before the server starts.
    await life.hytale.renewSession(first.sessionId, { restart: true }, WHO);
    const fresh = await pushed(4);
    expect(fresh).not.toBe(third);
    await life.until('the server is restarted', () => life.panel.powerLog.length > 0);
    expect(life.panel.powerLog.map(({ environment }) => environment[SESSION_VARIABLE])).toEqual([fresh]);
    expect(sim.requests('device')).toHaveLength(1);
    await query(life.db, 'delete from servers where id = ?', [server.id]);
    await life.pass(HOUR);
    expect(await sessionRow(first.sessionId)).toBeUndefined();
    const pair = sim.sessions(account.id).at(-1);
    expect(pair).toMatchObject({ ended: true });
  });

  test.each(['empty', 'text', 'json'] as const)(
    'the limit of sessions, with an answer that is %s: tried every ten minutes',
    async (limitBody) => {
      const sim = await life.begin({ switches: { limitBody } });
      const account = sim.addAccount({ profiles: [{ username: 'A' }, { username: 'B' }, { username: 'C' }] });
      await signIn(sim, account);
      const [a, b, c] = account.profiles.map(({ uuid }) => uuid);
      const open = (profileUuid = '', serverId?: string) =>
        life.hytale.newSession({ accountId: account.id, profileUuid, serverId }, WHO);
      const first = await open(a);
      await open(b);
      await expect(open(c)).rejects.toMatchObject({ code: 'SESSION_LIMIT_EXCEEDED' });
      const server = await addGameServer(life.panel, life.db);
      await expect(open(c, server.id)).rejects.toMatchObject({ code: 'SESSION_LIMIT_EXCEEDED' });
      sim.clearRequests();
      await life.pass(31 * MINUTE);
      const waits = intervals(sim, 'session-new').map((ms) => Math.round(ms / MINUTE));
      // How many there are depends on how far the skipped time ran on.
      expect(waits.length).toBeGreaterThanOrEqual(2);
      expect(new Set(waits)).toEqual(new Set([10]));
      // One ends: the one that waits comes at once.
      const before = sim.requests('session-new').length;
      await life.hytale.endSessionById(first.sessionId, WHO);
      await life.until('the other begins', () => sim.requests('session-new').length > before, { limitMs: 30 * SECOND });
      expect(sim.live(account.id)).toHaveLength(SESSION_LIMIT);
      expectNoTokenSpentTwice(sim);
    },
  );
});
