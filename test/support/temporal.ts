/** The run's Temporal dev server, shared by all tests: what must not collide carries a suffix of the test's own. */
import { randomBytes } from 'node:crypto';
import { Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';

/** host:port of the run's dev server. */
export function temporalAddress(): string {
  const address = process.env['TEST_TEMPORAL_ADDRESS'];
  if (address === undefined || address === '') {
    throw new Error('TEST_TEMPORAL_ADDRESS is not set: run the tests by `npm test` or test/run.ts');
  }
  return address;
}

/** A name nobody else uses, e.g. for a task queue: `core-1234-ab12cd34`. */
export const uniqueName = (prefix: string): string => `${prefix}-${process.pid}-${randomBytes(4).toString('hex')}`;

/**
 * Makes a namespace of the caller's own, with the product's search attributes: for code whose workflow ids and task
 * queues are fixed. Resolves when workflows can be started in it.
 */
export async function createTestNamespace(prefix = 'test'): Promise<string> {
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
        await connection.operatorService.addSearchAttributes({
          namespace,
          // IndexedValueType of the API: 2 = Keyword, 3 = Int.
          searchAttributes: { SyncType: 2, RequestedBy: 2, ItemsSynced: 3 },
        });
        break;
      } catch (error) {
        if (Date.now() > end) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    // The namespace is in the server's cache only after its next refresh; until then starts say "not found".
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
