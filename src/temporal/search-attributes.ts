/**
 * Registers the attributes by which runs are found in the Temporal UI. They are set when a run starts, and a start that is
 * refused because of them is repeated without. No workflow sets one later: an attribute that is not registered, or has
 * another type, would make its workflow task fail for ever.
 */
import type { Logger } from 'pino';
import { SEARCH_ATTRIBUTES } from '../workflows/contract.ts';
import type { TemporalGateway } from './connection.ts';

/** temporal.api.enums.v1.IndexedValueType; the names are those of the Temporal command line. */
const TYPE_NAMES = ['Unspecified', 'Text', 'Keyword', 'Int', 'Double', 'Bool', 'Datetime', 'KeywordList'];
/** All our attributes are keywords. */
const KEYWORD = TYPE_NAMES.indexOf('Keyword');

/** Attributes belong to a namespace: without its name, the command line would change those of `default`. */
const command = (namespace: string, what: 'create' | 'remove', name: string): string =>
  `temporal operator search-attribute ${what} --namespace ${namespace} --name ${name}${what === 'create' ? ' --type Keyword' : ''}`;

/**
 * Registers what is missing, and logs what cannot be used, with the command to run. Never throws: syncs run without
 * attributes. A hosted service may deny these calls, and a server has few places for attributes.
 */
export async function registerSearchAttributes(temporal: TemporalGateway, log: Logger): Promise<void> {
  const { operatorService } = temporal.client.connection;
  const { namespace } = temporal;
  const names = Object.values(SEARCH_ATTRIBUTES).map(({ name }) => name);
  let registered: Readonly<Record<string, unknown>>;
  try {
    const answer = await temporal.within(5_000, () => operatorService.listSearchAttributes({ namespace }));
    registered = answer.customAttributes ?? {};
  } catch (error) {
    const commands = names.map((name) => command(namespace, 'create', name));
    log.warn({ err: error, commands }, 'search attributes could not be read; unless they exist, run these commands');
    return;
  }
  for (const name of names) {
    const type = registered[name];
    if (type === undefined) {
      try {
        await temporal.within(5_000, () =>
          operatorService.addSearchAttributes({ namespace, searchAttributes: { [name]: KEYWORD } }),
        );
      } catch (error) {
        log.warn(
          { err: error, commands: [command(namespace, 'create', name)] },
          `the search attribute ${name} could not be registered; syncs run without search attributes until it is`,
        );
      }
    } else if (type !== KEYWORD) {
      log.warn(
        { commands: [command(namespace, 'remove', name), command(namespace, 'create', name)] },
        `the search attribute ${name} is registered as ${TYPE_NAMES[Number(type)] ?? String(type)} and must be Keyword; ` +
          'syncs run without search attributes until it is',
      );
    }
  }
}
