/** A Hytale account: its tokens are renewed before they expire, here and nowhere else. */
import { continueAsNew } from '@temporalio/workflow';
import { type AccountWish, type HytaleAccountInput, type HytaleView, nextRun } from '../contract.ts';
import { asked, timed } from './activities.ts';
import { live, type Step } from './entity.ts';

/** Lives until the account is disconnected. A cancel in Temporal only ends the renewal: a worker starts it again. */
export function hytaleAccount(input: HytaleAccountInput): Promise<HytaleView> {
  const { accountId } = input;
  return live<AccountWish, Step>({
    input,
    step: (wish, awaited) => (awaited ? asked : timed).advanceAccount({ accountId, wish: wish ?? { what: 'look' } }),
    wishes: ['look', 'refresh'],
    again: (dueAt, view) => continueAsNew<typeof hytaleAccount>({ accountId, ...nextRun(dueAt, view) }),
  });
}
