/**
 * `/__sim/*`: JSON calls by which another process controls a running simulator. A fault is a fault of the contract with
 * `call`, `times` (a number or `forever`), `forMs` and `account` beside its fields; one or an array.
 */
import { z } from 'zod';
import type { ApiAnswer } from './answer.ts';
import type { HytaleCall, HytaleSimulator, HytaleSwitches } from './contract.ts';

const CALLS = [
  'device',
  'token-device',
  'token-refresh',
  'profiles',
  'session-new',
  'session-refresh',
  'session-end',
  'jwks',
] as const satisfies readonly HytaleCall[];
const CallSchema = z.enum(CALLS);

const ProfilesSchema = z.array(z.object({ uuid: z.uuid().optional(), username: z.string() }));
const AccountSchema = z.object({
  id: z.uuid().optional(),
  name: z.string().optional(),
  profiles: ProfilesSchema.optional(),
});
const ChangeSchema = z.object({ id: z.string(), unlimited: z.boolean() });
const OneAccountSchema = z.object({ account: z.string() });
/** Without a user code: the one that waits longest. Without an account: the first. */
const DecisionSchema = z.object({ userCode: z.string().optional(), account: z.string().optional() });

const SwitchesSchema = z.strictObject({
  kid: z.boolean(),
  audience: z.union([z.string(), z.array(z.string()), z.null()]),
  deniedStatus: z.literal([400, 403]),
  slowDownStatus: z.literal([400, 429]),
  graceSeconds: z.number().nonnegative(),
  reuseRevokesFamily: z.boolean(),
  reuseError: z.enum(['invalid_grant', 'token_inactive']),
  rotates: z.boolean(),
  sliding: z.boolean(),
  newSessionStatus: z.literal([200, 201]),
  endStatus: z.literal([200, 204]),
  goneStatus: z.literal([401, 403, 404]),
  badBearerStatus: z.literal([401, 403]),
  limitBody: z.enum(['empty', 'text', 'json']),
  refreshEndsEarlierPair: z.boolean(),
  refreshOfExpired: z.boolean(),
  refreshHasSessionToken: z.boolean(),
  completeUri: z.boolean(),
  sendsInterval: z.boolean(),
} satisfies Record<keyof HytaleSwitches, z.ZodType>);

const target = {
  call: CallSchema,
  times: z.union([z.int().positive(), z.literal('forever').transform(() => Number.POSITIVE_INFINITY)]).optional(),
  forMs: z.number().positive().optional(),
  account: z.string().optional(),
};
const status = z.int().min(200).max(599);
const FaultSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('limited'),
    retryAfter: z.number().nullable(),
    date: z.boolean().optional(),
    ...target,
  }),
  z.object({ kind: z.literal('status'), status, html: z.boolean().optional(), ...target }),
  z.object({ kind: z.literal('answer'), status, body: z.string(), type: z.string().optional(), ...target }),
  z.object({ kind: z.enum(['cut', 'hang', 'done-cut', 'done-hang', 'done-half']), ...target }),
  z.object({ kind: z.literal('slow'), ms: z.number().nonnegative(), ...target }),
  z.object({ kind: z.literal('without'), fields: z.array(z.string()), ...target }),
  z.object({ kind: z.literal('with'), fields: z.record(z.string(), z.unknown()), ...target }),
  z.object({
    kind: z.literal('spoiled'),
    how: z.enum(['issuer', 'expired', 'future', 'no-exp', 'none', 'tampered', 'subject', 'scope']),
    ...target,
  }),
]);
const FaultsSchema = z.union([z.array(FaultSchema), FaultSchema.transform((one) => [one])]);

/** Answers one call. */
export async function handleAdmin(
  simulator: HytaleSimulator,
  method: string,
  url: URL,
  body: string,
): Promise<ApiAnswer> {
  try {
    const given: unknown = body === '' ? {} : JSON.parse(body);
    const call = `${method} ${url.pathname.slice('/__sim/'.length)}`;
    const json = read(simulator, call, url.searchParams) ?? (await control(simulator, call, given));
    return json === undefined ? { status: 404, json: { error: 'unknown call' } } : { status: 200, json };
  } catch (error) {
    return { status: 400, json: { error: error instanceof Error ? error.message : String(error) } };
  }
}

