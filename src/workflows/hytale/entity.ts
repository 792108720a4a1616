/**
 * What accounts and sessions have in common: a row decides, the workflow waits. Each step is an activity over the row; its
 * answer says until when to wait. A signal, or an update of somebody who waits for the answer, causes the next step earlier.
 * Steps never overlap.
 */
import {
  ApplicationFailure,
  allHandlersFinished,
  condition,
  defineQuery,
  defineSignal,
  defineUpdate,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import { ACT_UPDATE, CHANGED_SIGNAL, HYTALE_QUERY, type HytaleEntityInput, type HytaleView } from '../contract.ts';

/** The answer of a step, as the services give it. */
export interface Step extends HytaleView {
  ms: number | null;
  over: boolean;
}

/** Steps of a run that an earlier release began: a run ends as it began. */
const STEPS_OF_EARLIER_RUNS = 60;

export interface Entity<Wish extends { what: string }, S extends Step> {
  input: HytaleEntityInput;
  /** One step. Fails only by a cancellation: activities are tried again without end. @param awaited somebody waits for it. */
  step(wish: Wish | undefined, awaited: boolean): Promise<S>;
  /** What can be asked for. */
  wishes: readonly Wish['what'][];
  /** Gets a function that causes the next step. */
  onStart?(look: () => void): void;
  /** After each step. */
  after?(step: S): void;
  /** Goes on in a new run. @param dueAt Unix milliseconds of its first step; undefined: at once. */
  again(dueAt: number | undefined, view: HytaleView): Promise<never>;
}

/** Lives until a step says that it is over. @returns the last answer. */
export async function live<Wish extends { what: string; ifVersion?: number | undefined }, S extends Step>(
  entity: Entity<Wish, S>,
): Promise<HytaleView> {
  let last: S | undefined;
  let wish: Wish | undefined;
  /** Numbers of the latest step that is wanted, and of the latest that is done. */
  let wanted = 1;
  let done = 0;
  /** Number of the latest step that an update waits for. */
  let promised = 0;
  /** Somebody waits for the first step. */
  let awaited = entity.input.asked === true;
  setHandler(defineQuery<HytaleView | undefined>(HYTALE_QUERY), () => (last ? viewOf(last) : entity.input.view));
  const look = (): void => {
    wanted += 1;
  };
  setHandler(defineSignal(CHANGED_SIGNAL), look);
  setHandler(
    defineUpdate<HytaleView, [Wish]>(ACT_UPDATE),
    async (asked) => {
      const first = last === undefined;
      awaited ||= first;
      await condition(() => last !== undefined);
      // The workflow was started for this, and its first step did something: that is the answer.
      if (first && last !== undefined && last.result !== 'none') return viewOf(last);
      // A repeated step of the same wish finds a newer version, and does nothing.
      wish = stronger(wish, { ...asked, ifVersion: asked.ifVersion ?? last?.version });
      wanted += 1;
      const mine = wanted;
      promised = mine;
      await condition(() => done >= mine || last?.over === true);
      return viewOf(last as S);
    },
    {
      // A refused update leaves nothing in the history.
      validator: (asked) => {
        const problem = problemOf(asked, entity.wishes, last);
        if (problem !== undefined) throw ApplicationFailure.nonRetryable(problem, 'REFUSED');
      },
    },
  );
  entity.onStart?.(look);
  const { dueAt, stepsPerRun = STEPS_OF_EARLIER_RUNS } = entity.input;
  if (dueAt !== undefined) await untilDue(dueAt, entity.input.view, () => awaited || wanted > 1);
  for (let steps = 1; ; steps += 1) {
    const number = wanted;
    const asked = wish;
    wish = undefined;
    setCurrentDetails(`Acts${asked === undefined ? '' : ` (${asked.what})`}`);
    last = await entity.step(asked, awaited || asked !== undefined);
    awaited = false;
    done = number;
    entity.after?.(last);
    setCurrentDetails(detailsOf(last));
    if (last.over) break;
    if (steps >= stepsPerRun || workflowInfo().continueAsNewSuggested) {
      // An update that waits for a further step ends with that step, and not before.
      await condition(() => promised > done || allHandlersFinished());
      if (wanted === done) await entity.again(last.ms === null ? undefined : Date.now() + last.ms, viewOf(last));
    }
    if (wanted > done) continue;
    if (last.ms === null) await condition(() => wanted > done);
    else await condition(() => wanted > done, last.ms, { summary: last.why.slice(0, 200) });
  }
  await condition(allHandlersFinished);
  return viewOf(last);
}

/** Waits for the first step of a row whose next step is known. */
async function untilDue(dueAt: number, view: HytaleView | undefined, woken: () => boolean): Promise<void> {
  const ms = dueAt - Date.now();
  if (ms <= 0) return;
  setCurrentDetails(view === undefined ? `Next step: ${new Date(dueAt).toISOString()}` : detailsOf(view));
  await condition(woken, ms, { summary: 'waits until its tokens are renewed' });
}

/** Why a wish is refused. What the last step found may be out of date, so it refuses only what can never succeed again. */
function problemOf(
  asked: { what: string; ifVersion?: unknown },
  wishes: readonly string[],
  last?: Step,
): string | undefined {
  if (!wishes.includes(asked?.what)) return `it can be asked for one of: ${wishes.join(', ')}`;
  if (asked.ifVersion !== undefined && !Number.isInteger(asked.ifVersion)) return 'ifVersion must be a whole number';
  return asked.what !== 'look' && (last?.over === true || last?.status === 'closing') ? 'it is being ended' : undefined;
}

/** Of two wishes for one step, the one that asks for more, and for newer tokens. */
function stronger<Wish extends { what: string; ifVersion?: number | undefined }>(a: Wish | undefined, b: Wish): Wish {
  if (a === undefined || a.what === 'look') return b;
  if (b.what === 'look') return a;
  return (b.ifVersion ?? 0) >= (a.ifVersion ?? 0) ? b : a;
}

export const viewOf = ({ id, status, version, about, result, why, until, retryAfterMs }: HytaleView): HytaleView => ({
  id,
  status,
  version,
  result,
  why,
  until,
  ...(about === undefined ? {} : { about }),
  ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
});

/** What an administrator reads in Temporal's interface. */
const detailsOf = ({ status, version, why, until, about }: HytaleView): string =>
  `**${status}**, tokens of version ${version}${about === undefined ? '' : `\n\nOf ${about}`}\n\n${why}\n\n${until === null ? 'Waits for somebody to act' : `Next step: ${until}`}`;
