/** How a command reaches the database and Temporal of the installation. */
import { AppError } from '../../domain/errors.ts';
import type { Database } from '../../store/db/db.ts';
import { createTemporalGateway, type TemporalGateway } from '../../temporal/connection.ts';
import type { CommandIo, CommandRun } from './command.ts';
import { attach, type LentServices, withDb } from './database.ts';

/** What a command about syncs and runs works with. */
export interface ServiceRun extends CommandRun<CommandIo> {
  db: Database;
  /** `undefined` when none is configured and no installation runs. */
  temporal: TemporalGateway | undefined;
  services: LentServices;
}

/** Gives `work` the database and Temporal of the installation, and afterwards closes what was opened for it. */
export async function withServices(
  command: CommandRun<CommandIo>,
  work: (run: ServiceRun) => Promise<void>,
): Promise<void> {
  const services = await attach(command.io);
  const { config, url, temporalAddress: address } = services;
  try {
    const temporal = address === undefined ? undefined : createTemporalGateway({ ...config.temporal, address });
    try {
      await withDb(url, (db) => work({ ...command, db, temporal, services }));
    } finally {
      await temporal?.close();
    }
  } finally {
    await services.release();
  }
}

/** @throws {AppError} SERVICE_UNAVAILABLE: a command needs Temporal and there is none. */
export function noTemporal(): never {
  throw new AppError('SERVICE_UNAVAILABLE', {
    publicMessage: 'Temporal is not running: start it with `npm start`, or set TEMPORAL_ADDRESS',
  });
}
