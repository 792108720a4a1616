/** A Hytale account: its tokens are renewed before they expire, here and nowhere else. */
import { continueAsNew } from '@temporalio/workflow';
import type { AccountWish, HytaleAccountInput, HytaleView } from '../contract.ts';
import { asked, timed } from './activities.ts';
import { live, type Step } from './entity.ts';

/** Lives until the account is disconnected. A cancel in Temporal only ends the renewal: a worker starts it again. */
export function hytaleAccount(input: HytaleAccountInput): Promise<HytaleView> {
  const { accountId } = input;
  let awaited = input.asked === true;
  return live<AccountWish, Step>({
    step: (wish) => {
      const by = awaited || wish !== undefined ? asked : timed;
      awaited = false;
      return by.advanceAccount({ accountId, wish: wish ?? { what: 'look' } });
    },
    wishes: ['look', 'refresh'],
    again: () => continueAsNew<typeof hytaleAccount>({ accountId }),
  });
}
