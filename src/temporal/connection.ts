/** The way to Temporal for everything that is not a worker: lazy, with a deadline on every call. */
import { readFileSync } from 'node:fs';
import { Client, Connection, type TLSConfig } from '@temporalio/client';
import { NamespaceNotFoundError } from '@temporalio/common';
import type { Config } from '../config.ts';
import { QUEUE } from '../workflows/contract.ts';

export interface TemporalGateway {
  readonly client: Client;
  readonly namespace: string;
  /** Runs client calls that give up after `timeoutMs`. */
  within<T>(timeoutMs: number, work: () => Promise<T>): Promise<T>;
  /** Does the server answer, and has it the namespace? Never throws. */
  state(timeoutMs?: number): Promise<NamespaceState>;
  /** Can workflows be started in the namespace? Never throws. */
  reachable(timeoutMs?: number): Promise<boolean>;
  /** Does a worker poll both queues of the sync? Never throws. */
  workersPolling(timeoutMs?: number): Promise<boolean>;
  close(): Promise<void>;
}

export type NamespaceState = 'ok' | 'no answer' | 'no namespace';

export type TemporalConfig = Omit<Config['temporal'], 'address' | 'cliPath'> & { address: string };

/** Connection options common to clients and workers. */
export function connectionOptions(config: TemporalConfig): { address: string; apiKey?: string; tls?: TLSConfig } {
  const read = (path: string | undefined) => (path === undefined ? undefined : readFileSync(path));
  const certificate = read(config.tlsCertPath);
  const key = read(config.tlsKeyPath);
  const ca = read(config.tlsCaPath);
  return {
    address: config.address,
    ...(config.apiKey === undefined ? {} : { apiKey: config.apiKey.reveal() }),
    ...(config.tls
      ? {
          tls: {
            ...(config.tlsServerName === undefined ? {} : { serverNameOverride: config.tlsServerName }),
            ...(ca === undefined ? {} : { serverRootCACertificate: ca }),
            ...(certificate === undefined || key === undefined ? {} : { clientCertPair: { crt: certificate, key } }),
          },
        }
      : {}),
  };
}

/** Never connects at start: the api must come up without Temporal. */
export function createTemporalGateway(config: TemporalConfig): TemporalGateway {
  const connection = Connection.lazy(connectionOptions(config));
  const client = new Client({ connection, namespace: config.namespace });
  const within = <T>(timeoutMs: number, work: () => Promise<T>) =>
    connection.withDeadline(Date.now() + timeoutMs, work);
  const answers = async (timeoutMs: number, work: () => Promise<boolean>) => {
    try {
      return await within(timeoutMs, work);
    } catch {
      return false;
    }
  };
  const state = async (timeoutMs = 1_000): Promise<NamespaceState> => {
    try {
      await within(timeoutMs, () => connection.workflowService.describeNamespace({ namespace: config.namespace }));
      return 'ok';
    } catch (error) {
      return isNamespaceMissing(error) ? 'no namespace' : 'no answer';
    }
  };
  return {
    client,
    namespace: config.namespace,
    within,
    state,
    reachable: async (timeoutMs) => (await state(timeoutMs)) === 'ok',
    workersPolling: (timeoutMs = 1_500) =>
      answers(timeoutMs, async () => {
        const polled = async (name: string, type: keyof typeof TASK_QUEUE_TYPE) => {
          const queue = await connection.workflowService.describeTaskQueue({
            namespace: config.namespace,
            taskQueue: { name },
            taskQueueType: TASK_QUEUE_TYPE[type],
          });
          return livePollers(queue) > 0;
        };
        const [core, panel] = await Promise.all([polled(QUEUE.core, 'workflow'), polled(QUEUE.panel, 'activity')]);
        return core && panel;
      }),
    close: () => connection.close(),
  };
}

/** temporal.api.enums.v1.TaskQueueType. */
export const TASK_QUEUE_TYPE = { workflow: 1, activity: 2 } as const;
/** A poller that was last seen longer ago is a worker that is gone. */
const POLLER_GONE_MS = 70_000;

/** Number of workers that polled a task queue lately. */
export function livePollers({
  pollers,
}: {
  pollers?: { lastAccessTime?: { seconds?: unknown } | null }[] | null;
}): number {
  const since = Date.now() - POLLER_GONE_MS;
  return (pollers ?? []).filter((poller) => Number(poller.lastAccessTime?.seconds ?? 0) * 1_000 > since).length;
}

/** The server is away or too slow (gRPC codes DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE, CANCELLED). */
export function isUnreachable(error: unknown): boolean {
  for (let e: unknown = error, depth = 0; typeof e === 'object' && e !== null && depth < 5; depth += 1) {
    const { code, cause } = e as { code?: unknown; cause?: unknown };
    if (typeof code === 'number' && [1, 4, 8, 14].includes(code)) return true;
    e = cause;
  }
  return false;
}

/** gRPC code NOT_FOUND. */
export const NOT_FOUND = 5;

/**
 * The server answered that it has no such namespace. The client reports that by an error of its own; the plain service call
 * has only the code, and only a call that names nothing but the namespace may be judged by it.
 */
export const isNamespaceMissing = (error: unknown): boolean =>
  error instanceof NamespaceNotFoundError || grpcCode(error) === NOT_FOUND;

/** What to do about a namespace that does not exist. */
export const namespaceMissingMessage = (namespace: string): string =>
  `the Temporal namespace "${namespace}" does not exist: create it (temporal operator namespace create --namespace ${namespace}) or correct TEMPORAL_NAMESPACE`;

/** gRPC code of a service error, if it is one. */
export function grpcCode(error: unknown): number | undefined {
  for (let e: unknown = error, depth = 0; typeof e === 'object' && e !== null && depth < 5; depth += 1) {
    const { code, cause } = e as { code?: unknown; cause?: unknown };
    if (typeof code === 'number') return code;
    e = cause;
  }
  return undefined;
}
