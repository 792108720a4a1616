/**
 * Random crashes at every step between the commit of an email and its mark. However often they happen, each email of a
 * committed transaction is sent once, and no email of a rolled-back one.
 */
import { createHash } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { type ActivityInboundCallsInterceptor, NativeConnection, Worker } from '@temporalio/worker';
import fc from 'fast-check';
import type { Knex } from 'knex';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import type { HttpFault } from '../../../simulators/email/contract.ts';
import { type EmailCatcher, startEmailCatcher } from '../../../simulators/email/simulator.ts';
import { createEmailActivities } from '../../../src/activities/email.ts';
import { createFailureInterceptor } from '../../../src/activities/failures.ts';
import { createResendTransport } from '../../../src/clients/email/resend.ts';
import type { EmailTransport } from '../../../src/clients/email/transport.ts';
import { loadConfig } from '../../../src/config.ts';
import { Secret } from '../../../src/domain/secret.ts';
import { cacheFolder } from '../../../src/embedded/folders.ts';
import { EMAIL_DISPATCH } from '../../../src/services/email/dispatch.ts';
import { inTransaction } from '../../../src/store/db/db.ts';
import { createListener, type Listener } from '../../../src/store/db/listener.ts';
import { workflowBundle } from '../../../src/temporal/bundle.ts';
import type { TemporalGateway } from '../../../src/temporal/connection.ts';
import { type OutboxRelay, startOutboxRelay } from '../../../src/temporal/outbox-relay.ts';
import { QUEUE } from '../../../src/workflows/contract.ts';
import type { TestDb } from '../../support/database.ts';
import {
  account,
  caughtIds,
  emailsEnded,
  idOfCaught,
  message,
  outboxRows,
  plainEmails,
  recordingGateway,
  type StoredEmail,
} from '../../support/email.ts';
import { query } from '../../support/merge.ts';
import { quiet, type Stack, startStack } from '../../support/stack.ts';
import { temporalAddress } from '../../support/temporal.ts';

const HTTP_FAULTS: readonly HttpFault[] = [
  { kind: 'status', status: 429, retryAfter: 1 },
  { kind: 'status', status: 500 },
  { kind: 'hang' },
  { kind: 'reset' },
  { kind: 'accept-hang' },
  { kind: 'truncate' },
  { kind: 'html' },
];
/** Faults of the attempts of one email, in order. */
type SendFault =
  | { at: 'provider'; http: HttpFault }
  /** The process ends before the request to the provider, after the acceptance, before the mark or after it. */
  | { at: 'before-request' | 'after-acceptance' | 'before-mark' | 'after-mark' };
/** Fault of a batch of the relay, or of a start in it. */
type RelayFault = {
  at: 'before-start' | 'after-start' | 'before-commit' | 'after-commit';
  /** True: a new relay takes over. False: the same relay tries again. */
  restart: boolean;
};
interface PlannedEmail {
  committed: boolean;
  link: boolean;
  faults: SendFault[];
}
interface Plan {
  /** Emails queued before a relay runs. */
  early: PlannedEmail[];
  late: PlannedEmail[];
  relay: RelayFault[];
  /** Number of first starts that do not reach Temporal. */
  unreachable: number;
}

const sendFault: fc.Arbitrary<SendFault> = fc.oneof(
  fc.record({ at: fc.constant('provider' as const), http: fc.constantFrom(...HTTP_FAULTS) }),
  fc.record({ at: fc.constantFrom('before-request', 'after-acceptance', 'before-mark', 'after-mark') }),
);
const email: fc.Arbitrary<PlannedEmail> = fc.record({
  committed: fc.oneof({ weight: 4, arbitrary: fc.constant(true) }, fc.constant(false)),
  link: fc.boolean(),
  faults: fc.array(sendFault, { maxLength: 3 }),
});
const plans: fc.Arbitrary<Plan> = fc.record({
  early: fc.array(email, { maxLength: 4 }),
  late: fc.array(email, { maxLength: 4 }),
  relay: fc.array(
    fc.record({
      at: fc.constantFrom('before-start', 'after-start', 'before-commit', 'after-commit'),
      restart: fc.boolean(),
    }),
    { maxLength: 3 },
  ),
  unreachable: fc.nat({ max: 2 }),
});

declare module 'vitest' {
  interface ProvidedContext {
    /** Number of random plans of crashes. */
    crashPlans: number;
  }
}

const RUNS = inject('crashPlans');
/** Time limit of the property in milliseconds; it ends without the remaining runs. */
const BUDGET = RUNS * 9_000;
/** Milliseconds between attempts, in place of those of the policy and the provider. */
const SOON = 20;

let catcher: EmailCatcher;
let stack: Stack;
let provider: EmailTransport;
let connection: NativeConnection;
let workers: Worker[];
let running: Promise<unknown>;
let listener: Listener;
/** Faults to come, by email. */
let faults: Map<string, SendFault[]>;
let relayFaults: RelayFault[];
let unreachable: number;
/** Number of faults of each kind that happened, over all runs: a plan that is never carried out proves nothing. */
const met = new Map<string, number>();

