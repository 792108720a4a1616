/** The workflows of Hytale, for those who start, wake and ask them. Each call has a deadline. */
import {
  WithStartWorkflowOperation,
  type Workflow,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import {
  ACT_UPDATE,
  type AccountWish,
  CHANGED_SIGNAL,
  CODE_UPDATE,
  type HytaleEntityInput,
  type HytaleView,
  hytaleAccountId,
  hytaleLoginId,
  hytaleSessionId,
  nextRun,
  QUEUE,
  type SessionWish,
} from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';

export type HytaleKind = 'login' | 'account' | 'session';

/** An update was refused by the state of its workflow. */
export interface RefusedWish {
  refused: string;
}

/** All calls throw errors of the Temporal client when it does not answer in time. */
export interface HytaleEngine {
  /** Starts the workflow of a row. @param dueAt of its first step; undefined: at once. @returns false if it runs. */
  start(kind: HytaleKind, id: string, dueAt?: Date): Promise<boolean>;
  wake: { account(accountId: string): Promise<void>; session(sessionId: string): Promise<void> };
  /** Starts a login, and waits for its code. */
  code(loginId: string, timeoutMs: number): Promise<HytaleView>;
  /** Lets an account or a session act, and waits for the outcome. Starts it if it does not run. */
  act(kind: 'account', id: string, wish: AccountWish, timeoutMs: number): Promise<HytaleView | RefusedWish>;
  act(kind: 'session', id: string, wish: SessionWish, timeoutMs: number): Promise<HytaleView | RefusedWish>;
  /** Ids of the workflows that run, some moments old. */
  running(): Promise<ReadonlySet<string>>;
}

type Gateway = Pick<TemporalGateway, 'client' | 'within'>;

const CALL_MS = 5_000;
const LIST_MS = 60_000;
const LISTED_AT_ONCE = 1_000;

const KINDS = {
  login: { type: 'hytaleLogin', id: hytaleLoginId, key: 'loginId', summary: 'Sign-in of a Hytale account' },
  account: { type: 'hytaleAccount', id: hytaleAccountId, key: 'accountId', summary: 'Hytale account' },
  session: { type: 'hytaleSession', id: hytaleSessionId, key: 'sessionId', summary: 'Hytale game session' },
} as const;

const optionsOf = (kind: HytaleKind, id: string, input: HytaleEntityInput = {}) => ({
  workflowId: KINDS[kind].id(id),
  taskQueue: QUEUE.core,
  args: [{ [KINDS[kind].key]: id, ...(kind === 'login' ? {} : { ...nextRun(), ...input }) }],
  staticSummary: `${KINDS[kind].summary} ${id}`,
});

/** Makes the calls over a gateway. */
export function createHytaleEngine(temporal: Gateway): HytaleEngine {
  const { client } = temporal;
  const wake = (kind: 'account' | 'session', id: string): Promise<void> =>
    temporal.within(CALL_MS, async () => {
      await client.workflow.signalWithStart(KINDS[kind].type, { ...optionsOf(kind, id), signal: CHANGED_SIGNAL });
    });
  const update = async (
    kind: HytaleKind,
    id: string,
    name: string,
    args: unknown[],
    timeoutMs: number,
  ): Promise<HytaleView | RefusedWish> => {
    const { type } = KINDS[kind];
    const options = { ...optionsOf(kind, id, { asked: true }), workflowIdConflictPolicy: 'USE_EXISTING' as const };
    try {
      return await temporal.within(timeoutMs, () =>
        client.workflow.executeUpdateWithStart<Workflow, HytaleView, unknown[]>(name, {
          args,
          startWorkflowOperation: new WithStartWorkflowOperation(type, options),
        }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) return { refused: error.cause?.message ?? 'refused' };
      throw error;
    }
  };
  return {
    start: (kind, id, dueAt) => startOne(temporal, kind, id, dueAt),
    wake: { account: (id) => wake('account', id), session: (id) => wake('session', id) },
    async code(loginId, timeoutMs) {
      const view = await update('login', loginId, CODE_UPDATE, [], timeoutMs);
      if ('refused' in view) throw new WorkflowNotFoundError(view.refused, hytaleLoginId(loginId), undefined);
      return view;
    },
    act: (kind: 'account' | 'session', id: string, wish: AccountWish | SessionWish, timeoutMs: number) =>
      update(kind, id, ACT_UPDATE, [wish], timeoutMs),
    running: () => runningIds(temporal),
  };
}

async function startOne(temporal: Gateway, kind: HytaleKind, id: string, dueAt: Date | undefined): Promise<boolean> {
  const options = optionsOf(kind, id, nextRun(dueAt?.getTime()));
  try {
    await temporal.within(CALL_MS, () => temporal.client.workflow.start(KINDS[kind].type, options));
    return true;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
    throw error;
  }
}

async function runningIds(temporal: Gateway): Promise<ReadonlySet<string>> {
  const types = Object.values(KINDS).map(({ type }) => `'${type}'`);
  const query = `WorkflowType in (${types.join(', ')}) and ExecutionStatus = 'Running'`;
  const ids = new Set<string>();
  await temporal.within(LIST_MS, async () => {
    for await (const { workflowId } of temporal.client.workflow.list({ query, pageSize: LISTED_AT_ONCE }))
      ids.add(workflowId);
  });
  return ids;
}
