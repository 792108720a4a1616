/**
 * A simulated Hytale: the hosts that a game server provider calls (OAuth, account data, game sessions), on three real HTTP
 * servers, with real tokens, a clock that can be moved forward, and faults on demand. It knows no person: who signs in is
 * chosen on its verification page.
 */
import { randomInt } from 'node:crypto';
import type { Server } from 'node:http';
import type { Role } from './calls.ts';
import type { HytaleSimulator, HytaleSimulatorOptions, HytaleSwitches } from './contract.ts';
import { closeServer, createHost, listen } from './http.ts';
import { createSessionKeys } from './keys.ts';
import { createRandom } from './random.ts';
import { runningSession } from './sessions-api.ts';
import { addAccount, addFault, decide, endSessions, type HytaleState, isLive, reset, revokeConsent } from './state.ts';

export type { HytaleSimulator, HytaleSimulatorOptions } from './contract.ts';

const DEFAULT_SWITCHES: HytaleSwitches = {
  kid: true,
  audience: null,
  deniedStatus: 403,
  slowDownStatus: 400,
  graceSeconds: 0,
  reuseRevokesFamily: true,
  reuseError: 'invalid_grant',
  rotates: true,
  sliding: true,
  newSessionStatus: 201,
  endStatus: 204,
  goneStatus: 404,
  badBearerStatus: 403,
  limitBody: 'empty',
  refreshEndsEarlierPair: true,
  refreshOfExpired: false,
  refreshHasSessionToken: true,
  completeUri: true,
  sendsInterval: true,
};
/** Seconds. */
const LIVES = { deviceCode: 600, interval: 5, accessToken: 3600, refreshToken: 30 * 86_400, session: 3600 };
const ROLES: readonly Role[] = ['oauth', 'accountData', 'sessions'];

/** Starts the simulator; its three hosts listen when the promise resolves. */
export async function startHytaleSimulator(options: HytaleSimulatorOptions = {}): Promise<HytaleSimulator> {
  const clock = { movedMs: 0, now: options.now ?? Date.now };
  const random = createRandom(options.seed ?? randomInt(2 ** 32));
  const state: HytaleState = {
    random,
    keys: await createSessionKeys(() => random.uuid()),
    lives: { ...LIVES, ...options.lives },
    hosts: { oauth: '', accountData: '', sessions: '' },
    issuer: '',
    switches: { ...DEFAULT_SWITCHES, ...options.switches },
    sessionLimit: options.sessionLimit ?? 100,
    now: () => clock.now() + clock.movedMs,
    accounts: new Map(),
    logins: new Map(),
    refreshTokens: new Map(),
    accessTokens: new Map(),
    sessions: [],
    sessionTokens: new Map(),
    pairs: new Map(),
    secrets: new Set(),
    requests: [],
    counted: 0,
    faults: [],
  };
  const servers: Server[] = [];
  const close = async (): Promise<void> => void (await Promise.all(servers.map(closeServer)));
  const advance = (ms: number): void => {
    clock.movedMs += ms;
  };
  const simulator = createControls(state, advance, close);
  const host = options.host ?? '127.0.0.1';
  for (const [index, role] of ROLES.entries()) {
    const server = createHost(state, simulator, role);
    servers.push(server);
    const wanted = options.port === undefined || options.port === 0 ? 0 : options.port + index;
    try {
      state.hosts[role] = `http://${host}:${await listen(server, wanted, host)}`;
    } catch (error) {
      await close();
      throw error;
    }
  }
  state.issuer = options.issuer ?? state.hosts.sessions;
  return simulator;
}

function createControls(
  state: HytaleState,
  advance: (ms: number) => void,
  close: () => Promise<void>,
): HytaleSimulator {
  return {
    get hosts() {
      return state.hosts;
    },
    get issuer() {
      return state.issuer;
    },
    get switches() {
      return state.switches;
    },
    set switches(switches) {
      state.switches = switches;
    },
    now: state.now,
    advance,
    addAccount: (account = {}) => addAccount(state, account),
    accounts: () => [...state.accounts.values()],
    approve: (userCode, accountId) => decide(state, userCode, accountId),
    deny: (userCode) => decide(state, userCode, null),
    waiting: () =>
      [...state.logins.values()]
        .filter(({ status, expiresAt }) => status === 'waiting' && expiresAt > state.now())
        .map(({ userCode }) => userCode),
    revokeConsent: (accountId) => revokeConsent(state, accountId),
    endSessions: (accountId) => endSessions(state, accountId),
    setSessionLimit(limit) {
      state.sessionLimit = limit;
    },
    runningSession: (accountId, secondsLeft) => runningSession(state, accountId, secondsLeft),
    sessions: (accountId) => ofAccount(state.sessions, accountId),
    live: (accountId) => ofAccount(state.sessions, accountId).filter((session) => isLive(session, state.now())),
    refreshTokens: (accountId) =>
      ofAccount(
        [...state.refreshTokens.values()].map(({ facts }) => facts),
        accountId,
      ),
    rotateKeys: ({ keepOld = true } = {}) => state.keys.rotate(keepOld),
    fault: (call, fault, options = {}) => addFault(state, call, fault, options),
    clearFaults(call) {
      state.faults = call === undefined ? [] : state.faults.filter((fault) => fault.call !== call);
    },
    requests: (call) => state.requests.filter((request) => call === undefined || request.call === call),
    clearRequests() {
      state.requests.length = 0;
    },
    secrets: () => [...state.secrets],
    reset: () => reset(state),
    close,
  };
}

const ofAccount = <T extends { account: string }>(rows: readonly T[], account: string | undefined): T[] =>
  rows.filter((row) => account === undefined || row.account === account);