const note = (name: string) => met.set(name, (met.get(name) ?? 0) + 1);
const lost = () => Object.assign(new Error('the connection was lost'), { code: 'ECONNRESET' });

/** Takes the next fault of an email if it is at this point. */
function meets(emailId: string, at: SendFault['at']): SendFault | undefined {
  const next = faults.get(emailId)?.[0];
  if (next?.at !== at) return undefined;
  note(next.at === 'provider' ? `provider ${next.http.kind}` : at);
  return faults.get(emailId)?.shift();
}

/** The real transport. To the activity, a fault before or after it looks like the end of its process. */
const crashing: EmailTransport = {
  name: 'resend',
  keyLifetimeMs: 60_000,
  check: async () => '',
  async send(outgoing, options) {
    if (meets(outgoing.id, 'before-request') !== undefined) throw lost();
    const fault = meets(outgoing.id, 'provider');
    if (fault?.at === 'provider') catcher.fault(fault.http);
    const sent = await provider.send(outgoing, options);
    if (meets(outgoing.id, 'after-acceptance') !== undefined) throw lost();
    return sent;
  },
  close: async () => undefined,
};

/** The real pool, which loses its connection around the mark of an email. */
function crashingMarks(db: TestDb): TestDb {
  return new Proxy(db, {
    get(target, key) {
      const own: unknown = Reflect.get(target, key);
      if (key !== 'raw') return own;
      return async (sql: string, bindings: readonly unknown[] = []) => {
        const marks = sql.startsWith(`update emails set status = 'sent'`);
        const id = String(bindings.at(-1));
        if (marks && meets(id, 'before-mark') !== undefined) throw lost();
        const result: unknown = await target.raw(sql, [...bindings] as Knex.RawBinding[]);
        if (marks && meets(id, 'after-mark') !== undefined) throw lost();
        return result;
      };
    },
  });
}

/** Lets attempts follow at once, so that many crashes fit into a test. */
const hurry = (): { inbound: ActivityInboundCallsInterceptor } => ({
  inbound: {
    async execute(input, next) {
      try {
        return await next(input);
      } catch (error) {
        if (!(error instanceof ApplicationFailure) || error.nonRetryable === true) throw error;
        throw ApplicationFailure.create({ type: error.type ?? '', message: error.message, nextRetryDelay: SOON });
      }
    },
  },
});

beforeAll(async () => {
  catcher = await startEmailCatcher({ requestsPerSecond: 1000 });
  provider = createResendTransport({ baseUrl: catcher.url, apiKey: new Secret(catcher.apiKey), timeoutMs: 400 });
  const tiny = { locations: 1, nodes: 1, allocations: 1, nests: 1, eggs: 1, users: 1, servers: 1, databases: 0 };
  stack = await startStack({ panel: { ...tiny, subusers: 0 }, workers: false });
  connection = await NativeConnection.connect({ address: temporalAddress() });
  const { email: config } = loadConfig({});
  const activities = createEmailActivities({
    db: crashingMarks(stack.database.db),
    emails: plainEmails,
    transport: async () => crashing,
    settings: async () => ({ email: { ...config, notifications: true } }),
    paths: config.paths,
  });
  const codePath = await workflowBundle(cacheFolder(process.env['CACHE_DIR'] || undefined));
  const options = {
    connection,
    namespace: stack.namespace,
    activities,
    // The first interceptor is the outermost: it sees the error as the product's interceptor converted it.
    interceptors: { activity: [hurry, createFailureInterceptor({ log: quiet, report: () => undefined })] },
    shutdownForceTime: '5s',
  };
  workers = await Promise.all([
    Worker.create({ ...options, taskQueue: QUEUE.core, workflowBundle: { codePath } }),
    Worker.create({ ...options, taskQueue: QUEUE.outbound, maxConcurrentActivityTaskExecutions: 8 }),
  ]);
  running = Promise.all(workers.map((w) => w.run()));
  listener = createListener({ connectionString: stack.database.url, log: quiet });
});
afterAll(async () => {
  await listener?.close();
  for (const worker of workers ?? []) worker.shutdown();
  await running;
  await connection?.close();
  await stack?.stop();
  await provider?.close();
  await catcher?.close();
});

