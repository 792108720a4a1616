/** Registers the attributes by which runs are found in the Temporal UI. */
import type { Logger } from 'pino';
import { SEARCH_ATTRIBUTES } from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';

/** temporal.api.enums.v1.IndexedValueType: 2 = KEYWORD, 3 = INT. */
const TYPES = { KEYWORD: 2, INT: 3 } as const;

/** A hosted service may deny this call: then the command to run is logged, and syncs run without attributes. */
export async function registerSearchAttributes(temporal: TemporalGateway, log: Logger): Promise<void> {
  const wanted = Object.values(SEARCH_ATTRIBUTES);
  try {
    await temporal.within(5_000, async () => {
      const { operatorService } = temporal.client.connection;
      const { customAttributes } = await operatorService.listSearchAttributes({ namespace: temporal.namespace });
      const missing = wanted.filter((a) => customAttributes?.[a.name] === undefined);
      if (missing.length === 0) return;
      await operatorService.addSearchAttributes({
        namespace: temporal.namespace,
        searchAttributes: Object.fromEntries(missing.map((a) => [a.name, TYPES[a.type as keyof typeof TYPES]])),
      });
    });
  } catch (error) {
    const commands = wanted.map(
      (a) =>
        `temporal operator search-attribute create --name ${a.name} --type ${a.type === 'INT' ? 'Int' : 'Keyword'}`,
    );
    log.warn(
      { err: error, commands },
      'search attributes could not be registered; run these commands, syncs work without them',
    );
  }
}
