/** One request to a host: which call it is, its fault, its answer, and its line in the log. */
import { type ApiAnswer, textError } from './answer.ts';
import type { HytaleCall, HytaleFault, HytaleRequest } from './contract.ts';
import { afterwards, type Ending, insteadOf, isInstead } from './faults.ts';
import { authorizeDevice, exchange, isDevicePoll, type OauthRequest, readOauth } from './oauth-api.ts';
import { bearerOf, endSession, getProfiles, newSession, refreshSession } from './sessions-api.ts';
import { digest, type HytaleState, logRequest, type RefreshToken, takeFault } from './state.ts';

export type Role = 'oauth' | 'accountData' | 'sessions';

/** A request, read to its end. */
export interface Arrived {
  role: Role;
  method: string;
  path: string;
  userAgent: string | null;
  authorization: string | undefined;
  contentType: string;
  body: string;
}

/** What becomes of a request. */
export interface Outcome {
  answer: ApiAnswer;
  ending: Ending;
  waitMs: number;
  entry: HytaleRequest;
  /** The refresh token that it spent for the first time: its book notes whether the answer arrived. */
  spent: RefreshToken | undefined;
}

const ROUTES: Readonly<Record<Role, Readonly<Record<string, HytaleCall>>>> = {
  // The token call is `token-device` when its body says so.
  oauth: { 'POST /oauth2/device/auth': 'device', 'POST /oauth2/token': 'token-refresh' },
  accountData: { 'GET /my-account/get-profiles': 'profiles' },
  sessions: {
    'POST /game-session/new': 'session-new',
    'POST /game-session/refresh': 'session-refresh',
    'DELETE /game-session': 'session-end',
    'GET /.well-known/jwks.json': 'jwks',
  },
};

/** A call with what it presents: the body of an OAuth call, or the bearer. */
interface Presented {
  call: HytaleCall;
  oauth: OauthRequest | undefined;
  secret: string | null;
  account: string | null;
}

function present(state: HytaleState, request: Arrived): Presented | undefined {
  const { role, method, path, authorization, contentType, body } = request;
  const route = ROUTES[role][`${method} ${path}`];
  if (route === undefined) return undefined;
  if (role !== 'oauth') {
    const secret = bearerOf(authorization);
    return { call: route, oauth: undefined, secret, account: bearerAccount(state, secret) };
  }
  const oauth = readOauth(contentType, authorization, body);
  const form = 'form' in oauth ? oauth.form : new URLSearchParams(body);
  if (route === 'device') return { call: route, oauth, secret: null, account: null };
  if (isDevicePoll(form)) {
    const secret = form.get('device_code');
    return { call: 'token-device', oauth, secret, account: state.logins.get(secret ?? '')?.account ?? null };
  }
  const secret = form.get('refresh_token');
  return { call: route, oauth, secret, account: state.refreshTokens.get(secret ?? '')?.family.account ?? null };
}

const bearerAccount = (state: HytaleState, bearer: string | null): string | null =>
  state.accessTokens.get(bearer ?? '')?.family.account ??
  state.sessionTokens.get(bearer ?? '')?.session.account ??
  null;

/** Answers one request. */
export async function answerCall(state: HytaleState, request: Arrived): Promise<Outcome> {
  const { method, path, userAgent } = request;
  const presented = present(state, request);
  const { call = null, secret = null, account = null } = presented ?? {};
  const credential = secret === null ? null : digest(secret);
  const entry = logRequest(state, { call, method, path, userAgent, credential, account });
  if (presented === undefined) {
    const answer = textError(404, '404 page not found');
    return { answer, ending: 'whole', waitMs: 0, entry, spent: undefined };
  }
  const fault = takeFault(state, presented.call, account);
  if (fault !== undefined && isInstead(fault)) {
    return { ...insteadOf(state, fault, request.role === 'oauth'), waitMs: 0, entry, spent: undefined };
  }
  const token = presented.call === 'token-refresh' ? state.refreshTokens.get(secret ?? '') : undefined;
  const before = token?.facts.spent;
  const answer = await carryOut(state, presented, request, fault);
  entry.done = answer.status < 400;
  entry.error = answer.error ?? null;
  return {
    ...afterwards(answer, fault),
    waitMs: fault?.kind === 'slow' ? fault.ms : 0,
    entry,
    spent: before === 0 && token?.facts.spent === 1 ? token : undefined,
  };
}

async function carryOut(
  state: HytaleState,
  { call, oauth, secret }: Presented,
  request: Arrived,
  fault: HytaleFault | undefined,
): Promise<ApiAnswer> {
  if (oauth !== undefined) {
    if ('refused' in oauth) return oauth.refused;
    return call === 'device' ? authorizeDevice(state, oauth.form) : exchange(state, oauth.form);
  }
  const spoiling = fault?.kind === 'spoiled' ? fault.how : undefined;
  switch (call) {
    case 'profiles':
      return getProfiles(state, secret);
    case 'session-new':
      return newSession(state, secret, request, spoiling);
    case 'session-refresh':
      return refreshSession(state, secret, spoiling);
    case 'session-end':
      return endSession(state, secret);
    default:
      return { status: 200, json: { keys: state.keys.published() } };
  }
}
