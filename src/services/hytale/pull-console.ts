/**
 * Reads the console of one server from the daemon of its node, and stores what is new. The daemon sends the last lines without
 * saying where they end, and new lines in between, so lines are believed when two readings agree about them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Throttle } from '../../clients/panel/answers.ts';
import type { PanelClient } from '../../clients/panel/client.ts';
import type { ServerConsole } from '../../clients/panel/console-session.ts';
import { isAppError } from '../../domain/errors.ts';
import { agreed } from '../../domain/hytale/console-agreement.ts';
import type { Db } from '../../store/db/db.ts';
import type { ConsoleToPull } from '../../store/hytale/pull-reads.ts';
import type { HytaleBudget } from '../inventory/client-budget.ts';
import { appendPulled, type PulledState } from './append-lines.ts';

export interface ReadDeps {
  db: Db;
  panel: () => Promise<Pick<PanelClient, 'openConsole'>>;
  budget: Pick<HytaleBudget, 'heed'>;
  /** Unix milliseconds. */
  now(): number;
  /** Milliseconds until the third reading of a connection, and between later ones. */
  rereadMs?: number | undefined;
}

/** `offline`: the server does not run. `unsettled`: no two readings agreed. */
export type ReadState = PulledState | 'offline' | 'unsettled';

/** The daemon answers one reading in five seconds, after the first two of a connection. */
const REREAD_MS = 5_100;
/** Readings of one connection at most. */
const MAX_READINGS = 4;

/** One pull. @returns how many lines were stored. @throws {AppError} of the panel, of the daemon, NOT_FOUND; the reason of the signal. */
export async function pullConsole(
  deps: ReadDeps,
  server: ConsoleToPull,
  signal: AbortSignal,
): Promise<{ state: ReadState; saved: number }> {
  const console = await open(deps, server, signal);
  try {
    return console.state === 'offline'
      ? { state: 'offline', saved: 0 }
      : await readAndStore(deps, server, console, signal);
  } finally {
    console.close();
  }
}

/** The request to the panel and the connection to the node. What the panel says of its limit is noted in any case. */
async function open({ panel, budget }: ReadDeps, { uuid }: ConsoleToPull, signal: AbortSignal): Promise<ServerConsole> {
  try {
    const { console, throttle } = await (await panel()).openConsole(uuid, { signal });
    await budget.heed(throttle).catch((error: unknown) => {
      console.close();
      throw error;
    });
    return console;
  } catch (error) {
    const throttle = isAppError(error) && error.code.startsWith('CONSOLE_') ? error.meta?.['throttle'] : undefined;
    if (isThrottle(throttle)) await budget.heed(throttle);
    throw error;
  }
}

const isThrottle = (value: unknown): value is Throttle => typeof value === 'object' && value !== null;

async function readAndStore(
  deps: ReadDeps,
  { uuid, accountId }: ConsoleToPull,
  console: ServerConsole,
  signal: AbortSignal,
): Promise<{ state: ReadState; saved: number }> {
  let before = (await console.tail()).lines;
  let apart = false;
  for (let readings = 2; readings <= MAX_READINGS; readings += 1) {
    if (readings > 2) await sleep(deps.rereadMs ?? REREAD_MS, undefined, { signal });
    const { lines } = await console.tail();
    const block = agreed(before, lines);
    before = lines;
    if (block === undefined) continue;
    const tail = { serverUuid: uuid, accountId, lines: block, acceptGap: apart };
    const stored = await appendPulled(deps.db, tail, new Date(deps.now()));
    // Lines that do not meet the stored ones are stored when another agreement does not meet them either.
    if (stored.state !== 'gap' || apart) return stored;
    apart = true;
  }
  return { state: 'unsettled', saved: 0 };
}
