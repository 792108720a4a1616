/**
 * A simulated Hytale: the hosts that a game server provider calls (OAuth, account data, game sessions), on three real HTTP
 * servers, with real tokens, a clock that can be moved forward, and faults on demand. It knows no person: who signs in is
 * chosen on its verification page.
 */
import { randomInt } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { ApiAnswer } from './answer.ts';
import { type Arrived, answerCall, type Outcome, type Role } from './calls.ts';
import type { HytaleSimulator, HytaleSimulatorOptions, HytaleSwitches } from './contract.ts';
import { createSessionKeys } from './keys.ts';
import { createRandom } from './random.ts';
import { addAccount, decide, endSessions, type HytaleState, isLive, reset, revokeConsent } from './state.ts';

export type { HytaleSimulator, HytaleSimulatorOptions } from './contract.ts';

const DEFAULT_SWITCHES: HytaleSwitches = {
  kid: true,
  audience: null,
  deniedStatus: 403,
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
const MAX_BODY_BYTES = 64 * 1024;

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
    const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
      handle(state, role, request, response).catch(() => {
        if (response.headersSent || response.destroyed) return;
        write(state, response, { status: 500, text: { type: 'text/plain', body: 'internal server error' } }, 'whole');
      });
    });
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
    sessions: (accountId) => ofAccount(state.sessions, accountId),
    live: (accountId) => ofAccount(state.sessions, accountId).filter((session) => isLive(session, state.now())),
    refreshTokens: (accountId) =>
      ofAccount(
        [...state.refreshTokens.values()].map(({ facts }) => facts),
        accountId,
      ),
    rotateKeys: ({ keepOld = true } = {}) => state.keys.rotate(keepOld),
    fault: (call, fault, { times = 1, account } = {}) => void state.faults.push({ call, fault, left: times, account }),
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

/** @returns the port. */
async function listen(server: Server, port: number, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const closeServer = (server: Server): Promise<void> =>
  new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });

async function handle(
  state: HytaleState,
  role: Role,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', state.hosts[role]);
  const body = await readBody(request);
  if (body === undefined) {
    write(state, response, { status: 413, text: { type: 'text/plain', body: 'body too large' } }, 'whole');
    return;
  }
  const { authorization, 'content-type': contentType = '', 'user-agent': userAgent = null } = request.headers;
  const arrived: Arrived = {
    role,
    method: request.method ?? 'GET',
    path: url.pathname,
    userAgent,
    authorization,
    contentType,
    body,
  };
  await finish(state, request, response, await answerCall(state, arrived));
}

/** Sends what became of a request, and notes in the log and in the book of refresh tokens what left. */
async function finish(
  state: HytaleState,
  request: IncomingMessage,
  response: ServerResponse,
  { answer, ending, waitMs, entry, spent }: Outcome,
): Promise<void> {
  entry.error = answer.error ?? entry.error;
  if (waitMs > 0) await delay(waitMs, undefined, { ref: false });
  if (ending === 'cut') request.socket.resetAndDestroy();
  else if (ending !== 'silence' && !response.destroyed) {
    entry.status = answer.status;
    if (ending === 'whole' && spent !== undefined) {
      response.once('finish', () => {
        spent.facts.answered = true;
      });
    }
    write(state, response, answer, ending);
  }
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) continue;
    size += chunk.length;
    if (size > MAX_BODY_BYTES) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Writes an answer: whole, or half of its body and then the end of the connection. */
function write(
  state: HytaleState,
  response: ServerResponse,
  { status, headers = {}, json, text }: ApiAnswer,
  ending: 'whole' | 'half',
): void {
  const bytes = Buffer.from(json === undefined ? (text?.body ?? '') : JSON.stringify(json), 'utf8');
  const type = json === undefined ? text?.type : 'application/json';
  response.writeHead(status, {
    ...(type === undefined ? {} : { 'content-type': type }),
    ...(status === 204 ? {} : { 'content-length': bytes.length }),
    date: new Date(state.now()).toUTCString(),
    ...headers,
  });
  if (ending === 'half') response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy());
  else response.end(bytes);
}
