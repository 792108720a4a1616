/** The Temporal dev server that all tests of a run share. Names that must not collide get a unique suffix. */
import { randomBytes } from 'node:crypto';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';

/** host:port of the test run's dev server. */
export function temporalAddress(): string {
  const address = process.env['TEST_TEMPORAL_ADDRESS'];
  if (address === undefined || address === '') {
    throw new Error('TEST_TEMPORAL_ADDRESS is not set: run the tests by `npm test` or test/run.ts');
  }
  return address;
}

/** A unique name, e.g. for a task queue: `core-1234-ab12cd34`. */
export const uniqueName = (prefix: string): string => `${prefix}-${process.pid}-${randomBytes(4).toString('hex')}`;

/** temporal.api.enums.v1.IndexedValueType. */
export const KEYWORD = 2;
export const INT = 3;

/**
 * Creates a namespace with this service's search attributes, for code with fixed workflow ids and task queues. Resolves
 * when workflows can be started in it.
 */
export async function createTestNamespace(
  prefix = 'test',
  searchAttributes: Record<string, number> = { SyncType: KEYWORD, RequestedBy: KEYWORD },
): Promise<string> {
  const namespace = uniqueName(prefix);
  const connection = await Connection.connect({ address: temporalAddress() });
  try {
    await connection.workflowService.registerNamespace({
      namespace,
      workflowExecutionRetentionPeriod: msToTs('1 day'),
    });
    const end = Date.now() + 15_000;
    for (;;) {
      try {
        await connection.workflowService.describeNamespace({ namespace });
        await connection.operatorService.addSearchAttributes({ namespace, searchAttributes });
        break;
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    // The server caches namespaces. Until the next refresh of its cache, starts fail with "not found".
    for (;;) {
      try {
        await connection.workflowService.listWorkflowExecutions({ namespace, pageSize: 1 });
        return namespace;
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  } finally {
    await connection.close();
  }
}
