/** The time in which the set-up needs no sign-in: `setup_window`, one row. The database's clock decides. */
import type { Db } from '../db/db.ts';
import { execute, query } from '../db/query.ts';

/** How long the window is open after the first start, and after `setup open`. */
export const SETUP_MINUTES = 60;

export interface SetupWindow {
  /** Undefined: the installation was never started. */
  openUntil: Date | undefined;
  /** Whether the time has not passed yet. */
  open: boolean;
}

export async function readSetupWindow(db: Db): Promise<SetupWindow> {
  const [row] = await query<{ openUntil: Date; open: boolean }>(
    db,
    'select w.open_until as "openUntil", w.open_until > now() as open from setup_window w',
  );
  return row ?? { openUntil: undefined, open: false };
}

/** Opens the window at the first start of an installation; later starts change nothing. */
export async function noteFirstStart(db: Db): Promise<void> {
  await execute(
    db,
    'insert into setup_window (id, open_until) values (1, now() + make_interval(mins => ?)) on conflict (id) do nothing',
    [SETUP_MINUTES],
  );
}

/** Opens the window from now on. */
export async function openSetupWindow(db: Db): Promise<void> {
  await execute(
    db,
    `insert into setup_window (id, open_until) values (1, now() + make_interval(mins => ?))
     on conflict (id) do update set open_until = excluded.open_until`,
    [SETUP_MINUTES],
  );
}

/** Ends the window now, also one that the first start has not opened yet. */
export async function closeSetupWindow(db: Db): Promise<void> {
  await execute(
    db,
    `insert into setup_window (id, open_until) values (1, now())
     on conflict (id) do update set open_until = least(setup_window.open_until, now())`,
  );
}