function read(simulator: HytaleSimulator, call: string, query: URLSearchParams): Record<string, unknown> | undefined {
  switch (call) {
    case 'GET state':
      return {
        now: new Date(simulator.now()).toISOString(),
        hosts: simulator.hosts,
        issuer: simulator.issuer,
        switches: simulator.switches,
        accounts: simulator.accounts(),
        waiting: simulator.waiting(),
        sessions: simulator.sessions(),
        live: simulator.live().length,
        refreshTokens: simulator.refreshTokens(),
      };
    case 'GET requests': {
      const wanted = query.get('call');
      return { requests: simulator.requests(wanted === null ? undefined : CallSchema.parse(wanted)) };
    }
    default:
      return undefined;
  }
}

/** @returns what the call answers; undefined: there is no such call. */
async function control(
  simulator: HytaleSimulator,
  call: string,
  given: unknown,
): Promise<Record<string, unknown> | undefined> {
  switch (call) {
    case 'POST accounts':
      return { ...simulator.addAccount(present(AccountSchema.parse(given))) };
    case 'PATCH accounts': {
      const { id, unlimited } = ChangeSchema.parse(given);
      const account = accountOf(simulator, id);
      account.unlimited = unlimited;
      return { ...account };
    }
    case 'POST approve':
    case 'POST deny':
      return decide(simulator, call === 'POST approve', DecisionSchema.parse(given));
    case 'POST revoke-consent':
      simulator.revokeConsent(accountOf(simulator, OneAccountSchema.parse(given).account).id);
      return {};
    case 'POST end-sessions':
      simulator.endSessions(accountOf(simulator, OneAccountSchema.parse(given).account).id);
      return {};
    case 'POST session-limit':
      simulator.setSessionLimit(z.object({ limit: z.int().nonnegative() }).parse(given).limit);
      return {};
    case 'POST clock/advance':
      simulator.advance(z.object({ ms: z.number().nonnegative() }).parse(given).ms);
      return { now: new Date(simulator.now()).toISOString() };
    case 'POST rotate-keys':
      await simulator.rotateKeys(z.object({ keepOld: z.boolean().default(true) }).parse(given));
      return {};
    case 'POST switches':
      simulator.switches = { ...simulator.switches, ...present(SwitchesSchema.partial().parse(given)) };
      return { ...simulator.switches };
    default:
      return forget(simulator, call, given);
  }
}

function forget(simulator: HytaleSimulator, call: string, given: unknown): Record<string, unknown> | undefined {
  switch (call) {
    case 'POST faults':
      for (const { call: of, times, forMs, account, ...fault } of FaultsSchema.parse(given)) {
        simulator.fault(of, fault, present({ times, forMs, account }));
      }
      return {};
    case 'DELETE faults':
      simulator.clearFaults();
      return {};
    case 'DELETE requests':
      simulator.clearRequests();
      return {};
    case 'POST reset':
      simulator.reset();
      return {};
    default:
      return undefined;
  }
}

function decide(
  simulator: HytaleSimulator,
  approved: boolean,
  { userCode = simulator.waiting()[0], account = simulator.accounts()[0]?.id }: z.infer<typeof DecisionSchema>,
): Record<string, unknown> {
  if (userCode === undefined) throw new Error('no user code waits for a person');
  if (!approved) {
    simulator.deny(userCode);
    return { userCode };
  }
  if (account === undefined) throw new Error('there is no account');
  simulator.approve(userCode, account);
  return { userCode, account };
}

function accountOf(simulator: HytaleSimulator, id: string) {
  const account = simulator.accounts().find((one) => one.id === id);
  if (account === undefined) throw new Error(`there is no account ${id}`);
  return account;
}

/** Without the keys that have no value, at every depth: what is not given stays as it is. */
function present<T>(value: T): Given<T>;
function present(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(present);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
  return Object.fromEntries(entries.map(([key, entry]) => [key, present(entry)]));
}
type Given<T> = T extends readonly (infer E)[]
  ? Given<E>[]
  : T extends object
    ? { [K in keyof T]: Given<Exclude<T[K], undefined>> }
    : T;