/** Relays that crash as planned. A relay that is replaced ends while the next one starts. */
function superviseRelay(): { close: () => Promise<void> } {
  const { db } = stack.database;
  let current: OutboxRelay | undefined;
  let replacing: Promise<void> = Promise.resolve();
  let closed = false;
  const crash = (fault: RelayFault): never => {
    relayFaults.shift();
    note(`${fault.at}${fault.restart ? ', replaced' : ''}`);
    if (fault.restart) replacing = replacing.then(replace);
    throw Object.assign(lost(), { code: 14 });
  };
  const at = (point: RelayFault['at']): void => {
    const fault = relayFaults[0];
    if (fault?.at === point) crash(fault);
  };
  // The transaction of a batch: an error inside rolls the marks back, an error after it loses only the answer to the commit.
  const relayDb = new Proxy(db, {
    get(target, key) {
      if (key !== 'transaction') return Reflect.get(target, key);
      return async (work: (trx: Knex.Transaction) => Promise<unknown>) => {
        const outcome = await target.transaction(async (trx) => {
          const result = await work(trx);
          at('before-commit');
          return result;
        });
        at('after-commit');
        return outcome;
      };
    },
  });
  const { gateway } = recordingGateway(stack.gateway, {
    before() {
      if (unreachable > 0) {
        unreachable -= 1;
        note('unreachable');
        throw Object.assign(new Error('unreachable'), { code: 14 });
      }
      at('before-start');
    },
    after: () => at('after-start'),
  });
  const start = (temporal: TemporalGateway) =>
    startOutboxRelay({ db: relayDb, listener, temporal, log: quiet, pollMs: 1_000, dispatch: EMAIL_DISPATCH });
  async function replace(): Promise<void> {
    const old = current;
    await old?.close();
    if (!closed) current = start(gateway);
  }
  current = start(gateway);
  return {
    async close() {
      closed = true;
      await replacing;
      await current?.close();
    },
  };
}

/** Queues one email as planned, in a transaction of its own. @returns its id if the transaction was committed. */
async function queue(planned: PlannedEmail, to: string): Promise<string | undefined> {
  const { db } = stack.database;
  if (planned.link) await account(db, to);
  const undone = new Error('undone');
  try {
    return await inTransaction(db, async (trx) => {
      const id = await plainEmails.queue(trx, planned.link ? { template: 'password-reset', to } : message(to));
      faults.set(id, [...planned.faults]);
      if (!planned.committed) throw undone;
      return id;
    });
  } catch (error) {
    if (error !== undone) throw error;
    return undefined;
  }
}

/** Expects that the link of each email contains the account's present token. */
async function expectLinks(emails: readonly StoredEmail[]): Promise<void> {
  const issued = await query(stack.database.db, 'select v.identifier as "user", v.token from verification_tokens v');
  const linked = emails.filter((m) => m.template === 'password-reset');
  const caught = linked.map(({ id, userId }) => {
    const text = catcher.emails().find((m) => idOfCaught(m) === id)?.text ?? '';
    const token = /token=([0-9a-f]{64})/.exec(text)?.[1] ?? '';
    return { user: userId, token: createHash('sha256').update(token).digest('hex') };
  });
  const byUser = (rows: readonly object[]) => rows.map((row) => JSON.stringify(row)).sort();
  expect(byUser(caught)).toEqual(byUser(issued));
}

async function carryOut(plan: Plan): Promise<void> {
  const { db } = stack.database;
  await query(db, 'truncate emails, outbox, users, verification_tokens cascade');
  catcher.clear();
  faults = new Map();
  relayFaults = [...plan.relay];
  unreachable = plan.unreachable;
  const committed: string[] = [];
  const queueAll = async (emails: readonly PlannedEmail[], name: string) => {
    for (const [i, planned] of emails.entries()) {
      const id = await queue(planned, `${name}-${i}@crash.example`);
      if (id !== undefined) committed.push(id);
    }
  };
  await queueAll(plan.early, 'early');
  const relay = superviseRelay();
  try {
    await queueAll(plan.late, 'late');
    const emails = await emailsEnded(db, 30_000);
    expect(emails.map((m) => m.id).sort()).toEqual(committed.toSorted());
    expect(emails.map((m) => [m.status, m.data])).toEqual(emails.map(() => ['sent', null]));
    await expect
      .poll(async () => (await outboxRows(db)).map((o) => o['status']), { timeout: 20_000 })
      .toEqual(committed.map(() => 'dispatched'));
    expect(caughtIds(catcher)).toEqual(committed.toSorted());
    await expectLinks(emails);
  } finally {
    await relay.close();
  }
}

test('each committed email is sent once despite crashes', async () => {
  await fc.assert(fc.asyncProperty(plans, carryOut), {
    numRuns: RUNS,
    interruptAfterTimeLimit: BUDGET,
    markInterruptAsFailure: false,
    endOnFailure: true,
  });
});

test('a run meets each point at which a crash is planned', async () => {
  const all: Plan = {
    early: [
      ...HTTP_FAULTS.map((http) => ({ committed: true, link: true, faults: [{ at: 'provider' as const, http }] })),
      ...(['before-request', 'after-acceptance', 'before-mark', 'after-mark'] as const).map((at) => ({
        committed: true,
        link: true,
        faults: [{ at }],
      })),
    ],
    late: [{ committed: false, link: false, faults: [] }],
    relay: (['before-start', 'after-start', 'before-commit', 'after-commit'] as const).flatMap((at) => [
      { at, restart: true },
    ]),
    unreachable: 1,
  };
  met.clear();
  await carryOut(all);
  expect([...met.keys()].sort()).toEqual(
    [
      'unreachable',
      ...['before-start', 'after-start', 'before-commit', 'after-commit'].map((at) => `${at}, replaced`),
      ...new Set(HTTP_FAULTS.map((http) => `provider ${http.kind}`)),
      'before-request',
      'after-acceptance',
      'before-mark',
      'after-mark',
    ].sort(),
  );
});
