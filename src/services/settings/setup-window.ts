/** The time in which the set-up needs no sign-in, for an operator: how it stands, opening it, and deciding about what it stored. */
import type { AuditAction, AuditOrigin } from '../../domain/audit.ts';
import { AppError } from '../../domain/errors.ts';
import { fieldOfSetting, isSensitiveSetting, SECRET_MASK, type SettingKey } from '../../domain/settings.ts';
import { systemAdministratorExists } from '../../store/accounts/administrators.ts';
import { type Db, inTransaction, type Transaction } from '../../store/db/db.ts';
import { confirmSetupValues, dropSetupValues, readSetupValues } from '../../store/settings/config-store.ts';
import { openSetupWindow, readSetupWindow } from '../../store/settings/setup-window-store.ts';
import { recordChange } from '../audit/record-change.ts';

export interface SetupStatus {
  /** A caller from another machine needs no sign-in. */
  open: boolean;
  /** Null: the api was never started. */
  openUntil: Date | null;
  /** A system administrator exists, who closes it for good. */
  administered: boolean;
}

/** Whether the set-up is open, and until when. */
export async function setupStatus(db: Db): Promise<SetupStatus> {
  const administered = await systemAdministratorExists(db);
  const { open, openUntil } = await readSetupWindow(db);
  return { open: open && !administered, openUntil: openUntil ?? null, administered };
}

/**
 * Opens the set-up for an hour.
 * @throws {AppError} CONFLICT when a system administrator exists, who can sign in.
 */
export async function openSetup(db: Db, by: AuditOrigin): Promise<SetupStatus> {
  return inTransaction(db, async (trx) => {
    if (await systemAdministratorExists(trx)) {
      const publicMessage = 'A system administrator exists: settings are changed after signing in';
      throw new AppError('CONFLICT', { publicMessage });
    }
    await openSetupWindow(trx);
    const status = await setupStatus(trx);
    const until = status.openUntil?.toISOString() ?? null;
    await recordChange({ trx }, by, { action: 'setup-opened', details: { after: { openUntil: until } } });
    return status;
  });
}

/** A setting that was stored without sign-in, as it may be shown: secrets are masked. */
export interface ShownSetting {
  key: string;
  value: string;
  storedAt: Date;
}

/** What was stored without sign-in and no administrator has confirmed. */
export async function storedWithoutSignIn(db: Db): Promise<ShownSetting[]> {
  const values = await readSetupValues(db);
  return values.map((one) => ({ ...one, value: isSensitiveSetting(one.key) ? SECRET_MASK : one.value }));
}

/** Takes over what was stored without sign-in, as if an administrator had entered it. */
export const confirmStored = (db: Db, by: AuditOrigin): Promise<void> =>
  decide(db, by, 'setup-values-confirmed', confirmSetupValues);

/** Clears what was stored without sign-in. */
export const dropStored = (db: Db, by: AuditOrigin): Promise<void> =>
  decide(db, by, 'setup-values-dropped', dropSetupValues);

async function decide(
  db: Db,
  by: AuditOrigin,
  action: AuditAction,
  write: (trx: Transaction) => Promise<SettingKey[]>,
): Promise<void> {
  await inTransaction(db, async (trx) => {
    const fields = (await write(trx)).map(fieldOfSetting);
    if (fields.length > 0) await recordChange({ trx }, by, { action, details: { fields } });
  });
}
