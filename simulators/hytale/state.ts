/** The state of a simulator: accounts, logins, tokens, sessions, requests, faults to come. */
import { createHash } from 'node:crypto';
import type { ApiAnswer } from './answer.ts';
import type {
  HytaleCall,
  HytaleFault,
  HytaleRequest,
  HytaleSimulatorOptions,
  HytaleSwitches,
  RefreshTokenFacts,
  SimulatedAccount,
  SimulatedSession,
} from './contract.ts';
import type { SessionKeys } from './keys.ts';
import type { Random } from './random.ts';

/** Maximum number of requests in the log; older ones are dropped. */
const MAX_KEPT = 100_000;

/** A login by device code. Times are Unix milliseconds. */
export interface Login {
  readonly deviceCode: string;
  readonly userCode: string;
  readonly scope: string;
  readonly createdAt: number;
  readonly expiresAt: number;
  intervalSeconds: number;
  /** The last poll; the first one is counted from the creation. */
  lastPollAt: number;
  status: 'waiting' | 'approved' | 'denied' | 'redeemed';
  account: string | null;
  /** The tokens it was redeemed for. */
  family: Family | null;
}

/** All tokens of one login: they are revoked together (RFC 6749, 10.4; RFC 9700, 4.14.2). */
export interface Family {
  readonly account: string;
  readonly scope: string;
  revoked: boolean;
}

export interface RefreshToken {
  readonly family: Family;
  readonly expiresAt: number;
  readonly facts: RefreshTokenFacts;
  spentAt: number | null;
  /** What its first spending was answered, for a grace period. */
  successor: Promise<ApiAnswer> | null;
}

export interface AccessToken {
  readonly family: Family;
  readonly expiresAt: number;
}

export interface SessionToken {
  readonly session: SimulatedSession;
  readonly expiresAt: number;
  /** Whether a refresh replaced it, or its signature was spoiled. */
  void: boolean;
}

interface PendingFault {
  call: HytaleCall;
  fault: HytaleFault;
  left: number;
  /** Unix milliseconds. */
  endsAt: number;
  account: string | undefined;
}

/** What the handlers of one simulator share. */
export interface HytaleState {
  readonly random: Random;
  readonly keys: SessionKeys;
  readonly lives: Required<NonNullable<HytaleSimulatorOptions['lives']>>;
  /** Set once the servers listen. */
  hosts: { oauth: string; accountData: string; sessions: string };
  issuer: string;
  switches: HytaleSwitches;
  sessionLimit: number;
  now(): number;
  readonly accounts: Map<string, SimulatedAccount>;
  readonly logins: Map<string, Login>;
  readonly refreshTokens: Map<string, RefreshToken>;
  readonly accessTokens: Map<string, AccessToken>;
  readonly sessions: SimulatedSession[];
  readonly sessionTokens: Map<string, SessionToken>;
  /** The tokens of a session that are not void, by its id. */
  readonly pairs: Map<string, SessionToken[]>;
  /** Every token and code that was given out. */
  readonly secrets: Set<string>;
  readonly requests: HytaleRequest[];
  counted: number;
  faults: PendingFault[];
}

export const digest = (secret: string): string => createHash('sha256').update(secret).digest('hex');

export const isLive = (session: SimulatedSession, now: number): boolean => !session.ended && session.expiresAt > now;

/** The login of a user code that waits for a person. User codes are compared as they are, with their case. */
export function waitingLogin(state: HytaleState, userCode: string): Login | undefined {
  const now = state.now();
  return [...state.logins.values()].find(
    (login) => login.userCode === userCode && login.status === 'waiting' && login.expiresAt > now,
  );
}

/** What the person decides about a user code. @throws when it does not wait for a person. */
export function decide(state: HytaleState, userCode: string, accountId: string | null): void {
  const login = waitingLogin(state, userCode);
  if (login === undefined) throw new Error(`the user code ${userCode} is unknown, expired or used`);
  if (accountId !== null && !state.accounts.has(accountId)) throw new Error(`there is no account ${accountId}`);
  login.account = accountId;
  login.status = accountId === null ? 'denied' : 'approved';
}

export function addAccount(
  state: HytaleState,
  given: { id?: string; name?: string; profiles?: { uuid?: string; username: string }[] },
): SimulatedAccount {
  const name = given.name ?? `Account ${state.accounts.size + 1}`;
  const profiles = given.profiles ?? [{ username: name.replaceAll(/\W/g, '_') }];
  const account: SimulatedAccount = {
    id: given.id ?? state.random.uuid(),
    name,
    profiles: profiles.map(({ uuid = state.random.uuid(), username }) => ({ uuid, username })),
    unlimited: false,
  };
  state.accounts.set(account.id, account);
  return account;
}

/** All tokens of the account die; its sessions live on. */
export function revokeConsent(state: HytaleState, accountId: string): void {
  for (const { family } of [...state.refreshTokens.values(), ...state.accessTokens.values()]) {
    if (family.account === accountId) family.revoked = true;
  }
}

export function endSessions(state: HytaleState, accountId: string): void {
  for (const session of state.sessions) if (session.account === accountId) session.ended = true;
}

export function logRequest(
  state: HytaleState,
  request: Pick<HytaleRequest, 'call' | 'method' | 'path' | 'userAgent' | 'credential' | 'account'>,
): HytaleRequest {
  state.counted += 1;
  const entry: HytaleRequest = {
    n: state.counted,
    at: state.now(),
    realAt: Date.now(),
    ...request,
    status: 0,
    done: false,
    error: null,
  };
  state.requests.push(entry);
  if (state.requests.length > MAX_KEPT) state.requests.shift();
  return entry;
}

/** Adds a fault to those to come. */
export function addFault(
  state: HytaleState,
  call: HytaleCall,
  fault: HytaleFault,
  { times, forMs, account }: { times?: number; forMs?: number; account?: string },
): void {
  const left = times ?? (forMs === undefined ? 1 : Number.POSITIVE_INFINITY);
  const endsAt = state.now() + (forMs ?? Number.POSITIVE_INFINITY);
  state.faults.push({ call, fault, left, endsAt, account });
}

/** Takes the fault of a request. */
export function takeFault(state: HytaleState, call: HytaleCall, account: string | null): HytaleFault | undefined {
  const now = state.now();
  state.faults = state.faults.filter(({ endsAt }) => endsAt > now);
  const found = state.faults.find(
    (fault) => fault.call === call && (fault.account === undefined || fault.account === account),
  );
  if (found === undefined) return undefined;
  found.left -= 1;
  if (found.left <= 0) state.faults = state.faults.filter((other) => other !== found);
  return found.fault;
}

/** Forgets logins, tokens, sessions, requests and faults. Accounts, keys, switches and the clock stay. */
export function reset(state: HytaleState): void {
  for (const map of [state.logins, state.refreshTokens, state.accessTokens, state.sessionTokens, state.pairs])
    map.clear();
  state.sessions.length = 0;
  state.requests.length = 0;
  state.secrets.clear();
  state.faults = [];
}
