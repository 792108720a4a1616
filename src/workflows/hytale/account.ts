/** A Hytale account: its tokens are renewed before they expire, and by nobody else. */
import { continueAsNew } from '@temporalio/workflow';
import type { AccountWish, HytaleAccountInput, HytaleView } from '../contract.ts';
import { asked, timed } from './activities.ts';
import { live, type Step } from './entity.ts';

const REFUSALS: Readonly<Record<string, string>> = {
  reauth_required: 'the account must be signed in again',
  closing: 'the account is being disconnected',
};

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
    refuse: (view) => (view === undefined ? undefined : REFUSALS[view.status]),
    again: () => continueAsNew<typeof hytaleAccount>({ accountId }),
  });
}
